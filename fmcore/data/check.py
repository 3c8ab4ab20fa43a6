"""What a data folder holds, lacks and has damaged: every image and mask is opened, nothing is trained."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fmcore.data.folders import TestItem, existing_folder, find_good_images, find_test_sets, list_images
from fmcore.data.known import Counts, absences
from fmcore.data.picture import read_mask, read_picture
from fmcore.data.visa import find_visa
from fmcore.errors import DataError, ImageError


@dataclass
class CategoryReport:
    """One category: readable images by kind, their masks, sizes (width, height) and channels."""

    train_good: int = 0
    test: Counter[str] = field(default_factory=Counter)
    masks: int = 0
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    channels: Counter[str] = field(default_factory=Counter)

    @property
    def counts(self) -> Counts:
        return Counts(self.train_good, self.test["good"], self.test.total() - self.test["good"])


@dataclass
class CheckReport:
    """What was found. ``damaged`` holds a sentence per file that cannot be used as it is; ``missing`` what one
    could expect and is not there; ``notes`` what is unusual and handled."""

    layout: str
    categories: dict[str, CategoryReport]
    damaged: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Plain JSON; sizes are written ``WIDTHxHEIGHT``."""
        categories = {
            name: {
                **part.counts._asdict(),
                "defects": {kind: n for kind, n in sorted(part.test.items()) if kind != "good"},
                "masks": part.masks,
                "sizes": {f"{width}x{height}": n for (width, height), n in part.sizes.most_common()},
                "channels": dict(part.channels.most_common()),
            }
            for name, part in self.categories.items()
        }
        lists = {"damaged": self.damaged, "missing": self.missing, "notes": self.notes}
        return {"layout": self.layout, "categories": categories, **lists}


@dataclass(frozen=True)
class CheckRecord:
    """Progress over files; the last record carries the report."""

    done: int
    total: int
    report: CheckReport | None = None


def check(data: str | Path) -> Iterator[CheckRecord]:
    """Open every image and mask below ``data``, a flat folder or any layout of `fmcore.data.folders`.

    Raises:
        DataError: if ``data`` is missing, or none of the known layouts can be found in it.
    """
    root = existing_folder(data)
    report, train, test = _find(root)
    total = sum(map(len, train.values())) + sum(map(len, test.values()))
    done = 0
    for name in sorted(train.keys() | test.keys()):
        part = report.categories[name] = CategoryReport()
        unmasked = 0
        for path in train.get(name, ()):
            if _opened(path, f"{name}/train", part, report) is not None:
                part.train_good += 1
            done += 1
            yield CheckRecord(done, total)
        for item in test.get(name, ()):
            size = _opened(item.path, f"{name}/{item.defect}", part, report)
            part.test[item.defect] += size is not None
            if item.mask is not None:
                part.masks += _usable(item, size, f"{name}/{item.defect}", report)
            unmasked += item.mask is None and not item.is_good
            done += 1
            yield CheckRecord(done, total)
        if unmasked:
            report.missing.append(
                f"{name}: {unmasked} defective images have no mask, so they count for image figures only."
            )
        if test and not part.test.total():
            report.missing.append(f"{name}: no test images.")
        if not part.train_good:
            report.missing.append(f"{name}: no good training images.")
        _note_mixture(name, part, report)
    if not test:
        report.missing.append("No test images: a model can be fitted, but not evaluated.")
    report.missing += absences({name: part.counts for name, part in report.categories.items()})
    yield CheckRecord(done, total, report)


def _find(root: Path) -> tuple[CheckReport, dict[str, list[Path]], dict[str, list[TestItem]]]:
    """Both halves of a data set, of which one may be missing, and the masks and folders that belong to neither."""
    visa = find_visa(root)
    good = find_good_images(root, allow_empty=True)
    try:
        test = find_test_sets(root, allow_empty=True)
    except DataError:  # no test folder at all, which is fine for training
        test = {}
    layout, train = good.layout, good.categories
    if not any(train.values()):
        if not any(test.values()):
            find_good_images(root)  # says what was expected
        layout, train = "test images alone", {}
    report = CheckReport(layout, {})
    if visa is not None:
        report.missing += [f"{name}: listed in the table, but there is no such folder." for name in visa.absent]
    else:
        report.damaged += _stray_masks(root, test)
    return report, train, test


def _stray_masks(root: Path, test: dict[str, list[TestItem]]) -> list[str]:
    """Masks in ``ground_truth`` that no test image uses."""
    used = {item.mask for items in test.values() for item in items}
    strays = []
    for category in [root, *(root / name for name in test)]:
        if (category / "ground_truth").is_dir():
            for folder in sorted(p for p in (category / "ground_truth").iterdir() if p.is_dir()):
                strays += [mask for mask in list_images(folder) if mask not in used]
    return [f"The mask '{mask.relative_to(root)}' belongs to no test image: restore the image." for mask in strays]


def _opened(path: Path, where: str, part: CategoryReport, report: CheckReport) -> tuple[int, int] | None:
    """Width and height of a readable image, counted; None for another, reported."""
    try:
        picture = read_picture(path)
    except ImageError as error:
        report.damaged.append(f"{where}: {error}")
        return None
    size = (picture.width, picture.height)
    part.sizes[size] += 1
    part.channels["gray" if picture.is_gray else "RGB"] += 1
    return size


def _usable(item: TestItem, size: tuple[int, int] | None, where: str, report: CheckReport) -> bool:
    """Whether the mask can be read, marks something and has the shape of its image; reported if not."""
    try:
        picture = read_picture(item.mask)
        read_mask(item.mask, height=picture.height, width=picture.width)
    except ImageError as error:
        report.damaged.append(f"{where}: {error}")
        return False
    if size is not None and picture.width * size[1] != picture.height * size[0]:
        report.damaged.append(
            f"{where}: The mask '{item.mask.name}' is {picture.width} x {picture.height} and its image "
            f"{size[0]} x {size[1]}: they must have the same shape."
        )
        return False
    return True


def _note_mixture(name: str, part: CategoryReport, report: CheckReport) -> None:
    if len(part.sizes) > 1:
        ratios = {round(width / height, 2) for width, height in part.sizes}
        shapes = f"{len(ratios)} aspect ratios" if len(ratios) > 1 else "one aspect ratio"
        report.notes.append(f"{name}: {len(part.sizes)} image sizes, {shapes}; all are resized to one square.")
    if len(part.channels) > 1:
        report.notes.append(f"{name}: {part.channels['gray']} gray and {part.channels['RGB']} RGB images.")
