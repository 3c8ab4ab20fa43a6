"""One image with its exact defect mask: what :func:`render` returns, and how it is made.

A scene is painted twice from the same random draws, with and without the defect, and both are photographed
by the same camera.  The mask is where the two photographs visibly differ.  Sensor noise comes last, and is
the same for both.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from fmcore.data.rendered import chip, gear, texture_defects
from fmcore.data.rendered.photograph import Camera
from fmcore.data.rendered.raster import Field
from fmcore.data.rendered.textures import Texture
from fmcore.errors import SettingsError

CATEGORIES: tuple[str, ...] = ("brick", "grass", "gravel", "gear", "chip")
SPLITS: tuple[str, ...] = ("train", "test")

_SUPERSAMPLING = 2  # canvas pixels per image pixel and axis
_VISIBLE = 9 / 255  # smallest difference, in any channel, that counts as part of a defect
_ATTEMPTS = 50


@dataclass(frozen=True)
class Sample:
    """An image and its ground truth.

    Attributes
    ----------
    image
        (size, size, 3) uint8, RGB.
    mask
        (size, size) bool, True on the defect; all False for a normal image.
    defect
        Name of the defect, None for a normal image.
    """

    image: NDArray[np.uint8]
    mask: NDArray[np.bool_]
    defect: str | None


def defects_of(category: str) -> tuple[str, ...]:
    """Names of the defects that a category can have.  SettingsError for an unknown category."""
    _check(category in CATEGORIES, f"unknown category {category!r}", f"choose one of {', '.join(CATEGORIES)}")
    if category == "gear":
        return tuple(gear.DEFECTS)
    return tuple(chip.DEFECTS) if category == "chip" else tuple(texture_defects.DEFECTS[category])


def render(
    category: str,
    seed: int,
    *,
    defect: str | None = None,
    split: Literal["train", "test"] = "train",
    size: int = 128,
) -> Sample:
    """Render one image; the same arguments give the same bytes.

    Parameters
    ----------
    category
        One of :data:`CATEGORIES`.
    seed
        Non-negative.  Fixes the pose, the light, the noise and the defect.  With and without a defect, the
        same seed shows the same piece under the same light.
    defect
        One of :func:`defects_of` the category, or None for a normal image.
    split
        ``"train"`` or ``"test"``: texture crops of the two come from disjoint parts of the photograph.
    size
        Side of the image in pixels, 32 to 512.

    Raises
    ------
    SettingsError
        For an unknown category, defect or split, a negative seed or a size out of range.
    ImportError
        For a texture category where scikit-image is not installed.
    """
    _check_arguments(category, seed, defect, split, size)
    key = [int(seed), zlib.crc32(category.encode()), SPLITS.index(split)]
    paint = _painter(category, split, np.random.default_rng([*key, 0]), size * _SUPERSAMPLING)
    camera = Camera.draw(np.random.default_rng([*key, 1]), steadiness=1.0 if category in _TEXTURES else 1.4)
    normal = camera.expose(paint(None, None), size)
    noise = np.random.default_rng([*key, 2])
    if defect is None:
        return Sample(camera.digitise(normal, noise), np.zeros((size, size), bool), None)
    for attempt in range(_ATTEMPTS):
        draws = np.random.default_rng([*key, 3, zlib.crc32(defect.encode()), attempt])
        damaged = camera.expose(paint(defect, draws), size)
        mask = _visible_change(normal, damaged)
        if mask.any():
            break
    else:
        raise RuntimeError(f"{_ATTEMPTS} attempts drew no visible {defect!r} on {category!r}, seed {seed}")
    # What lies outside the mask differs by less than is visible: make it equal to the normal image.
    near = ndimage.binary_dilation(mask, iterations=_pixels(2, size))
    composed = np.where(near[..., None], damaged, normal)
    return Sample(camera.digitise(composed, noise), mask, defect)


_TEXTURES = tuple(texture_defects.DEFECTS)
_Paint = Callable[[str | None, np.random.Generator | None], Field]


def _painter(category: str, split: str, rng: np.random.Generator, n: int) -> _Paint:
    """A function that paints one scene without a defect (None) or with one, drawn from the generator."""
    if category == "gear":
        wheel = gear.Gear(rng, n)
        return lambda defect, draws: gear.damage(wheel, defect, draws) if defect else wheel.paint()
    if category == "chip":
        part = chip.Chip(rng, n)
        return lambda defect, draws: chip.damage(part, defect, draws) if defect else part.paint()
    texture = Texture(category, split, rng, n)
    return lambda defect, draws: texture_defects.damage(texture, defect, draws) if defect else texture.colour


def _visible_change(normal: Field, damaged: Field) -> NDArray[np.bool_]:
    """Where the photographs differ visibly, with small gaps closed and specks dropped; may be empty."""
    size = normal.shape[0]
    changed = np.abs(damaged - normal).max(axis=-1) > _VISIBLE
    reach = _pixels(2, size)
    framed = np.pad(changed, reach)  # so that closing does not eat into the image border
    closed = ndimage.binary_closing(framed, iterations=reach)[reach:-reach, reach:-reach]
    gaps, count = ndimage.label(~closed)
    if count > 1:
        areas = np.bincount(gaps.ravel())
        small = areas < 0.002 * size * size
        small[0] = False
        closed |= small[gaps]
    parts, count = ndimage.label(closed, np.ones((3, 3)))
    if count == 0:
        return closed
    areas = np.bincount(parts.ravel())
    kept = areas >= max(4, 0.0008 * size * size)
    kept[0] = False
    return kept[parts]


def _pixels(at_128: float, size: int) -> int:
    """A length given for a 128 pixel image, in whole pixels of this one."""
    return max(1, round(at_128 * size / 128))


def _check_arguments(category: str, seed: int, defect: str | None, split: str, size: int) -> None:
    known = defects_of(category)
    if defect is not None:
        choice = f"choose one of {', '.join(known)}, or None for a normal image"
        _check(defect in known, f"{category!r} has no defect {defect!r}", choice)
    _check(split in SPLITS, f"unknown split {split!r}", "choose 'train' or 'test'")
    _check(32 <= size <= 512, f"size {size} is out of range", "choose a side from 32 to 512 pixels")
    _check(seed >= 0, f"seed {seed} is negative", "choose 0 or a positive integer")


def _check(holds: bool, problem: str, remedy: str) -> None:
    if not holds:
        raise SettingsError(f"{problem}: {remedy}.")
