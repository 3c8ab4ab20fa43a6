"""Finding images: a flat folder of good images, the MVTec layout, or VisA as it is downloaded.

MVTec layout, of MVTec-AD and of VisA as other tools convert it: ``<category>/train/good/*``,
``<category>/test/<good or defect>/*`` and ``<category>/ground_truth/<defect>/<stem>_mask.png`` (or ``<stem>.png``).
VisA layout: ``split_csv/1cls.csv``, see `fmcore.data.visa`. Both are read from the folder of one category or
from the folder of all.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from fmcore.data.picture import SUFFIXES, read_picture
from fmcore.data.visa import VisaRow, find_visa
from fmcore.errors import DataError, ImageError


@dataclass(frozen=True)
class GoodImages:
    """Where the normal images are: paths by category, and how the folder was read."""

    layout: str
    categories: dict[str, list[Path]]

    def summary(self) -> str:
        """One line to show before training starts."""
        parts = ", ".join(f"{name}: {len(paths)}" for name, paths in self.categories.items())
        return f"Found {self.layout}, good images per category: {parts}."


@dataclass(frozen=True)
class TestItem:
    """One test image: ``defect`` is "good" for a normal one; ``mask`` is None where no file marks it."""

    __test__ = False  # not a pytest class

    path: Path
    defect: str
    mask: Path | None

    @property
    def is_good(self) -> bool:
        return self.defect == "good"


@dataclass(frozen=True)
class Unreadable:
    """A file that was skipped, and the sentence that says why."""

    path: Path
    reason: str


def list_images(folder: str | Path) -> list[Path]:
    """Image files directly inside ``folder``, by suffix, sorted by name; hidden files are left out."""
    return sorted(
        p for p in Path(folder).iterdir() if p.suffix.lower() in SUFFIXES and not p.name.startswith(".") and p.is_file()
    )


def find_good_images(data: str | Path, *, allow_empty: bool = False) -> GoodImages:
    """Find the normal images under ``data``; of a layout with test images only the good training images.

    Args:
        allow_empty: also give categories that have no image.

    Raises:
        DataError: if the folder is missing or holds none of the known layouts.
    """
    root = existing_folder(data)
    found = _locate_good_images(root)
    empty = [name for name, paths in found.categories.items() if not paths]
    if empty and not allow_empty:
        expected = "good images, directly or in train/good (MVTec layout)"
        raise DataError(f"No image found for {', '.join(empty)} in '{root}': expected {expected}.")
    return found


def find_test_items(data: str | Path, *, allow_empty: bool = False) -> list[TestItem]:
    """Test images of one category, with their masks where there are any.

    Args:
        allow_empty: give an empty list instead of an error where there is a ``test`` folder without images.

    Raises:
        DataError: if there is no ``test`` folder, it holds no image, or ``data`` holds several VisA categories.
    """
    root = existing_folder(data)
    if (visa := find_visa(root)) is not None:
        if len(visa.rows) > 1:
            raise DataError(f"'{root}' holds several categories ({', '.join(visa.rows)}): give the folder of one.")
        return _visa_items(next(iter(visa.rows.values())), root, allow_empty)
    if not (root / "test").is_dir():
        raise DataError(f"'{root}' has no 'test' folder: evaluation needs test/good and test/<defect> (MVTec layout).")
    items = []
    for folder in sorted(p for p in (root / "test").iterdir() if p.is_dir() and not p.name.startswith(".")):
        for path in list_images(folder):
            items.append(TestItem(path, folder.name, None if folder.name == "good" else _mask_of(root, path)))
    if not items and not allow_empty:
        raise DataError(f"'{root / 'test'}' holds no image: put images into test/good and test/<defect>.")
    return items


def find_test_sets(data: str | Path, *, allow_empty: bool = False) -> dict[str, list[TestItem]]:
    """Test images by category, of the folder of one category or of all; the key is the folder's name.

    Raises:
        DataError: as `find_test_items`.
    """
    root = existing_folder(data)
    if (visa := find_visa(root)) is not None:
        return {name: _visa_items(rows, root, allow_empty) for name, rows in visa.rows.items()}
    inner = [] if (root / "test").is_dir() else [p for p in sorted(root.iterdir()) if (p / "test").is_dir()]
    return {p.resolve().name: find_test_items(p, allow_empty=allow_empty) for p in inner or [root]}


def load_images(paths: list[Path], *, size: int, channels: int) -> Iterator[Tensor | Unreadable]:
    """Decode one after the other, so that callers can show progress: ``(channels, size, size)`` tensors in
    [-1, 1], or an `Unreadable` where a file could not be used."""
    for views in load_views(paths, sizes=(size,), channels=channels):
        yield views if isinstance(views, Unreadable) else views[0]


def load_views(
    paths: list[Path], *, sizes: tuple[int, ...], channels: int
) -> Iterator[tuple[Tensor, ...] | Unreadable]:
    """As `load_images`, each image decoded once and given at every size."""
    for path in paths:
        try:
            picture = read_picture(path)
            yield tuple(picture.tensor(size, channels) for size in sizes)
        except ImageError as error:
            yield Unreadable(path, str(error))


def split_loaded(loaded: list[Tensor | Unreadable]) -> tuple[Tensor, list[Unreadable]]:
    """What `load_images` gave, as one batch ``(N, C, H, W)`` and the list of unreadable files.

    Raises:
        DataError: if not a single image could be read.
    """
    unreadable = [item for item in loaded if isinstance(item, Unreadable)]
    tensors = [item for item in loaded if isinstance(item, Tensor)]
    if not tensors:
        first = f" The first: {unreadable[0].reason}" if unreadable else ""
        raise DataError(f"None of the {len(loaded)} images could be read.{first}")
    return torch.stack(tensors), unreadable


def split_views(loaded: list[tuple[Tensor, ...] | Unreadable]) -> tuple[list[Tensor], list[Unreadable]]:
    """What `load_views` gave, as one batch per size and the list of unreadable files; raises as `split_loaded`."""
    first, unreadable = split_loaded([item if isinstance(item, Unreadable) else item[0] for item in loaded])
    views = [item for item in loaded if not isinstance(item, Unreadable)]
    return [first, *(torch.stack([view[i] for view in views]) for i in range(1, len(views[0])))], unreadable


def detect_channels(paths: list[Path], probe: int = 8) -> int:
    """1 if the first few readable images are all gray, else 3."""
    grays = []
    for path in paths:
        try:
            grays.append(read_picture(path).is_gray)
        except ImageError:
            continue
        if len(grays) == probe:
            break
    return 1 if grays and all(grays) else 3


def existing_folder(data: str | Path) -> Path:
    """``data`` as a path. Raises `DataError` if it is missing or a file."""
    root = Path(data)
    if not root.exists():
        raise DataError(f"There is no folder '{root}': check the path.")
    if not root.is_dir():
        raise DataError(f"'{root}' is a file: give the folder that holds the images.")
    return root


def _locate_good_images(root: Path) -> GoodImages:
    if (visa := find_visa(root)) is not None:
        missing = f" ({len(visa.absent)} categories of its table have no folder)" if visa.absent else ""
        return GoodImages(f"the VisA layout{missing}", visa.good())
    if (root / "train" / "good").is_dir():
        good = {root.resolve().name: list_images(root / "train" / "good")}
        return GoodImages("an MVTec-layout category", good)
    categories = {
        p.name: list_images(p / "train" / "good") for p in sorted(root.iterdir()) if (p / "train" / "good").is_dir()
    }
    if categories:
        return GoodImages("a folder of MVTec-layout categories", categories)
    return GoodImages("a flat folder", {root.resolve().name: list_images(root)})


def _visa_items(rows: list[VisaRow], root: Path, allow_empty: bool) -> list[TestItem]:
    items = [TestItem(r.image, "good" if r.is_normal else "anomaly", r.mask) for r in rows if not r.is_train]
    if not items and not allow_empty:
        raise DataError(f"The table of '{root}' lists no test image of {rows[0].category}: copy it from VisA again.")
    return items


def _mask_of(root: Path, image: Path) -> Path | None:
    folder = root / "ground_truth" / image.parent.name
    names = (f"{image.stem}{tail}{suffix}" for tail in ("_mask", "") for suffix in SUFFIXES)
    return next((folder / name for name in names if (folder / name).is_file()), None)
