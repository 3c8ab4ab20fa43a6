"""The texture categories: brick, grass and gravel, cut from three photographs.

The photographs are scikit-image's own 512 x 512 grey pictures (``skimage.data.brick``, ``grass`` and
``gravel``; CC0, from cc0textures.com), which come with its wheel.  They are coloured once into an *atlas*;
a scene is a crop of the atlas with a random place, scale and turn.

Training and test crops never share a pixel.  Every atlas is divided by one straight line with a gap of
eight pixels: ``train`` crops (training and held-out normal images) come from the larger part, ``test`` crops
from the smaller one (:func:`region`).

The brick photograph shows a pavement in perspective.  Its vanishing point is taken out and the picture is
turned by 90 degrees, so that the courses run horizontally as in a wall.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from fmcore.data.rendered.raster import Field, smooth_noise, smoothstep
from fmcore.errors import DataError

_SIDE = 512  # of the photographs
_SPLIT = 300  # where the train part ends
_GAP = 8

# The brick pavement: its vanishing point in photograph pixels, found by making the joints parallel, the
# height of the rectified picture, and its compression along the bricks.
_VANISHING = (222.25, -1211.76)
_RECTIFIED = 450
_ASPECT = 0.75


@dataclass(frozen=True)
class Atlas:
    """A coloured photograph."""

    colour: Image.Image  # RGB
    joints: Image.Image  # L: 255 on mortar; all 0 where the texture has none


@dataclass(frozen=True)
class Crop:
    """A square cut from an atlas: its centre and side in atlas pixels, its turn in radians, mirrored or not."""

    centre: tuple[float, float]
    side: float
    angle: float
    mirrored: bool

    def corners(self) -> NDArray[np.float64]:
        """The four corners (4, 2) in atlas pixels (x, y)."""
        unit = np.array([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]])
        return self._to_atlas(unit)

    def cut(self, picture: Image.Image, n: int) -> NDArray[np.uint8]:
        """The crop as an n x n image."""
        origin, right, down = self._to_atlas(np.array([[-0.5, -0.5], [0.5, -0.5], [-0.5, 0.5]]))
        a, d = (right - origin) / n
        b, e = (down - origin) / n
        data = (a, b, origin[0], d, e, origin[1])
        return np.asarray(picture.transform((n, n), Image.Transform.AFFINE, data, Image.Resampling.BICUBIC))

    def _to_atlas(self, unit: NDArray) -> NDArray[np.float64]:
        u, v = unit[:, 0] * (-1 if self.mirrored else 1), unit[:, 1]
        c, s = np.cos(self.angle), np.sin(self.angle)
        return np.stack([c * u - s * v, s * u + c * v], axis=1) * self.side + self.centre


def region(category: str, split: str) -> tuple[int, int, int, int]:
    """The part of the atlas that a split's crops come from: (left, top, right, bottom) in atlas pixels."""
    low, high = (0, _SPLIT) if split == "train" else (_SPLIT + _GAP, _SIDE)
    return (0, low, _RECTIFIED, high) if category == "brick" else (low, 0, high, _SIDE)


def draw_crop(category: str, split: str, rng: np.random.Generator) -> Crop:
    """A random crop that lies inside the split's region, with a margin for the interpolation."""
    if category == "brick":
        side, angle = rng.uniform(150, 178), np.deg2rad(rng.uniform(-2.0, 2.0))
    else:
        low, high = {"grass": (120, 138), "gravel": (122, 140)}[category]
        side, angle = rng.uniform(low, high), rng.uniform(0, 2 * np.pi)
    half = side / 2 * (abs(np.cos(angle)) + abs(np.sin(angle))) + 2
    left, top, right, bottom = region(category, split)
    centre = (rng.uniform(left + half, right - half), rng.uniform(top + half, bottom - half))
    return Crop(centre, side, angle, mirrored=bool(rng.random() < 0.5))


class Texture:
    """A randomly cut and tinted piece of one texture, ready to be damaged.

    Attributes
    ----------
    colour
        The scene (n, n, 3) without a defect, in 0..1.
    joints
        Coverage (n, n) of the mortar; zero except on brick.
    light
        Direction (x, y), of length one, in which the shadow of an object on the ground falls.
    """

    def __init__(self, category: str, split: str, rng: np.random.Generator, n: int):
        atlas = _atlas(category)
        crop = draw_crop(category, split, rng)
        tint = 1 + rng.normal(0, 0.022, 3) * (1.0, 0.7, 1.2)
        colour = crop.cut(atlas.colour, n).astype(np.float32) / np.float32(255)
        contrast = np.float32(rng.uniform(0.92, 1.08))
        mean = np.float32(0.42)
        self.category = category
        self.colour: Field = np.clip((colour - mean) * contrast + mean, 0, 1) * tint.astype(np.float32)
        self.joints: Field = crop.cut(atlas.joints, n).astype(np.float32) / np.float32(255)
        angle = rng.uniform(0.15 * np.pi, 0.85 * np.pi)  # the lamp stands above: shadows fall downwards
        self.light = (float(np.cos(angle)), float(np.sin(angle)))


@lru_cache(maxsize=3)
def _atlas(category: str) -> Atlas:
    grey = _photograph(category)
    if category == "brick":
        return _colour_brick(_rectified(grey))
    tone = grey.astype(np.float32) / 255
    tone = 0.5 + (tone - np.median(tone)) * 1.1
    paint = {"grass": _colour_grass, "gravel": _colour_gravel}[category]
    return Atlas(_to_image(paint(tone)), Image.new("L", (_SIDE, _SIDE)))


def _photograph(category: str) -> NDArray[np.uint8]:
    """The grey photograph (512, 512) that scikit-image ships."""
    try:
        from skimage import data
    except ImportError as error:
        raise DataError(
            f"The {category!r} images are cut from a photograph that comes with scikit-image, which is not "
            "installed: run `pip install scikit-image`, or choose the categories 'gear' and 'chip'."
        ) from error
    return getattr(data, category)()


def _rectified(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The pavement seen from straight above, courses horizontal (512, 450)."""
    x, y = _VANISHING
    bend = _ASPECT / (_SIDE - y)
    depth = 1 + bend * _RECTIFIED
    data = (1, -x * bend, x * depth - x, 0, -y * bend, y * depth + _SIDE - y, 0, -bend)
    data = (*(value / depth for value in data[:6]), *(value / depth for value in data[6:]))
    flat = Image.fromarray(grey).transform(
        (_SIDE, _RECTIFIED), Image.Transform.PERSPECTIVE, data, Image.Resampling.BICUBIC
    )
    return np.asarray(flat.transpose(Image.Transpose.ROTATE_90))


def _colour_brick(grey: NDArray[np.uint8]) -> Atlas:
    """Fired red bricks, each a little different, in grey-beige mortar."""
    tone = grey.astype(np.float32) / 255
    mortar = smoothstep(0.42, 0.56, ndimage.gaussian_filter(tone, 0.5))
    rng = np.random.default_rng([101])
    bricks, count = ndimage.label(mortar < 0.35)
    shade = np.append(0.0, rng.normal(0, 0.085, count)).astype(np.float32)[bricks]
    hue = np.append(0.0, rng.normal(0, 0.06, count)).astype(np.float32)[bricks]
    # The photograph's bricks are almost even: bring out their grain, and add the speckle of fired clay.
    relief = (tone - ndimage.gaussian_filter(tone, 12)) * (1 - mortar) * 2.2
    speckle = ndimage.gaussian_filter(rng.standard_normal(tone.shape).astype(np.float32), 0.9) * 0.11
    cloud = ndimage.gaussian_filter(rng.standard_normal(tone.shape).astype(np.float32), 7) * 0.9
    level = (1 + shade + relief + speckle + cloud * 0.7)[..., None]
    clay = np.stack([0.63 + 0 * hue, 0.315 + 0.25 * hue, 0.235 + 0.3 * hue], axis=-1) * level
    grout = np.array((0.98, 0.93, 0.85), np.float32) * (tone * 1.12 + 0.02 + speckle * 0.5)[..., None]
    colour = clay + (grout - clay) * mortar[..., None]
    return Atlas(_to_image(colour), _to_image(mortar))


def _colour_grass(tone: Field) -> Field:
    """A lawn: deep green in the shade, yellow-green blades in the light."""
    lush = _variation(202, 9)
    stops = (0.0, 0.32, 0.62, 1.0)
    red = np.interp(tone, stops, (0.03, 0.16, 0.42, 0.84)) * (1 + 0.12 * lush)
    green = np.interp(tone, stops, (0.07, 0.28, 0.56, 0.92))
    blue = np.interp(tone, stops, (0.02, 0.07, 0.20, 0.62)) * (1 - 0.08 * lush)
    return np.stack([red, green, blue], axis=-1)


def _colour_gravel(tone: Field) -> Field:
    """Crushed stone: warm grey, single stones browner or bluer."""
    warmth = _variation(303, 5)
    level = np.interp(tone, (0.0, 0.5, 1.0), (0.02, 0.50, 1.0))
    hue = np.stack([1.03 + 0.035 * warmth, 0.985 + 0.008 * warmth, 0.93 - 0.045 * warmth], axis=-1)
    return level[..., None] * hue


def _variation(seed: int, sigma: float) -> Field:
    """A fixed smooth field (512, 512) of unit variance: how the hue drifts over an atlas."""
    field = ndimage.gaussian_filter(smooth_noise(np.random.default_rng([seed]), _SIDE, 256), sigma)
    return field / field.std()


def _to_image(values: Field) -> Image.Image:
    return Image.fromarray(np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8))
