"""From an image file to pixels: the one place where files are opened, within a bound on memory.

Policy, the same everywhere: the first frame; EXIF orientation applied; 16 bits scaled by their type; transparency
composited on white (in a mask: not marked); then gray or RGB. What is larger than wanted is reduced while it is read,
by a whole factor: JPEG in its decoder, everything else by averaging blocks in strips, without a second copy.
"""

from __future__ import annotations

import io
import math
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from fmcore.errors import ImageError

MAX_PIXELS = 100_000_000
MAX_BYTES = 400_000_000  # of the decoded file, before it is reduced
KEPT_PIXELS = 12_000_000  # of a picture, about
STRIP_PIXELS = 2_000_000
FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP", "GIF", "PPM", "AVIF", "JPEG2000")
SUFFIXES = (".png", ".jpg", ".jpeg", ".jfif", ".bmp", ".tif", ".tiff", ".webp", ".gif", ".ppm", ".pgm")
SUFFIXES += (".avif", ".jp2", ".j2k", ".jpx")
# Pictures of kinds that are said not to be read.
UNREAD = tuple(".heic .heif .jxl .dng .cr2 .cr3 .nef .arw .raw .svg .psd .exr .tga".split())

_ORIENTATION, _BITS = 0x0112, 0x0102
_DEEP = re.compile("RGBA?;16[BLN]")  # colour of 16 bits, as Pillow calls the layout in the file
_TURNS = {2: (True, 0), 3: (False, 2), 4: (True, 2), 5: (True, 1), 6: (False, 3), 7: (True, 3), 8: (False, 1)}
_ERRORS = {
    Image.DecompressionBombError: "is too large (over 178 megapixels): resize it",
    PermissionError: "may not be read: change its permissions",
    UnidentifiedImageError: f"is not an image of a known kind ({', '.join(FORMATS)})",
}


@contextmanager
def image_errors(name: str) -> Iterator[None]:
    """Whatever goes wrong inside becomes one sentence that names the image: an `ImageError`."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Pillow, about sizes below our own limit and odd tags
            yield
    except ImageError:
        raise
    except Exception as error:  # Pillow's decoders raise many types on damaged data
        said = (
            f"is damaged or cut off ({' '.join(str(error).split()) or type(error).__name__}): export or upload it again"
        )
        said = next((known for kind, known in _ERRORS.items() if isinstance(error, kind)), said)
        raise ImageError(f"{name!r} {said}.") from None


@contextmanager
def open_image(path: str | Path, max_pixels: int = MAX_PIXELS) -> Iterator[Image.Image]:
    """The file's header; no pixel is decoded yet, and every error inside becomes an `ImageError`."""
    path = Path(path)
    with image_errors(name := path.name):
        if not path.is_file():
            raise ImageError(f"{name!r} is not a file: give the path of an image.")
        if path.stat().st_size == 0:
            raise ImageError(f"{name!r} is empty (0 bytes): export or upload it again.")
        # By an open file: of a path Pillow maps some files into memory, and then turns gray TIFF wrongly.
        with path.open("rb") as file, Image.open(file, formats=FORMATS) as image:
            check_size(image, name, min(max_pixels, MAX_BYTES / _bytes_per_pixel(image)))
            layouts = [str(_arguments(tile)[0]) for tile in getattr(image, "tile", ())]
            depths = image.tag_v2.get(_BITS, ()) if image.format == "TIFF" else ()
            if full_scale(image) == 255 and (16 in depths or any(";16" in layout for layout in layouts)):
                said = "16 bits in a layout of which only 8 can be read: save it as gray or RGB, without alpha"
                raise ImageError(f"{name!r} holds {said}.")
            yield image


def check_size(image: Image.Image, name: str, limit: float) -> None:
    """Raises `ImageError` for more pixels than ``limit``."""
    if image.width * image.height > limit:
        size, most = f"{image.width} x {image.height} pixels", f"{limit / 10**6:.3g} megapixels"
        raise ImageError(f"{name!r} is too large ({size}): resize it to at most {most}.")


def upright_size(image: Image.Image, size: tuple[int, int] | None = None) -> tuple[int, int]:
    """Height and width as a viewer shows them; ``size``, width and height, where it was another before."""
    width, height = size or image.size
    return (width, height) if _turn(image)[1] % 2 else (height, width)


def decode(image: Image.Image, name: str) -> tuple[np.ndarray, tuple[int, int]]:
    """About `KEPT_PIXELS` at most, ``(H, W)`` gray or ``(H, W, 3)`` RGB, uint8, or float32 in [0, 1] where the file
    holds 16 bits; and the height and width that it had before."""
    size, factor, low = image.size, _factor(image), _low_bytes(image)
    if factor > 1:
        image.draft(None, (max(1, image.width // factor), max(1, image.height // factor)))  # changes JPEG files only
    image.load()
    factor = _factor(image)

    def reduced(strip: Image.Image, *low: Image.Image) -> np.ndarray:
        if not low:
            return np.asarray(Image.fromarray(_to_pixels(strip, name)).reduce(factor))
        values = (np.asarray(strip).astype(np.float32) * 256 + np.asarray(low[0])) / 65535
        planes = np.moveaxis(on_white(values), 2, 0)  # Pillow has no colour of floats
        return np.dstack([Image.fromarray(plane).reduce(factor) for plane in planes])

    return _by_strips([image, *low], factor, reduced), upright_size(image, size)


def decode_levels(image: Image.Image, name: str) -> np.ndarray:
    """Every pixel of a mask ``(H, W)``, its brightest channel, 0 where it is transparent; scale as `decode`."""
    image.load()

    def levels(part: Image.Image) -> np.ndarray:
        if not _is_transparent(part):
            return np.atleast_3d(_to_pixels(part, name)).max(axis=2)
        rgba = np.asarray(part.convert("RGBA"))
        return rgba[..., :3].max(axis=2) * (rgba[..., 3] >= 128)

    return _by_strips([image], 1, levels)


def full_scale(image: Image.Image) -> int:
    """The largest value that a channel of a file not yet decoded can hold: 255, 65535, or 1 of floats."""
    return 65535 if image.mode.startswith("I") or _is_deep(image) else 1 if image.mode == "F" else 255


def _low_bytes(image: Image.Image) -> list[Image.Image]:
    """Of colour of 16 bits Pillow keeps the high bytes; read as if its bytes stood the other way round, the same file
    gives the low ones. Empty for other files."""
    if not _is_deep(image):
        return []
    at = image.fp.tell()
    image.fp.seek(0)
    low = Image.open(io.BytesIO(image.fp.read()), formats=FORMATS)
    image.fp.seek(at)
    for number, tile in enumerate(low.tile):
        layout, *rest = _arguments(tile)
        layout = layout[:-1] + ("L" if layout[-1] == "B" else "B")
        low.tile[number] = tile._replace(args=(layout, *rest) if rest else layout)
    low.load()
    return [low]


def _is_deep(image: Image.Image) -> bool:
    return any(_DEEP.match(str(_arguments(tile)[0])) for tile in getattr(image, "tile", ())[:1])


def _arguments(tile: Any) -> tuple:
    """Of the decoder of a part of a file, how its values are laid out there first."""
    return tile.args if isinstance(tile.args, tuple) else (tile.args,)


def on_white(values: np.ndarray) -> np.ndarray:
    """RGB ``(H, W, 3)`` of RGBA ``(H, W, 4)``, both in [0, 1]; anything else as it is."""
    return values if values.shape[2:] != (4,) else values[..., :3] * values[..., 3:] + (1 - values[..., 3:])


def scaled(values: np.ndarray, full: float, name: str) -> np.ndarray:
    """``values / full``, float32 in [0, 1]. Raises `ImageError` if they are not in [0, full]."""
    if not (values.min() >= 0 and values.max() <= full):  # a NaN is in no range either
        raise ImageError(f"{name!r} holds values outside [0, {full}]: give 8 or 16 bits, or floats in [0, 1].")
    return values.astype(np.float32) / full


def _by_strips(images: list[Image.Image], step: int, pixels_of: Callable[..., np.ndarray]) -> np.ndarray:
    """``pixels_of`` strips of all ``images``, their rows a multiple of ``step``, put together and turned upright."""
    width, height = images[0].size
    rows = step * max(1, STRIP_PIXELS // (width * step))
    boxes = [(0, top, width, min(top + rows, height)) for top in range(0, height, rows)]
    strips = [pixels_of(*(image.crop(box) for image in images)) for box in boxes]
    (is_mirrored, quarters), whole = _turn(images[0]), np.concatenate(strips)
    return np.ascontiguousarray(np.rot90(whole[:, ::-1] if is_mirrored else whole, quarters))


def _turn(image: Image.Image) -> tuple[bool, int]:
    """What makes it upright: whether to mirror it, and then how many quarters to turn it left."""
    # A PNG without orientation in its header would be decoded to look for it; TIFF is turned by Pillow itself.
    known = image.format == "TIFF" or (image.format == "PNG" and "exif" not in image.info)
    return _TURNS.get(1 if known else image.getexif().get(_ORIENTATION), (False, 0))


def _factor(image: Image.Image) -> int:
    return max(1, math.ceil((image.width * image.height / KEPT_PIXELS) ** 0.5))


def _bytes_per_pixel(image: Image.Image) -> float:
    """What Pillow takes to decode the whole, as measured, however much of it is kept."""
    deep = 2 if _is_deep(image) else 1  # decoded twice
    if image.format == "TIFF":  # turned by Pillow, in a copy
        return deep * (4 if image.tag_v2.get(_ORIENTATION, 1) == 1 else 8)
    if image.info.get("progressive"):  # JPEG: all coefficients, two bytes each
        blocks = [across * down for _, across, down, _ in image.layer]
        return 1 + 2 * sum(blocks) / max(blocks)
    return {"WEBP": 16, "AVIF": 10, "JPEG2000": 20}.get(image.format, 4 * deep)


def _is_transparent(image: Image.Image) -> bool:
    return image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info


def _to_pixels(image: Image.Image, name: str) -> np.ndarray:
    mode = image.mode
    if mode in ("I", "F") or mode.startswith("I;16"):  # of 32-bit integers only 16 bits have a defined full scale
        return scaled(np.asarray(image), full_scale(image), name)
    if _is_transparent(image):
        rgba = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
        mode = "L" if mode in ("LA", "La") else "RGB"
    return np.asarray(image.convert("L" if mode in ("1", "L") else "RGB"))
