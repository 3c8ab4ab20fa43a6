"""What a result rests on: code, data, versions, machine. Enough to decide whether it must be made again."""

import hashlib
import importlib.metadata
import json
import os
import platform
from functools import cache
from pathlib import Path
from typing import Any

from common import EMBEDDED, NOTEBOOKS, ROOT

PACKAGES = ("torch", "numpy", "scipy", "pillow", "matplotlib", "papermill", "nbconvert", "plotly", "dask")


def cores() -> int:
    """Processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@cache
def versions() -> dict[str, str]:
    """Of Python, fmcore and the libraries that a figure may depend on."""
    import fmcore

    found = {"python": platform.python_version(), "fmcore": fmcore.__version__}
    return found | {name: importlib.metadata.version(name) for name in PACKAGES}


def machine() -> dict[str, str | int]:
    """Where it ran."""
    found = {"system": platform.platform(terse=True), "processor": platform.processor() or platform.machine()}
    return found | {"cores": cores()}


@cache
def source_hash() -> str:
    """Of every source file that a notebook can reach: fmcore, the packages beside it, and the app's models."""
    packages = [ROOT / "fmcore", *(NOTEBOOKS / name for name in ("common", "figures", "runner", "workshop"))]
    files = [path for folder in packages for path in folder.rglob("*") if path.suffix in (".py", ".js", ".json")]
    return _digest(ROOT, files + [p for p in EMBEDDED.rglob("*") if p.is_file()])


def notebook_hash(cells: list) -> str:
    """Of the cells' sources: outputs and metadata don't count."""
    return hash_of([[c.cell_type, c.source] for c in cells])


def hash_of(value: Any) -> str:
    """Of plain values: numbers, strings, lists, dicts."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def folder_fingerprint(folder: str | Path) -> dict[str, str | int]:
    """Contents of a folder (or one file), whatever its place: number of files, bytes, hash of names and contents."""
    root = Path(folder)
    files = [p for p in root.rglob("*") if p.is_file() and not p.name.startswith(".")] if root.is_dir() else [root]
    digest = _digest(root if root.is_dir() else root.parent, files)
    return {"files": len(files), "bytes": sum(p.stat().st_size for p in files), "sha256": digest}


def _digest(root: Path, files: list[Path]) -> str:
    digest = hashlib.sha256()
    for path in sorted(files):
        if "__pycache__" not in path.parts:
            digest.update(path.relative_to(root).as_posix().encode())
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]
