"""Zip files that somebody else made: what is in them is looked at before anything is written.

Nothing lands under a name of the archive's own choosing: each entry has a numbered folder to itself, so that no path in
it, absolute, with ``..`` or a link, leads anywhere.
"""

from __future__ import annotations

import re
import shutil
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from fmcore.data.picture import SUFFIXES
from fmcore.errors import DataError

MEGABYTE = 1_000_000
MOST_LISTED = 5000  # entries of any kind
RATIO = 200  # unpacked to packed bytes of an entry above `FREE`; a plain gray picture reaches about 100
FREE = MEGABYTE
MASKS = "ground_truth"  # the folder of a data set that holds no pictures


@dataclass(frozen=True)
class Limits:
    """Of the entries that are taken: how many, bytes of one and of all."""

    count: int
    single: int
    total: int


@dataclass(frozen=True)
class Entry:
    """``name`` is the path inside the archive, ``path`` where it lies now; None for one left out, and ``why``."""

    name: PurePosixPath
    path: Path | None = None
    why: str = ""


def is_zip(path: Path) -> bool:
    """By its name: what is inside is another question."""
    return path.suffix.lower() == ".zip"


def is_picture(name: PurePosixPath) -> bool:
    """Whether an entry of an archive is taken: an image, and no mask."""
    folders = [part.lower() for part in name.parts[:-1]]
    return name.suffix.lower() in SUFFIXES and MASKS not in folders and not name.stem.lower().endswith("_mask")


def unpack(archive: Path, folder: Path, wanted: Callable[[PurePosixPath], bool], limits: Limits) -> Iterator[Entry]:
    """The wanted entries one by one, in the order of their names, each in a folder of its own inside ``folder``.

    Raises:
        DataError: if it is no zip file, or holds more than the limits allow; before anything is unpacked.
    """
    try:
        with zipfile.ZipFile(archive) as file:
            chosen = _chosen(archive.name, file, wanted, limits)
            for number, (name, info) in enumerate(chosen):
                if why := _refused(name, info, limits):
                    yield Entry(name, why=f"'{name.name}' in '{archive.name}' {why}.")
                    continue
                path = folder / f"{number:04d}" / _harmless(name.name)
                path.parent.mkdir(parents=True)
                try:
                    with file.open(info) as source, path.open("wb") as target:
                        shutil.copyfileobj(source, target)
                except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError):
                    yield Entry(name, why=f"'{name.name}' in '{archive.name}' is damaged.")
                    continue
                yield Entry(name, path)
    except DataError:
        raise
    except (zipfile.BadZipFile, OSError, ValueError):
        raise DataError(f"'{archive.name}' is not a zip file, or is damaged: pack it again.") from None


def _chosen(
    called: str, file: zipfile.ZipFile, wanted: Callable[[PurePosixPath], bool], limits: Limits
) -> list[tuple[PurePosixPath, zipfile.ZipInfo]]:
    listed = file.infolist()
    if len(listed) > MOST_LISTED:
        raise DataError(f"'{called}' lists {len(listed)} entries: pack at most {MOST_LISTED}.")
    named = sorted(((PurePosixPath(info.filename.replace("\\", "/")), info) for info in listed), key=lambda e: e[0])
    chosen = [(name, info) for name, info in named if not info.is_dir() and _visible(name) and wanted(name)]
    total = sum(info.file_size for _, info in chosen)
    if len(chosen) > limits.count:
        raise DataError(f"'{called}' holds {len(chosen)} files that count: pack at most {limits.count}.")
    if total > limits.total:
        size, most = total // MEGABYTE, limits.total // MEGABYTE
        raise DataError(f"'{called}' unpacks to {size} MB: at most {most} MB are taken.")
    return chosen


def _visible(name: PurePosixPath) -> bool:
    return not any(part == "__MACOSX" or (part.startswith(".") and part != "..") for part in name.parts)


def _refused(name: PurePosixPath, info: zipfile.ZipInfo, limits: Limits) -> str:
    kind = stat.S_IFMT(info.external_attr >> 16)
    if name.is_absolute() or ".." in name.parts or re.match("[A-Za-z]:", str(name)):
        return "has a path that leads out of the archive"
    if kind and not stat.S_ISREG(kind):
        return "is a link, no file"
    if info.flag_bits & 1:
        return "is encrypted"
    if info.file_size > limits.single:
        return f"is larger than {limits.single // MEGABYTE} MB"
    if info.file_size > FREE and info.file_size > RATIO * max(info.compress_size, 1):
        return "unpacks to far more than it takes"
    return ""


def _harmless(name: str) -> str:
    stem, dot, suffix = name.rpartition(".")
    return re.sub(r"[^\w .()#+-]", "_", stem or name)[-80:] + dot + re.sub(r"\W", "", suffix)[:10]
