"""Ground-truth masks: which pixels a file, or a folder of files, marks; what is ambiguous is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from scipy.ndimage import maximum_filter, minimum_filter

from fmcore.data.decoder import SUFFIXES, decode_levels, open_image
from fmcore.errors import ImageError

MOST_LABELS = 31  # largest value, and number of values, of a mask of labels; what is meant to be seen is brighter
LOSSY = ("JPEG", "WEBP", "AVIF", "JPEG2000")  # formats that may soften edges


def read_mask(
    path: str | Path,
    *,
    height: int | None = None,
    width: int | None = None,
    size_of_image: tuple[int, int] | None = None,
) -> np.ndarray:
    """A mask as bool, at its own size or resized to ``(height, width)`` by nearest neighbour after it was made binary.
    A folder is the union of the files in it.

    Transparent pixels are not marked. Of the others those are that are brighter than half of the file's full scale
    (255, or 65535 for 16 bits; the brightest channel of a colour file), and of files of few values also those at a
    fainter level that fills a square of 3 x 3 pixels evenly, as kinds of defect do and soft edges do not. A file whose
    largest value is at most `MOST_LABELS`, and a palette of as few, hold labels: all that is not black is marked.

    Raises:
        ImageError: as `fmcore.data.picture.read_picture`; if no pixel is marked, in the file or after the resize; if
            the background is of another colour than black; if a file of many values has an even area neither dark nor
            bright; if it is inverted (most pixels and nearly the whole border are marked); if its shape is not that of
            ``size_of_image``, height and width.
    """
    name, parts = (path := Path(path)).name, [path]
    if path.is_dir():
        parts = sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES and not p.name.startswith("."))
    masks = [_read(part) for part in parts]
    if len({mask.shape for mask in masks}) != 1:
        raise ImageError(f"The masks in '{name}' have {len({m.shape for m in masks})} sizes: they must have one.")
    marked = np.logical_or.reduce(masks)
    if size_of_image and marked.shape[1] * size_of_image[0] != marked.shape[0] * size_of_image[1]:
        mask, image = (f"{wide} x {high}" for high, wide in (marked.shape, size_of_image))
        raise ImageError(f"The mask {name!r} is {mask} and its image {image}: they must have the same shape.")
    border = np.concatenate([marked[0], marked[-1], marked[:, 0], marked[:, -1]])
    if 0.5 < (share := marked.mean()) < 1 and border.mean() > 0.9:
        said = f"marks {share:.0%} of the picture, up to its borders, so it seems inverted: mark the defect"
        raise ImageError(f"The mask {name!r} {said}, not the background.")
    if height is None or width is None:
        return marked
    mask = np.asarray(Image.fromarray(marked).resize((width, height), Image.Resampling.NEAREST))
    if not mask.any():
        left = f"{int(marked.sum())} of {marked.size} pixels, and none of them is left at {width} x {height}"
        raise ImageError(f"The mask {name!r} marks {left}: use a larger size, or remove the file.")
    return mask


def _read(path: Path) -> np.ndarray:
    """The marked pixels of one file; see `read_mask`."""
    with open_image(path) as image:
        values, is_palette = decode_levels(image, path.name), image.mode == "P"
        is_lossy, colours = image.format in LOSSY, np.asarray(image.convert("RGB")) > 127
    full = 255 if values.dtype == np.uint8 else 65535
    values = values if full == 255 else np.round(values * 65535).astype(np.uint16)
    if not (largest := int(values.max())):
        said = "is empty, all its pixels are black or transparent: mark the defect, or remove the file"
        raise ImageError(f"The mask {path.name!r} {said}.")
    if values.min() > full / 2 and (colours != colours[:1, :1]).any():
        said = "has several colours, but none of them is black: make the background black"
        raise ImageError(f"The mask {path.name!r} {said}.")
    is_few = len(np.unique(values)) <= MOST_LABELS + 1
    if largest <= MOST_LABELS or (is_palette and is_few):
        return values > 0
    if largest <= full / 2:
        said = f"marks no pixel, its brightest is {largest} of {full}: save it with 0 and {full}"
        raise ImageError(f"The mask {path.name!r} {said}.")
    faint = (values > 0) & (values <= full / 2)
    if not faint.any():
        return values > 0
    if is_few and not is_lossy:
        even = faint & (minimum_filter(values, 3, mode="constant") == maximum_filter(values, 3))
        levels = np.unique(values[even])
        if len(levels) > 3 or not np.isin(values[faint], levels).mean() > 0.9:  # noise: what is all but black is none
            levels = levels[levels > MOST_LABELS * full // 255]
        return values >= min(levels, default=full // 2 + 1)
    # A level of its own is even, a soft edge climbs.
    darkest, brightest = (find(values.astype(np.int32), 7) for find in (minimum_filter, maximum_filter))
    if ((darkest > full / 4) & (brightest < full * 3 / 4) & (brightest - darkest < full / 10)).any():
        said = "has areas that are neither dark nor bright, so it is not clear what they mean"
        raise ImageError(f"The mask {path.name!r} {said}: save it with 0 and {full}.")
    return values > full / 2
