"""Anti-aliased shapes and smooth random fields: the brushes that every scene paints with.

A scene is painted on a square canvas of ``n`` x ``n`` pixels, twice the size of the finished image.  Shapes
are rasterised at twice the canvas again and averaged, so an edge in the finished image is the mean of 4 x 4
sub-samples.  All coordinates are fractions of the canvas: (0, 0) is the top left corner, (1, 1) the bottom
right one, x to the right and y down.  A *coverage* is a float32 array (n, n) in 0..1.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

Field = NDArray[np.float32]
Point = tuple[float, float]

_EDGE = 2  # sub-samples per canvas pixel and axis


@lru_cache(maxsize=8)
def grid(n: int) -> tuple[Field, Field]:
    """The x (1, n) and y (n, 1) coordinates of the pixel centres, read-only."""
    centres = ((np.arange(n, dtype=np.float32) + 0.5) / n).astype(np.float32)
    centres.setflags(write=False)
    return centres[None, :], centres[:, None]


class Stencil:
    """Collects shapes at the sub-sample resolution; ``coverage()`` averages them down to the canvas."""

    def __init__(self, n: int):
        self._scale = n * _EDGE
        self._image = Image.new("L", (self._scale, self._scale))
        self._draw = ImageDraw.Draw(self._image)

    def polygon(self, points: ArrayLike, value: float = 1.0) -> Stencil:
        """Fill the polygon with the given corners (k, 2)."""
        corners = np.asarray(points, dtype=float) * self._scale - 0.5
        self._draw.polygon([tuple(p) for p in corners], fill=round(255 * value))
        return self

    def disc(self, centre: Point, radius: float, value: float = 1.0) -> Stencil:
        """Fill a circle."""
        x, y, r = centre[0] * self._scale, centre[1] * self._scale, radius * self._scale
        self._draw.ellipse((x - r, y - r, x + r - 1, y + r - 1), fill=round(255 * value))
        return self

    def stroke(self, points: ArrayLike, width: float | Sequence[float], value: float = 1.0) -> Stencil:
        """Draw a round-capped line through points (k, 2), of one width or of one width per point."""
        path = np.asarray(points, dtype=float)
        widths = np.broadcast_to(np.asarray(width, dtype=float), (len(path),))
        fill = round(255 * value)
        for a, b, wide in zip(path[:-1], path[1:], (widths[:-1] + widths[1:]) / 2, strict=True):
            corners = [tuple(a * self._scale), tuple(b * self._scale)]
            self._draw.line(corners, fill=fill, width=max(1, round(wide * self._scale)))
        for (x, y), wide in zip(path, widths, strict=True):
            if wide * self._scale >= 3:
                self.disc((x, y), wide / 2, value)
        return self

    def text(self, centre: Point, text: str, height: float) -> Stencil:
        """Write one line of upright text around ``centre`` in Pillow's built-in typeface."""
        position = (centre[0] * self._scale, centre[1] * self._scale)
        self._draw.text(position, text, fill=255, font=_font(round(height * self._scale)), anchor="mm")
        return self

    def coverage(self) -> Field:
        """What share of each canvas pixel the shapes cover."""
        return np.asarray(self._image.reduce(_EDGE), dtype=np.float32) / np.float32(255)


@lru_cache(maxsize=16)
def _font(pixels: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=max(4, pixels))


def disc(n: int, centre: Point, radius: float) -> Field:
    """Coverage of a circle, from its exact distance field."""
    x, y = grid(n)
    distance = np.hypot(x - np.float32(centre[0]), y - np.float32(centre[1]))
    return np.clip((np.float32(radius) - distance) * n + np.float32(0.5), 0, 1)


def blur(field: Field, sigma: float) -> Field:
    """Gaussian blur; ``sigma`` is a fraction of the canvas.  A wide blur runs on a coarser grid."""
    n = field.shape[0]
    pixels = sigma * n
    coarse = 4 if pixels > 7 else 2 if pixels > 2.2 else 1
    if coarse == 1 or n % coarse:
        return ndimage.gaussian_filter(field, pixels, truncate=3, mode="nearest")
    small = np.asarray(Image.fromarray(field).reduce(coarse))
    small = ndimage.gaussian_filter(small, pixels / coarse, truncate=3, mode="nearest")
    return resize(small, n)


def resize(field: Field, n: int) -> Field:
    """Bicubic interpolation of a square field to n x n."""
    return np.asarray(Image.fromarray(field).resize((n, n), Image.Resampling.BICUBIC))


def shift(field: Field, dx: float, dy: float) -> Field:
    """The field moved by whole pixels nearest to (dx, dy); what enters the canvas repeats the edge."""
    n = field.shape[0]
    px, py = round(dx * n), round(dy * n)
    pad = max(abs(px), abs(py))
    padded = np.pad(field, pad, mode="edge")
    return padded[pad - py : pad - py + n, pad - px : pad - px + n]


def smooth_noise(rng: np.random.Generator, n: int, cells: int, octaves: int = 1) -> Field:
    """A random field of about unit variance whose bumps are about 1/cells wide; octaves add finer bumps."""
    total, norm = np.zeros((n, n), np.float32), 0.0
    for octave in range(octaves):
        weight, side = 0.55**octave, min(n, cells * 2**octave + 3)
        total += np.float32(weight) * resize(rng.standard_normal((side, side), dtype=np.float32), n)
        norm += weight**2
    return total * np.float32(1.3 / np.sqrt(norm))


def grain(rng: np.random.Generator, n: int) -> Field:
    """White noise of unit variance that a canvas pixel wide blur has softened: the tooth of a matt surface."""
    white = rng.standard_normal((n, n), dtype=np.float32)
    return (white + np.roll(white, 1, 0) + np.roll(white, 1, 1) + np.roll(white, (1, 1), (0, 1))) / 2


def smoothstep(low: float, high: float, x: Field) -> Field:
    """0 below ``low``, 1 above ``high``, a smooth cubic between."""
    t = np.clip((x - np.float32(low)) / np.float32(high - low), 0, 1)
    return t * t * (3 - 2 * t)


def over(base: Field, colour: ArrayLike, coverage: Field) -> Field:
    """Lay ``colour`` (3 numbers or an image) over the image ``base`` (n, n, 3) where ``coverage`` says."""
    return base + (np.asarray(colour, np.float32) - base) * coverage[..., None]


def turned(points: ArrayLike, angle: float, centre: Point = (0.0, 0.0)) -> NDArray[np.float64]:
    """Points (k, 2) turned by ``angle`` radians (clockwise on screen) around the origin, then moved."""
    c, s = np.cos(angle), np.sin(angle)
    return np.asarray(points, dtype=float) @ np.array([[c, s], [-s, c]]) + np.asarray(centre, dtype=float)
