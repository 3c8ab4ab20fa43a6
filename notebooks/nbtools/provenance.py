"""What a result rests on: code, data, versions, machine. Enough to decide whether it must be made again."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
from functools import cache
from pathlib import Path

from nbtools import NOTEBOOKS, ROOT

PACKAGES = ("torch", "numpy", "scipy", "pillow", "matplotlib", "torchmetrics", "papermill", "nbconvert", "dask")


def cores() -> int:
    """Processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@cache
def versions() -> dict[str, str]:
    """Of Python, fmcore and the libraries that a figure may depend on."""
    import fmcore

    found = {"python": platform.python_version(), "fmcore": fmcore.__version__}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def machine() -> dict[str, str | int]:
    """Where it ran."""
    return {"system": platform.platform(terse=True), "processor": _processor(), "cores": cores()}


@cache
def source_hash() -> str:
    """Of every source file that a notebook can reach: fmcore, this package, the app's colours and models."""
    files = [p for folder in (ROOT / "fmcore", NOTEBOOKS / "nbtools") for p in folder.rglob("*.py")]
    files += [p for p in (ROOT / "demo" / "embedded").rglob("*") if p.is_file()]
    files += [ROOT / "demo" / "style.py"]
    return _digest(ROOT, files)


def notebook_hash(cells: list) -> str:
    """Of the cells' sources: outputs and metadata don't count."""
    return hashlib.sha256("\0".join(f"{c.cell_type} {c.source}" for c in cells).encode()).hexdigest()[:16]


def folder_fingerprint(folder: str | Path) -> dict[str, str | int]:
    """Contents of a folder (or one file), whatever its place: number of files, bytes, hash of names and contents."""
    root = Path(folder)
    if root.is_file():
        return {"files": 1, "bytes": root.stat().st_size, "sha256": _digest(root.parent, [root])}
    files = [p for p in root.rglob("*") if p.is_file() and not p.name.startswith(".")]
    return {"files": len(files), "bytes": sum(p.stat().st_size for p in files), "sha256": _digest(root, files)}


def _digest(root: Path, files: list[Path]) -> str:
    digest = hashlib.sha256()
    for path in sorted(files):
        if "__pycache__" in path.parts:
            continue
        digest.update(path.relative_to(root).as_posix().encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())
