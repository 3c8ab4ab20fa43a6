"""Finding images: a flat folder of good images, a category or a folder of them in a layout of `fmcore.data.layouts`.

Masks and our own heat maps among the images are never taken for images; what was not read is said."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import Any

from fmcore.data import layouts
from fmcore.data.decoder import full_scale, open_image, upright_size
from fmcore.data.heatmap_file import HEAT, is_heatmap
from fmcore.data.layouts import Category, TestItem, folders_in, list_images, not_read, only_images, read_category
from fmcore.data.picture import Picture, bits_of, read_picture
from fmcore.errors import DataError, ImageError

SAMPLE = 32  # pictures whose statistics make a view
COLOURED = 64  # files whose pixels are looked at for colour
QUIET, PATIENCE = 1.0, 10.0  # seconds; see `arriving`


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
class SetDescription:
    """Of what is readable: median height and width, as a viewer shows them, whether all are gray, how many bits
    hold the largest value of all 16-bit images, how many of a set in colour are stored as gray, and a ``sample`` of at
    most `SAMPLE` pictures, evenly spread, at these bits."""

    height: int
    width: int
    is_gray: bool
    bits: int = 16
    gray_among_colour: int = 0
    sample: Sequence[Picture] = field(default=(), compare=False)


def describe_set(sources: Sequence[Any]) -> SetDescription:
    """Of paths from headers, but for 16-bit files, and for RGB files that may hold gray: pixels of up to `COLOURED` of
    these, evenly spread; or of what `Picture.of` takes. Raises `DataError` if none can be read."""
    sizes, coloured, largest, sample, reason = [], [], 0, [], ""
    for source in sources:
        try:
            if isinstance(source, str | Path):
                with open_image(source) as image:
                    size, mode, full = upright_size(image), image.mode, full_scale(image)
                largest = max(largest, read_picture(source).largest) if full == 65535 else largest
                is_colour = mode[0] not in "1LIF" or mode == "LAB"
            else:
                picture = Picture.of(source)
                size, is_colour, largest = picture.size_in_file, picture.pixels.ndim == 3, max(largest, picture.largest)
            sizes.append(size)
            coloured += [source] * is_colour
        except ImageError as error:
            reason = reason or f" The first: {error}"
    step = max(1, len(sources) // SAMPLE)
    order = sorted(range(len(sources)), key=lambda number: number % step > 0)  # others where one is unreadable
    for found in read_pictures(sources[number] for number in order):
        if isinstance(found, Picture):
            sample.append(found.of_depth(bits_of(largest)))
        else:
            reason = reason or f" The first: {found}"
        if len(sample) == SAMPLE:
            break
    if not sample:
        raise DataError(f"None of the {len(sources)} images could be read.{reason}")
    looked_at = read_pictures(coloured[:: -(-len(coloured) // COLOURED) or 1])
    is_gray = all(isinstance(found, ImageError) or found.is_gray for found in looked_at)
    height, width = (round(median(sides)) for sides in zip(*sizes, strict=True))
    others = 0 if is_gray else len(sizes) - len(coloured)
    return SetDescription(height, width, is_gray, bits_of(largest), others, sample)


def read_pictures(sources: Iterable[Any]) -> Iterator[Picture | ImageError]:
    """One picture, or why it cannot be read, after the other, so that memory stays flat and callers show progress."""
    for source in sources:
        try:
            yield Picture.of(source)
        except ImageError as error:
            yield error


def find_good_images(data: str | Path) -> DataFolder:
    """`read_folder` for training. Raises `DataError` also where a category has no image."""
    found = read_folder(data)
    if empty := [name for name, paths in found.categories.items() if not paths]:
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
    if there is no such folder, if it cannot be read, or if it is VisA with a table that cannot be used."""
    try:
        return _read_folder(Path(data))
    except OSError as error:
        raise DataError(f"'{data}' cannot be read ({error.strerror}): check the path.") from None


def _read_folder(root: Path) -> DataFolder:
    if not root.exists():
        raise DataError(f"There is no folder '{root}': check the path.")
    if not root.is_dir():
        raise DataError(f"'{root}' is a file: give the folder that holds the images.")
    name, absent = root.resolve().name, []
    if (visa := layouts.read_visa(root)) is not None:
        found, absent = visa
        lost = f" ({len(absent)} categories of its table have no folder)" if absent else ""
        layout = f"the VisA layout{lost}"
    elif (single := read_category(root)) is not None:
        found, layout = {name: single}, f"{'an' if single.layout[0] == 'M' else 'a'} {single.layout} category"
    else:
        inner = {p.name: category for p in folders_in(root) if (category := read_category(p)) is not None}
        layout = f"a folder of {' and '.join(sorted({c.layout for c in inner.values()}))} categories"
        found = inner
    if not any(category.train is not None for category in found.values()):
        flat, layout = _flat(root, [] if found else folders_in(root))
        own = found.get(name, flat)
        found = found | {name: replace(flat, test=own.test, strays=own.strays)}
    test = {n: c.test for n, c in found.items() if c.test is not None}
    if any(item.mask and item.mask.is_dir() for items in test.values() for item in items):
        layout += " with a folder of masks per image"
    notes = [f"{n}: {c.left_out} were left out." for n, c in found.items() if c.left_out]
    notes += [sentence] if (sentence := not_read(root)) else []
    train = {n: c.train for n, c in found.items() if c.train is not None}
    return DataFolder(layout, train, test, tuple(notes), absent, [p for c in found.values() for p in c.strays])


def _flat(root: Path, inner: list[Path]) -> tuple[Category, str]:
    """A folder of good images; without any of its own, those in the folders inside, but for defects and masks."""
    every, layout = list_images(root), "a flat folder"
    inner = [p for p in inner if p.name.lower() not in (*layouts.BAD, *layouts.MASKS)]
    inside = list_images(*inner, deep=True)
    left = [f"{len(inside)} images in folders inside"] if every and inside else []
    if not every and inside:
        every, layout = inside, f"a folder of {len(inner)} folders of images"
    train = only_images(every)
    left = ([f"{len(every) - len(train)} masks and heat maps"] if len(every) > len(train) else []) + left
    return Category("flat", train, None, left_out=" and ".join(left)), layout


def name_files(given: Sequence[Path]) -> tuple[list[tuple[Path, str]], int]:
    """Images among files and folders with the name of each for its results: its path below the folder that was given,
    made unique. What an earlier run wrote inside a folder is left out; the second value counts those heat maps.
    Raises `DataError` for a path that does not exist, or a folder without images."""
    found: list[tuple[Path, str]] = []
    left_out = 0
    for path in given:
        if path.is_dir():
            images, maps = _without_results(path)
            left_out += maps
            inside = [(image, str(image.relative_to(path).with_suffix(""))) for image in images]
            if not inside:
                raise DataError(f"There is no image in '{path}': check the path.")
            found += inside
        elif path.exists():
            found.append((path, path.stem))
        else:
            raise DataError(f"There is no file or folder '{path}': check the path.")
    names: dict[str, Path] = {}
    for path, name in found:
        free = (name if count == 1 else f"{name}_{count}" for count in itertools.count(1))
        names[next(candidate for candidate in free if candidate not in names)] = path
    return [(path, name) for name, path in names.items()], left_out


def _without_results(folder: Path) -> tuple[list[Path], int]:
    """Images but for our own heat maps and masks, and the number of those heat maps."""
    every = list_images(folder, deep=True)
    maps = {image for image in every if is_heatmap(image)}
    own = maps | {m.with_name(m.name.removesuffix(HEAT) + "_mask.png") for m in maps}
    return [image for image in every if image not in own], len(maps)


def arriving(folder: Path) -> Iterator[tuple[Path, str] | None]:
    """The images in a folder, as they come, each once, its path below the folder as name; None after each look. One is
    waited for until it has not changed for `QUIET` seconds, and `PATIENCE` where it cannot be read, as a part of a copy
    cannot. Never ends."""
    seen, given = {}, set()
    while True:
        for path in (p for p in _without_results(folder)[0] if p not in given):
            with suppress(FileNotFoundError):  # gone since
                now, state = time.monotonic(), (path.stat().st_size, path.stat().st_mtime_ns)
                before, since = seen.get(path, (None, now))
                seen[path] = state, since if state == before else now
                is_whole = now - since >= QUIET and isinstance(next(read_pictures([path])), Picture)
                if state == before and (is_whole or now - since >= PATIENCE):
                    given.add(path)
                    yield path, str(path.relative_to(folder))
        yield None
        time.sleep(QUIET / 4)
