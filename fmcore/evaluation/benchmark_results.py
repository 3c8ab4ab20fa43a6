"""The benchmark's results on disk: one JSON file per (category, method, seed), written atomically."""

from __future__ import annotations

import json
import os
from pathlib import Path

from fmcore.errors import DataError


def read_results(folder: str | Path) -> list[dict]:
    """Every result in a folder of the benchmark, by category, method and seed.

    Raises:
        DataError: if there is none, or one is damaged or of other settings than the first.
    """
    paths = sorted(Path(folder).glob("*/*-seed*.json"))
    if not paths:
        raise DataError(f"'{folder}' holds no result of the benchmark: give the folder that was its --out.")
    try:
        shared = json.loads(paths[0].read_text())["settings"]
    except (ValueError, KeyError, TypeError, OSError):
        shared = {}
    results = [read_result(path, shared) for path in paths]
    return sorted(results, key=lambda r: (r["category"], r["method"], r["seed"]))


def result_path(folder: Path, category: str, method: str, seed: int) -> Path:
    """Where the result of one (category, method, seed) lies."""
    return folder / category / f"{method.replace(':', '-on-')}-seed{seed}.json"


def read_result(path: Path, shared: dict) -> dict:
    """A finished result.

    Raises:
        DataError: if it is damaged, or was made with other settings than ``shared``.
    """
    try:
        result = json.loads(path.read_text())
        before = result["settings"]
    except (ValueError, KeyError, TypeError, OSError):
        raise DataError(f"'{path}' is damaged: delete it, and repeat the command.") from None
    if before != shared:
        changed = ", ".join(k for k in shared if before.get(k) != shared[k])
        raise DataError(f"'{path.parent.parent}' holds results with another {changed}: give another --out.")
    return result


def write_result(path: Path, result: dict) -> None:
    """Write atomically, with the folders above."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps(result, indent=1))
    os.replace(temporary, path)
