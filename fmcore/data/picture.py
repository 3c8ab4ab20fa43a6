"""A picture in memory, from whatever holds one, and a mask: which pixels a file, or a folder of files, marks.

Training, scoring, notebooks and the app all begin here. What is ambiguous in a mask is refused.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from scipy.ndimage import maximum_filter, minimum_filter
from torch import Tensor

from fmcore.data import decoder
from fmcore.data.decoder import MAX_PIXELS, SUFFIXES, full_scale, open_image
from fmcore.errors import ImageError

BITS = (8, 10, 12, 14, 16)  # of values in 16-bit files
MOST_LABELS = 31  # largest value, and number of values, of a mask of labels; what is meant to be seen is brighter
LOSSY = ("JPEG", "WEBP", "AVIF", "JPEG2000")  # formats that may soften edges
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


@dataclass(frozen=True)
class Picture:
    """``pixels`` is ``(H, W)`` gray or ``(H, W, 3)`` RGB, uint8, or float32 in [0, 1] for more than 8 bits.

    A large file is reduced when it is read; ``size_in_file`` is the height and width that it had, for maps to come
    back at. ``full`` is the largest value its source can hold: 255, 65535, or 1 of floats. `Picture.of` checks what it
    is given, the constructor only the type of values (`ImageError`).
    """

    pixels: np.ndarray
    size_in_file: tuple[int, int] = ()
    full: int = 255

    def __post_init__(self) -> None:
        if self.pixels.dtype not in (np.uint8, np.float32):
            raise ImageError(f"A Picture holds uint8 or float32, not {self.pixels.dtype}: use Picture.of.")
        if not self.size_in_file:
            object.__setattr__(self, "size_in_file", self.pixels.shape[:2])

    @classmethod
    def of(cls, source: Any, *, max_pixels: int = MAX_PIXELS) -> Picture:
        """From a path, a PIL image, or an array ``(H, W)``, ``(H, W, 1)``, ``(H, W, 3)`` RGB or ``(H, W, 4)`` RGBA of
        uint8, uint16 (of 65535), bool, or floats in [0, 1]. Raises `ImageError` for anything else."""
        if isinstance(source, Picture):
            return source
        if isinstance(source, str | Path):
            return read_picture(source, max_pixels=max_pixels)
        if isinstance(source, Image.Image):
            with decoder.image_errors("image"):
                decoder.check_size(source, "image", max_pixels)
                if (full := full_scale(source)) == 255:
                    source.load()  # whole, as a reduced decoding would change the caller's image
                return cls(*decoder.decode(source, "image"), full)
        if isinstance(source, np.ndarray):
            return _from_array(source)
        raise ImageError(f"A {type(source).__name__} is no picture: give a path, a PIL image or a NumPy array.")

    @property
    def height(self) -> int:
        return self.pixels.shape[0]

    @property
    def width(self) -> int:
        return self.pixels.shape[1]

    @property
    def is_gray(self) -> bool:
        """Whether one channel holds everything: stored as gray, or RGB with three equal channels."""
        p = self.pixels
        return p.ndim == 2 or bool((p[..., 0] == p[..., 1]).all() and (p[..., 0] == p[..., 2]).all())

    @property
    def largest(self) -> int:
        """The largest value of 16-bit data; 0 of others."""
        return round(float(self.pixels.max()) * 65535) if self.full == 65535 else 0

    def of_depth(self, bits: int) -> Picture:
        """16-bit data as the ``bits`` that they hold, larger values cut off: 1.0 is then ``2^bits - 1``."""
        if self.full != 65535 or bits == 16:
            return self
        return replace(self, pixels=np.minimum(self.pixels * (65535 / (2**bits - 1)), 1).astype(np.float32))

    def resized(self, height: int, width: int, channels: int) -> Tensor:
        """``(channels, height, width)`` float32 in [-1, 1], by antialiased bicubic interpolation of the whole picture,
        whatever its aspect ratio; ``channels`` is 1 (of RGB: the luma) or 3."""
        pixels, full = self.pixels, 255 if self.pixels.dtype == np.uint8 else 1
        if channels == 1 and pixels.ndim == 3:
            pixels = pixels @ _LUMA
        planes = [Image.fromarray(plane) for plane in np.moveaxis(np.atleast_3d(pixels), 2, 0)]
        parts = [np.asarray(p.resize((width, height), Image.Resampling.BICUBIC), np.float32) for p in planes]
        values = np.clip(np.stack(parts) / (full / 2) - 1, -1, 1)  # bicubic overshoots
        return torch.from_numpy(values).expand(channels, -1, -1).contiguous()

    def rgb(self, max_side: int | None = None) -> np.ndarray:
        """For a screen: ``(H, W, 3)`` uint8, its longer side reduced to ``max_side`` if it is longer."""
        picture = Image.fromarray(_as_bytes(self.pixels)).convert("RGB")
        if max_side is not None and max(picture.size) > max_side:
            picture.thumbnail((max_side, max_side), Image.Resampling.BICUBIC)
        return np.asarray(picture)


def read_picture(path: str | Path, *, max_pixels: int = MAX_PIXELS) -> Picture:
    """Decode an image file of at most ``max_pixels``. Raises `ImageError` if it is missing, empty, no image of a known
    kind, damaged, cut off or too large, which is known before any pixel is decoded."""
    with open_image(path, max_pixels) as image:
        full = full_scale(image)
        return Picture(*decoder.decode(image, Path(path).name), full)


def bits_of(largest: int) -> int:
    """How many of `BITS` hold a largest value; 16 where it is 0, not known."""
    return next(bits for bits in BITS if largest < 2**bits) if largest else 16


def resize_map(values: np.ndarray, *, height: int, width: int) -> np.ndarray:
    """A map ``(h, w)`` resized bilinearly to ``(height, width)``, float32, for display at original size."""
    picture = Image.fromarray(values.astype(np.float32))
    return np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR))


def _from_array(array: np.ndarray) -> Picture:
    shape, kind = array.shape, array.dtype.kind
    if array.size == 0 or not (array.ndim == 2 or (array.ndim == 3 and shape[2] in (1, 3, 4))):
        raise ImageError(f"An array of shape {shape} is no picture: give (H, W), (H, W, 3) or (H, W, 4).")
    full = {"u1": 255, "u2": 65535}.get(f"{kind}{array.itemsize}", 1 if kind in "bf" else 0)
    if not full:
        raise ImageError(f"An array of {array.dtype} is no picture: give uint8, uint16, bool, or floats in [0, 1].")
    values = array[..., 0] if shape[2:] == (1,) else array
    if full == 255 and shape[2:] != (4,):
        return Picture(np.ascontiguousarray(values))
    values = decoder.on_white(decoder.scaled(values, full, "array"))
    return Picture(_as_bytes(values)) if full == 255 or kind == "b" else Picture(values, full=full)


def _as_bytes(pixels: np.ndarray) -> np.ndarray:
    return pixels if pixels.dtype == np.uint8 else np.round(pixels * 255).astype(np.uint8)


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
        ImageError: as `read_picture`; if no pixel is marked, in the file or after the resize; if
            the background is of another colour than black; if a file of many values has an even area neither dark nor
            bright; if it is inverted (most pixels and nearly the whole border are marked); if its shape is not that of
            ``size_of_image``, height and width.
    """
    name, parts = (path := Path(path)).name, [path]
    if path.is_dir():
        parts = sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES and not p.name.startswith("."))
    masks = [_read_mask(part) for part in parts]
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


def _read_mask(path: Path) -> np.ndarray:
    """The marked pixels of one file; see `read_mask`."""
    with open_image(path) as image:
        values, is_palette = decoder.decode_levels(image, path.name), image.mode == "P"
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
