"""The one image decoder: training, scoring, notebooks and the app all read files through it.

Policy, the same everywhere: the first frame; EXIF orientation applied; 16-bit gray scaled by its type;
transparency composited on white; then gray or RGB. The model sees the whole picture resized to a square
(antialiased, aspect ratio not kept), and maps are resized back to the original width and height.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from fmcore.errors import ImageError

MAX_PIXELS = 25_000_000
MOST_LABELS = 31  # a mask with no larger value holds labels; anything that is meant to be seen is brighter
FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP", "GIF", "PPM")
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".ppm", ".pgm")


@dataclass(frozen=True)
class Picture:
    """A decoded file: ``pixels`` is ``(H, W)`` gray or ``(H, W, 3)`` RGB, uint8, or float32 in [0, 1] where
    the file held 16-bit gray."""

    pixels: np.ndarray

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

    def tensor(self, size: int, channels: int) -> Tensor:
        """What a model sees: ``(channels, size, size)`` float32 in [-1, 1]; ``channels`` is 1 or 3."""
        picture = Image.fromarray(self.pixels)
        if channels == 1 and picture.mode == "RGB":
            picture = picture.convert("L")
        resized = np.asarray(picture.resize((size, size), Image.Resampling.BICUBIC), dtype=np.float32)
        scale = 127.5 if self.pixels.dtype == np.uint8 else 0.5
        values = np.clip(resized / scale - 1, -1, 1)  # bicubic overshoots where pixels are float
        if values.ndim == 2:
            values = np.repeat(values[..., None], channels, axis=2)
        return torch.from_numpy(np.ascontiguousarray(values.transpose(2, 0, 1)))

    def rgb(self, max_side: int | None = None) -> np.ndarray:
        """For a screen: ``(H, W, 3)`` uint8, its longer side reduced to ``max_side`` if it is longer."""
        pixels = self.pixels
        if pixels.dtype != np.uint8:
            pixels = np.round(pixels * 255).astype(np.uint8)
        picture = Image.fromarray(pixels).convert("RGB")
        if max_side is not None and max(picture.size) > max_side:
            picture.thumbnail((max_side, max_side), Image.Resampling.BICUBIC)
        return np.asarray(picture)


def read_picture(path: str | Path) -> Picture:
    """Decode an image file.

    Raises:
        ImageError: if it is missing, empty, no image, of an unsupported format, damaged or truncated, or
            larger than `MAX_PIXELS`; the size is checked before any pixel is decoded.
    """
    path = Path(path)
    if not path.is_file():
        raise ImageError(f"'{path.name}' is not a file: give the path of an image.")
    if path.stat().st_size == 0:
        raise ImageError(f"'{path.name}' is empty (0 bytes): export or upload it again.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our own limit is stricter
            with Image.open(path, formats=FORMATS) as opened:
                _check_size(path, opened.size)
                opened.load()
                return Picture(_to_pixels(path, ImageOps.exif_transpose(opened)))
    except Image.DecompressionBombError:
        raise ImageError(_too_large(path, "over 178 megapixels")) from None
    except UnidentifiedImageError:
        raise ImageError(f"'{path.name}' is not an image of a known kind ({', '.join(FORMATS)}).") from None
    except ImageError:
        raise
    # Pillow's decoders raise many types on damaged data (OSError, SyntaxError, struct.error, ...).
    except Exception as error:
        raise ImageError(f"'{path.name}' is damaged or cut off ({error}): export or upload it again.") from None


def read_mask(path: str | Path, *, height: int, width: int) -> np.ndarray:
    """A ground-truth mask as ``(height, width)`` bool, resized by nearest neighbour after it was made binary.

    Marked are the pixels brighter than half of the file's full scale (255, or 65535 for 16 bits; the brightest
    channel of a colour file). A file whose largest value is at most `MOST_LABELS` holds labels instead: 0 and 1,
    or the number of the kind of defect, as in VisA; there every pixel that is not 0 is marked.

    Raises:
        ImageError: as `read_picture`, or if no pixel is marked, in the file or after the resize.
    """
    name, picture = Path(path).name, read_picture(path)
    values = picture.pixels if picture.pixels.ndim == 2 else picture.pixels.max(axis=2)
    full = 255 if values.dtype == np.uint8 else 65535
    if values.dtype != np.uint8:
        values = np.round(values * full)
    largest = int(values.max())
    if largest == 0:
        raise ImageError(f"The mask '{name}' is empty, all its pixels are black: mark the defect, or remove the file.")
    marked = values > (0 if largest <= MOST_LABELS else full / 2)
    if not marked.any():
        raise ImageError(
            f"The mask '{name}' marks no pixel, its brightest is {largest} of {full}: save it with 0 and {full}."
        )
    resized = Image.fromarray(marked.astype(np.uint8) * 255).resize((width, height), Image.Resampling.NEAREST)
    mask = np.asarray(resized) > 127
    if not mask.any():
        raise ImageError(
            f"The mask '{name}' marks {int(marked.sum())} of {marked.size} pixels, and none of them is left at "
            f"{width} x {height}: use a larger size, or remove the file."
        )
    return mask


def resize_map(values: np.ndarray, *, height: int, width: int) -> np.ndarray:
    """A map ``(h, w)`` resized bilinearly to ``(height, width)``, float32, for display at original size."""
    picture = Image.fromarray(values.astype(np.float32))
    return np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR))


def _check_size(path: Path, size: tuple[int, int]) -> None:
    width, height = size
    if width * height > MAX_PIXELS:
        raise ImageError(_too_large(path, f"{width} x {height} pixels"))


def _too_large(path: Path, how: str) -> str:
    return f"'{path.name}' is too large ({how}): resize it to at most {MAX_PIXELS // 10**6} megapixels."


def _to_pixels(path: Path, picture: Image.Image) -> np.ndarray:
    mode = picture.mode
    if mode.startswith("I;16"):
        return np.asarray(picture).astype(np.float32) / 65535
    if mode == "I":  # 32-bit integers: only the 16-bit range has a defined full scale
        values = np.asarray(picture)
        if values.min() < 0 or values.max() > 65535:
            raise ImageError(f"'{path.name}' holds 32-bit integers beyond 16 bits: save it as 8- or 16-bit.")
        return values.astype(np.float32) / 65535
    if mode == "F":
        values = np.asarray(picture)
        if not np.isfinite(values).all() or values.min() < 0 or values.max() > 1:
            raise ImageError(f"'{path.name}' holds floats outside [0, 1]: save it as 8- or 16-bit.")
        return values.astype(np.float32)
    if mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in picture.info:
        rgba = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
        mode = "L" if mode in ("LA", "La") else "RGB"
    return np.asarray(picture.convert("L" if mode in ("1", "L") else "RGB"))
