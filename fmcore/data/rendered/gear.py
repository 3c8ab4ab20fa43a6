"""The gear category: a machined steel gear wheel, seen from above on a matt bench.

A wheel is described by its parts (:class:`Parts`), its defects by changed parts: a broken tooth is a shorter
tooth, an undrilled hole is a missing entry.  Painting turns the parts into a height map, and light on the
height map's slopes into chamfers, recesses and dents.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fmcore.data.rendered.defects import OIL, RUST, scratch, stain
from fmcore.data.rendered.raster import (
    Field,
    Point,
    Stencil,
    blur,
    disc,
    grain,
    grid,
    over,
    shift,
    smooth_noise,
    smoothstep,
    turned,
)

TEETH, HOLES = 20, 6
# Radii as fractions of the image side.
TIP, ROOT, RIM, HUB, BORE = 0.437, 0.362, 0.312, 0.155, 0.078
HOLE_CIRCLE, HOLE = 0.2335, 0.05


@dataclass(frozen=True)
class Parts:
    """What a wheel consists of, and the damage to it."""

    teeth: tuple[float, ...] = (1.0,) * TEETH  # height of every tooth, 1 = whole
    jagged: tuple[float, ...] = (0.0,) * TEETH  # roughness of every tooth's top
    holes: tuple[int, ...] = tuple(range(HOLES))  # which lightening holes are drilled
    dents: tuple[tuple[float, float, float, float], ...] = ()  # x, y, radius, depth


class Gear:
    """A gear in one random pose, under one random lamp."""

    def __init__(self, rng: np.random.Generator, n: int):
        self.n = n
        self.centre: Point = tuple(0.5 + rng.uniform(-0.018, 0.018, 2))
        self.angle = np.deg2rad(rng.uniform(-5, 5))
        self.scale = rng.uniform(0.98, 1.02)
        lamp = np.deg2rad(rng.uniform(30, 60))  # lit from the upper left: shadows fall to the lower right
        self.light: Point = (float(np.cos(lamp)), float(np.sin(lamp)))
        self._lathe = rng.standard_normal(220).astype(np.float32)
        self._gloss = rng.uniform(0.85, 1.15)
        self._brush = grain(rng, n)
        self._bench = np.float32(0.014) * grain(rng, n) + np.float32(0.018) * smooth_noise(rng, n, 5, octaves=3)
        self._cloud = smooth_noise(rng, n, 6, octaves=2)
        x, y = grid(n)
        dx, dy = (x - np.float32(self.centre[0])), (y - np.float32(self.centre[1]))
        self._radius = np.hypot(dx, dy) / np.float32(self.scale)
        self._theta = np.arctan2(dy, dx)

    def paint(self, parts: Parts | None = None) -> Field:
        """The scene (n, n, 3) of a wheel with these parts, by default a flawless one."""
        return self._flawless if parts is None else self._assemble(parts)

    @cached_property
    def plate(self) -> Field:
        """Coverage of a flawless wheel's metal."""
        return self._plate(Parts())

    @cached_property
    def _flawless(self) -> Field:
        return self._assemble(Parts())

    def _assemble(self, parts: Parts) -> Field:
        plate = self._plate(parts)
        height = self._height(plate, parts)
        image = self._metal(height) * self._occlusion(height, plate)[..., None]
        return over(self._ground(plate), image, plate)

    def at(self, radius: float, angle: float) -> Point:
        """Image position of a point of the wheel in polar coordinates (its own, before the pose)."""
        return tuple(
            turned(
                [[radius * self.scale * np.cos(angle), radius * self.scale * np.sin(angle)]],
                self.angle,
                self.centre,
            )[0]
        )

    def _placed(self, points: NDArray) -> NDArray:
        return turned(points * self.scale, self.angle, self.centre)

    def _plate(self, parts: Parts) -> Field:
        outline = Stencil(self.n).polygon(self._placed(_outline(parts)))
        for hole in parts.holes:
            outline.disc(self.at(HOLE_CIRCLE, _hole_angle(hole)), HOLE * self.scale, 0)
        outline.disc(self.centre, BORE * self.scale, 0)
        key = np.array([[-0.021, 0.0], [-0.021, -BORE - 0.03], [0.021, -BORE - 0.03], [0.021, 0.0]])
        return outline.polygon(self._placed(key), 0).coverage()

    def _height(self, plate: Field, parts: Parts) -> Field:
        """Height above the bench: rim 1, web 0.62, hub 1.08, with chamfered edges."""
        rim, hub = (disc(self.n, self.centre, radius * self.scale) for radius in (RIM, HUB))
        level = 1 - np.float32(0.38) * (rim - hub) + np.float32(0.08) * hub
        height = blur(plate * level, 0.0068)
        x, y = grid(self.n)
        for cx, cy, radius, depth in parts.dents:
            far = ((x - np.float32(cx)) ** 2 + (y - np.float32(cy)) ** 2) / np.float32(radius**2)
            bowl = np.exp(-((far + np.float32(0.12) * self._cloud * far) ** 2))
            height = height - np.float32(depth) * bowl
        return height

    def _metal(self, height: Field) -> Field:
        """Colour of the steel: its turned face, with light and shade on every slope of the height map."""
        down = np.gradient(height)
        slope = (down[1] * np.float32(self.light[0]) + down[0] * np.float32(self.light[1])) * np.float32(self.n / 256)
        # A slope that rises along the shadow direction faces the lamp, one that falls is in shade.
        lit = np.tanh(slope * np.float32(6.5))
        tone = self._turned_face + np.where(lit > 0, lit * np.float32(0.42), lit * np.float32(0.34))
        cool = np.array((0.965, 0.99, 1.03), np.float32)
        return np.clip(tone, 0.05, 1.25)[..., None] * cool

    @cached_property
    def _turned_face(self) -> Field:
        """Brightness of the level metal: two opposite wedges of light, and the grooves of the lathe."""
        towards = self._theta - np.float32(np.arctan2(self.light[1], self.light[0]) + np.pi / 2)
        bow = np.square(np.square(np.square(np.cos(towards))))
        second = np.square(np.square(np.square(np.square(np.cos(towards + np.float32(1.15))))))
        position = self._radius * np.float32(len(self._lathe) / 0.5)
        grooves = np.interp(position, np.arange(len(self._lathe)), self._lathe).astype(np.float32)
        shine = (bow * np.float32(0.46) + second * np.float32(0.12)) * np.float32(self._gloss)
        tone = np.float32(0.46) + shine * (1 + np.float32(0.16) * grooves)
        return tone + np.float32(0.018) * grooves + np.float32(0.013) * self._brush + np.float32(0.01) * self._cloud

    def _occlusion(self, height: Field, plate: Field) -> Field:
        """How much sky light reaches the metal: less in the web, beside the raised rim and hub."""
        around = blur(height, 0.022)
        walls = np.clip(around - height, 0, 1) * plate
        cast = np.clip(shift(height, self.light[0] * 0.012, self.light[1] * 0.012) - height - np.float32(0.1), 0, 0.5)
        sunk = smoothstep(0.95, 0.6, height)
        return 1 - np.float32(0.9) * walls - np.float32(0.5) * blur(cast, 0.004) - np.float32(0.16) * sunk

    def _ground(self, plate: Field) -> Field:
        """The matt bench with the wheel's soft shadow, which also fills the holes."""
        near = blur(shift(plate, self.light[0] * 0.014, self.light[1] * 0.014), 0.008)
        far = blur(shift(plate, self.light[0] * 0.03, self.light[1] * 0.03), 0.022)
        shade = 1 - np.float32(0.42) * near - np.float32(0.30) * far
        tone = (np.float32(1) + self._bench * np.float32(1.6))[..., None]
        return np.array((0.275, 0.295, 0.325), np.float32) * tone * np.clip(shade, 0.1, 1)[..., None]


def _hole_angle(hole: int) -> float:
    return 2 * np.pi * (hole + 0.5) / HOLES + np.pi / 2


def _outline(parts: Parts) -> NDArray[np.float64]:
    """Corners (k, 2) of the toothed rim around the origin; involute flanks are drawn as two straight pieces."""
    corners = []
    pitch = 2 * np.pi / TEETH
    # Half widths of a tooth, as a share of the pitch, at the root, the pitch circle and the tip.
    half = ((0.0, 0.35), (0.45, 0.255), (0.88, 0.16), (1.0, 0.125))
    for tooth, (whole, rough) in enumerate(zip(parts.teeth, parts.jagged, strict=True)):
        middle = tooth * pitch
        left = [(min(level, whole), -width) for level, width in half if level <= max(whole, 0.02)]
        right = [(level, -width) for level, width in reversed(left)]
        top = []
        if rough:  # a fracture: an uneven line between the flanks
            width = -left[-1][1]
            wave = rough * np.array((0.5, -0.9, 0.9, -0.4, 0.7))
            top = [
                (max(0.02, whole + lift), at * width)
                for lift, at in zip(wave, (-0.7, -0.3, 0.1, 0.45, 0.8), strict=True)
            ]
        for level, share in left + top + right:
            r, a = ROOT + level * (TIP - ROOT), middle + share * pitch
            corners.append((r * np.cos(a), r * np.sin(a)))
    return np.array(corners)


def damage(gear: Gear, defect: str, rng: np.random.Generator) -> Field:
    """The scene (n, n, 3) of the gear with one of its defects."""
    return DEFECTS[defect](gear, rng)


def _scratch(gear: Gear, rng: np.random.Generator) -> Field:
    where = gear.plate
    a = rng.uniform(0, 2 * np.pi)
    start = gear.at(rng.uniform(0.2, 0.38), a)
    end = gear.at(rng.uniform(0.2, 0.38), a + rng.uniform(0.8, 2.0))
    dark = (0.14, 0.13, 0.13)
    return scratch(gear.paint(), rng, gear.light, where=where, ends=(start, end), groove=dark, burr=(1.1, 1.1, 1.1))


def _missing_tooth(gear: Gear, rng: np.random.Generator) -> Field:
    teeth, jagged = np.ones(TEETH), np.zeros(TEETH)
    first = rng.integers(TEETH)
    for k in range(rng.choice((1, 1, 1, 2, 3))):
        teeth[(first + k) % TEETH] = rng.uniform(0.02, 0.5)
        jagged[(first + k) % TEETH] = rng.uniform(0.05, 0.16)
    return gear.paint(Parts(teeth=tuple(teeth), jagged=tuple(jagged)))


def _missing_hole(gear: Gear, rng: np.random.Generator) -> Field:
    missing = rng.integers(HOLES)
    return gear.paint(Parts(holes=tuple(hole for hole in range(HOLES) if hole != missing)))


def _dent(gear: Gear, rng: np.random.Generator) -> Field:
    dents = []
    for _ in range(rng.choice((1, 1, 2))):
        rings = ((0.115, 0.13), (0.185, 0.28), (0.33, 0.36))
        ring = rings[rng.integers(3)]
        x, y = gear.at(rng.uniform(*ring), rng.uniform(0, 2 * np.pi))
        radius = rng.uniform(0.03, 0.06)
        dents.append((x, y, radius, rng.uniform(13, 24) * radius))
    return gear.paint(Parts(dents=tuple(dents)))


def _stain(gear: Gear, rng: np.random.Generator) -> Field:
    centre = gear.at(rng.uniform(0.12, 0.38), rng.uniform(0, 2 * np.pi))
    kinds = (RUST, RUST, OIL)
    return stain(gear.paint(), rng, kinds, where=gear.plate, centre=centre, radius=(0.08, 0.17))


Damage = Callable[[Gear, np.random.Generator], Field]
DEFECTS: dict[str, Damage] = {
    "scratch": _scratch,
    "missing_tooth": _missing_tooth,
    "dent": _dent,
    "stain": _stain,
    "missing_hole": _missing_hole,
}
