"""Finding images: a flat folder of good images, one MVTec-layout category, or a folder of categories.

MVTec layout: ``<category>/train/good/*``, ``<category>/test/<good or defect>/*`` and
``<category>/ground_truth/<defect>/<stem>_mask.png`` (or ``<stem>.png``).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from fmcore.errors import DataError, ImageError
from fmcore.images import SUFFIXES, read_picture


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


def find_good_images(data: str | Path) -> GoodImages:
    """Find the normal images under ``data``; of an MVTec layout only ``train/good`` is read.

    Raises:
        DataError: if the folder is missing or holds none of the known layouts.
    """
    root = _existing_folder(data)
    if (root / "train" / "good").is_dir():
        return _checked(root, "an MVTec-layout category", {root.resolve().name: list_images(root / "train" / "good")})
    categories = {
        p.name: list_images(p / "train" / "good") for p in sorted(root.iterdir()) if (p / "train" / "good").is_dir()
    }
    if categories:
        return _checked(root, "a folder of MVTec-layout categories", categories)
    return _checked(root, "a flat folder", {root.resolve().name: list_images(root)})


def find_test_items(data: str | Path) -> list[TestItem]:
    """Test images of one MVTec-layout category, with their masks where there are any.

    Raises:
        DataError: if there is no ``test`` folder, or it holds no image.
    """
    root = _existing_folder(data)
    if not (root / "test").is_dir():
        raise DataError(f"'{root}' has no 'test' folder: evaluation needs test/good and test/<defect> (MVTec layout).")
    items = []
    for folder in sorted(p for p in (root / "test").iterdir() if p.is_dir() and not p.name.startswith(".")):
        for path in list_images(folder):
            items.append(TestItem(path, folder.name, None if folder.name == "good" else _mask_of(root, path)))
    if not items:
        raise DataError(f"'{root / 'test'}' holds no image: put images into test/good and test/<defect>.")
    return items


def load_images(paths: list[Path], *, size: int, channels: int) -> Iterator[Tensor | Unreadable]:
    """Decode one after the other, so that callers can show progress: ``(channels, size, size)`` tensors in
    [-1, 1], or an `Unreadable` where a file could not be used."""
    for path in paths:
        try:
            yield read_picture(path).tensor(size, channels)
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


def _existing_folder(data: str | Path) -> Path:
    root = Path(data)
    if not root.exists():
        raise DataError(f"There is no folder '{root}': check the path.")
    if not root.is_dir():
        raise DataError(f"'{root}' is a file: give the folder that holds the images.")
    return root


def _checked(root: Path, layout: str, categories: dict[str, list[Path]]) -> GoodImages:
    empty = [name for name, paths in categories.items() if not paths]
    if empty:
        expected = "good images, directly or in train/good (MVTec layout)"
        raise DataError(f"No image found for {', '.join(empty)} in '{root}': expected {expected}.")
    return GoodImages(layout, categories)


def _mask_of(root: Path, image: Path) -> Path | None:
    folder = root / "ground_truth" / image.parent.name
    for name in (f"{image.stem}_mask.png", f"{image.stem}.png"):
        if (folder / name).is_file():
            return folder / name
    return None
