"""A picture in memory, from whatever holds one; training, scoring, notebooks and the app all begin here."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from fmcore.data.decoder import MAX_PIXELS, check_size, decode, full_scale, image_errors, on_white, open_image, scaled
from fmcore.data.decoder import SUFFIXES as SUFFIXES  # for callers
from fmcore.data.mask import read_mask as read_mask
from fmcore.errors import ImageError

BITS = (8, 10, 12, 14, 16)  # of values in 16-bit files
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
            with image_errors("image"):
                check_size(source, "image", max_pixels)
                if (full := full_scale(source)) == 255:
                    source.load()  # whole, as a reduced decoding would change the caller's image
                return cls(*decode(source, "image"), full)
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
        return Picture(*decode(image, Path(path).name), full)


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
    values = on_white(scaled(values, full, "array"))
    return Picture(_as_bytes(values)) if full == 255 or kind == "b" else Picture(values, full=full)


def _as_bytes(pixels: np.ndarray) -> np.ndarray:
    return pixels if pixels.dtype == np.uint8 else np.round(pixels * 255).astype(np.uint8)
