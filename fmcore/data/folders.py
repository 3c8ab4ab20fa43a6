"""Finding images: a flat folder of good images, the MVTec layout, or VisA as it is downloaded.

MVTec layout: ``<category>/train/good/*``, ``<category>/test/<good or defect>/*`` and
``<category>/ground_truth/<defect>/<stem>_mask.png`` (or ``<stem>_gt.png``, ``<stem>.png``, of any image kind); ``ok``
and ``normal`` mean good, and folders inside these, by day say, are read too. VisA layout: `fmcore.data.visa`. Both are
read from the folder of one category or of all. Masks and our own heat maps among the images are never taken for images.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from fmcore.data.decoder import SUFFIXES, open_image, upright_size
from fmcore.data.heatmap_file import is_heatmap
from fmcore.data.picture import Picture, read_picture
from fmcore.data.visa import find_visa
from fmcore.errors import DataError, ImageError

GOOD = ("good", "ok", "normal")  # names of folders, in any case
SAMPLE = 64  # files whose pixels are looked at for colour
_MASK = re.compile("(?<=.)_(mask|gt)$", re.IGNORECASE)  # of a file's stem


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
class DataFolder:
    """Normal images to train on, and test images, by category; either half may be empty. ``notes`` on what was left
    out, ``absent`` categories that a table names, and ``strays``, masks that belong to no test image."""

    layout: str
    categories: dict[str, list[Path]]
    test: dict[str, list[TestItem]]
    notes: Sequence[str] = ()
    absent: Sequence[str] = ()
    strays: Sequence[Path] = ()

    def summary(self) -> str:
        """One line to show before training starts."""
        parts = ", ".join(f"{name}: {len(paths)}" for name, paths in self.categories.items())
        return " ".join([f"Found {self.layout}, good images per category: {parts}.", *self.notes])


@dataclass(frozen=True)
class Unreadable:
    """A file that was skipped, and the sentence that says why."""

    path: Path
    reason: str


@dataclass(frozen=True)
class SetDescription:
    """Of the readable files: median height and width, as a viewer shows them, and whether all are gray."""

    height: int
    width: int
    is_gray: bool


def describe_set(paths: Sequence[str | Path]) -> SetDescription:
    """From headers alone, but for RGB files that may hold gray: pixels of up to `SAMPLE` of these, evenly spread.
    Raises `DataError` if no file can be read."""
    sizes, coloured, reason = [], [], ""
    for path in paths:
        try:
            with open_image(path) as image:
                sizes.append(upright_size(image))
                coloured += [path] * (image.mode[0] not in "1LIF" or image.mode == "LAB")
        except ImageError as error:
            reason = reason or f" The first: {error}"
    if not sizes:
        raise DataError(f"None of the {len(paths)} images could be read.{reason}")
    sample = coloured[:: -(-len(coloured) // SAMPLE) or 1]
    is_gray = all(isinstance(found, Unreadable) or found.is_gray for found in read_pictures(sample))
    return SetDescription(*(round(median(sides)) for sides in zip(*sizes, strict=True)), is_gray)


def read_pictures(paths: Sequence[str | Path]) -> Iterator[Picture | Unreadable]:
    """One picture after the other, so that memory stays flat and callers can show progress."""
    for path in paths:
        try:
            yield read_picture(path)
        except ImageError as error:
            yield Unreadable(Path(path), str(error))


def list_images(*folders: str | Path, deep: bool = False) -> list[Path]:
    """Image files in ``folders``, by suffix, sorted; ``deep``: also in the folders inside. Hidden ones are left out."""
    found = [(p, p.relative_to(folder)) for folder in folders for p in Path(folder).glob("**/*" if deep else "*")]
    images = (p for p, inside in found if not any(part.startswith(".") for part in inside.parts))
    return sorted(p for p in images if p.suffix.lower() in SUFFIXES and p.is_file())


def find_good_images(data: str | Path, *, allow_empty: bool = False) -> DataFolder:
    """`read_folder` for training. Raises `DataError` also where a category has no image, but with ``allow_empty``."""
    found = read_folder(data)
    if not allow_empty and (empty := [name for name, paths in found.categories.items() if not paths]):
        expected = " ".join(["expected good images, directly or in train/good (MVTec layout).", *found.notes])
        raise DataError(f"No image found for {', '.join(empty)} in '{data}': {expected}")
    return found


def find_test_items(data: str | Path) -> list[TestItem]:
    """As `find_test_sets` of one category. Raises `DataError` also if ``data`` holds several."""
    sets = find_test_sets(data)
    if len(sets) > 1:
        raise DataError(f"'{data}' holds several categories ({', '.join(sets)}): give the folder of one.")
    return next(iter(sets.values()))


def find_test_sets(data: str | Path) -> dict[str, list[TestItem]]:
    """Test images by category. Raises `DataError` as `read_folder`, or if there are none for a category, or at all."""
    sets = read_folder(data).test
    if not sets:
        raise DataError(f"'{data}' has no 'test' folder: evaluation needs test/good and test/<defect> (MVTec layout).")
    if empty := [name for name, items in sets.items() if not items]:
        raise DataError(f"'{data}' holds no image to test {empty[0]} on: put some into test/good and test/<defect>.")
    return sets


def read_folder(data: str | Path) -> DataFolder:
    """Both halves of a data set, from the folder of one category or of all; either may be missing. Raises `DataError`
    if there is no such folder, or if it is VisA with a table that cannot be used."""
    root = Path(data)
    if not root.exists():
        raise DataError(f"There is no folder '{root}': check the path.")
    if not root.is_dir():
        raise DataError(f"'{root}' is a file: give the folder that holds the images.")
    if (visa := find_visa(root)) is not None:
        train, test, absent = visa
        missing = f" ({len(absent)} categories of its table have no folder)" if absent else ""
        items = {name: [TestItem(*row) for row in rows] for name, rows in test.items()}
        return DataFolder(f"the VisA layout{missing}", train, items, absent=absent)
    inner = {} if _is_category(root) else {p.name: p for p in _folders(root) if _is_category(p)}
    categories = inner or {root.resolve().name: root}
    good = {name: list_images(*folders, deep=True) for name, p in categories.items() if (folders := _good_folders(p))}
    layout = "a folder of MVTec-layout categories" if inner else "an MVTec-layout category"
    if not good:
        layout, good = "a flat folder", {root.resolve().name: list_images(root)}
    train = {name: _only_images(paths) for name, paths in good.items()}
    left = {name: len(paths) - len(train[name]) for name, paths in good.items()}
    notes = tuple(f"{name}: {count} masks and heat maps were left out." for name, count in left.items() if count)
    test = {name: _test_items(p) for name, p in categories.items() if (p / "test").is_dir()}
    used = {item.mask for items in test.values() for item in items}
    masks = list_images(*(p / "ground_truth" for p in categories.values()), deep=True)
    return DataFolder(layout, train, test, notes, strays=[mask for mask in masks if mask not in used])


def _test_items(category: Path) -> list[TestItem]:
    items = []
    for folder in _folders(category / "test"):
        defect = "good" if folder.name.lower() in GOOD else folder.name
        marks = category / "ground_truth" / folder.name
        # By the image that they mark, without its suffix or with it; of two, the one that is named as a mask wins.
        every = sorted(list_images(marks, deep=True), key=lambda p: _MASK.search(p.stem) is not None)
        masks = {} if defect == "good" else {p.relative_to(marks).with_name(_MASK.sub("", p.stem)): p for p in every}
        for path in _only_images(list_images(folder, deep=True)):
            place = path.relative_to(folder)
            items.append(TestItem(path, defect, masks.get(place.with_suffix("")) or masks.get(place)))
    return items


def _is_category(folder: Path) -> bool:
    return bool(_good_folders(folder)) or (folder / "test").is_dir()


def _good_folders(category: Path) -> list[Path]:
    return [p for p in _folders(category / "train") if p.name.lower() in GOOD]


def _folders(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".")) if folder.is_dir() else []


def _only_images(paths: list[Path]) -> list[Path]:
    return [path for path in paths if not _MASK.search(path.stem) and not is_heatmap(path)]
