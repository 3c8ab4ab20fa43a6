"""What a data folder holds, lacks and has damaged: every image and mask is opened, nothing is trained."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fmcore.data import Progress
from fmcore.data.decoder import KEPT_PIXELS
from fmcore.data.folders import DataFolder, TestItem, find_good_images, read_folder
from fmcore.data.picture import bits_of, read_mask, read_picture
from fmcore.errors import ImageError

MEMORY = 850_000_000  # bytes that `fit` takes at its defaults without pictures, as measured at 40 to 1,100 of them
SAMPLE = 32  # pictures that are in memory at once
TRAIN = "train/good"  # beside the kinds of test images, which are names of folders


@dataclass
class CategoryReport:
    """One category: readable images by kind, their masks, sizes (width, height) and channels."""

    images: Counter[str] = field(default_factory=Counter)
    masks: int = 0
    unmasked: int = 0
    largest: Counter[str] = field(default_factory=Counter)  # value of 16-bit files, by kind
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    channels: Counter[str] = field(default_factory=Counter)

    def as_json(self) -> dict[str, Any]:
        """Sizes are written ``WIDTHxHEIGHT``."""
        defects = {kind: n for kind, n in sorted(self.images.items()) if kind not in (TRAIN, "good")}
        return {
            "train_good": self.images[TRAIN],
            "test_good": self.images["good"],
            "test_defective": sum(defects.values()),
            "defects": defects,
            "masks": self.masks,
            "sizes": {f"{width}x{height}": n for (width, height), n in self.sizes.most_common()},
            "channels": dict(self.channels.most_common()),
        }


@dataclass
class CheckReport:
    """What was found: ``damaged`` files that cannot be used as they are, ``missing`` ones that one could expect, and
    ``notes`` on what is unusual and handled, a sentence each."""

    layout: str
    categories: dict[str, CategoryReport] = field(default_factory=dict)
    damaged: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    memory: int = 0  # bytes that `fit` takes at its defaults, at most about

    def as_json(self) -> dict[str, Any]:
        """Plain JSON."""
        return vars(self) | {"categories": {name: part.as_json() for name, part in self.categories.items()}}


def check(data: str | Path) -> Iterator[Progress]:
    """Open every image and mask below ``data``, of any layout of `fmcore.data.folders`; the result is a `CheckReport`.
    Raises `DataError` if there is none."""
    found = read_folder(data)
    total, done = sum(map(len, (*found.categories.values(), *found.test.values()))), 0
    is_fit = any(found.categories.values())
    if not is_fit and not any(found.test.values()):
        find_good_images(data)  # says what was expected
    report = CheckReport(found.layout if is_fit else "test images alone", notes=list(found.notes))
    report.missing += [f"{name}: listed in the table, but there is no such folder." for name in found.absent]
    lost = "belongs to no test image: restore the image"
    report.damaged += [f"The mask '{mask.relative_to(data)}' {lost}." for mask in found.strays]
    for name in sorted(found.test.keys() | (found.categories.keys() if is_fit else ())):
        part = report.categories[name] = CategoryReport()
        for item in [TestItem(path, TRAIN, None) for path in found.categories.get(name, ())] + found.test.get(name, []):
            _open(item, f"{name}/{item.defect}", part, report)
            done += 1
            yield Progress(done, total)
        if part.unmasked:
            lost = "defective images have no mask, so they count for image figures only"
            report.missing.append(f"{name}: {part.unmasked} {lost}.")
        if found.test and not part.images.keys() - {TRAIN}:
            report.missing.append(f"{name}: no test images.")
        if not part.images[TRAIN]:
            report.missing.append(f"{name}: no good training images.")
        report.notes += [f"{name}: {note}" for note in (*_notes(part), *in_both(found, name))]
    if not found.test:
        report.missing.append("No test images: a model can be fitted, but not evaluated.")
    pixels = max((min(w * h, KEPT_PIXELS) for part in report.categories.values() for w, h in part.sizes), default=0)
    report.memory = MEMORY + 3 * pixels * min(SAMPLE, max(map(len, found.categories.values()), default=0))
    yield Progress(done, total, result=report)


def _notes(part: CategoryReport) -> Iterator[str]:
    """Sentences on mixed sizes and channels, on 16-bit files whose values need fewer bits, and on test images beyond
    those to train on."""
    ratios = len({round(width / height, 2) for width, height in part.sizes})
    if len(part.sizes) > 1:
        shapes = f"{ratios} aspect ratios" if ratios > 1 else "one aspect ratio"
        yield f"{len(part.sizes)} image sizes, {shapes}; all are resized to one size."
    if len(part.channels) > 1:
        yield f"{part.channels['gray']} gray and {part.channels['RGB']} RGB images."
    if (largest := part.largest[TRAIN]) and (bits := bits_of(largest)) < 16:
        yield f"16-bit files hold {bits}-bit values (the largest is {largest}): white is {2**bits - 1}."
        if beyond := [kind for kind, value in part.largest.items() if value >= 2**bits]:
            most = max(part.largest.values())
            yield f"images to test on ({', '.join(beyond)}) hold larger values, up to {most}, which are cut off."


def _open(item: TestItem, where: str, part: CategoryReport, report: CheckReport) -> None:
    """Open an image and its mask; count what can be used, report what cannot."""
    size = None
    try:
        picture = read_picture(item.path)
        size = picture.size_in_file
        part.images[item.defect] += 1
        part.sizes[size[::-1]] += 1
        part.channels["gray" if picture.is_gray else "RGB"] += 1
        part.largest[item.defect] = max(part.largest[item.defect], picture.largest)
    except ImageError as error:
        report.damaged.append(f"{where}: {error}")
    if item.mask is None:
        part.unmasked += item.defect not in (TRAIN, "good")
        return
    try:
        read_mask(item.mask, size_of_image=size)
        part.masks += 1
    except ImageError as error:
        report.damaged.append(f"{where}: {error}")


def in_both(found: DataFolder, name: str) -> list[str]:
    """A sentence on test images whose bytes are those of a training image."""
    paths = [p for p in (*found.categories.get(name, ()), *(i.path for i in found.test.get(name, ()))) if p.is_file()]
    sizes, known, same = Counter(path.stat().st_size for path in paths), {}, []
    tested = {item.path for item in found.test.get(name, ())}
    for path in paths:
        if sizes[path.stat().st_size] > 1 and os.access(path, os.R_OK):
            twin = known.setdefault(hashlib.sha256(path.read_bytes()).digest(), path)
            same += [f"{path.parent.name}/{path.name} = {twin.name}"] * (path in tested and twin not in tested)
    more = f" and {len(same) - 5} more" if len(same) > 5 else ""
    found = f"{len(same)} images stand in train and in test, which flatters figures: {', '.join(same[:5])}{more}."
    return [found] if same else []
