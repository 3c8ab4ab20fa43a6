"""The chip category: an integrated circuit in a black epoxy package, soldered to a green circuit board.

As with the gear, a chip is described by its parts (:class:`Parts`) and most defects are changed parts.
Drawing uses the board's own coordinates (fractions of the image, package in the middle); the random pose is
applied to every point that is drawn.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from fmcore.data.rendered.board import Board
from fmcore.data.rendered.defects import scratch
from fmcore.data.rendered.raster import Field, Point, Stencil, blur, grain, over, shift, smooth_noise, turned

PINS = 8  # on each of the two long sides
LEFT, RIGHT, TOP, BOTTOM = 0.155, 0.845, 0.315, 0.685  # the package
PITCH = 0.082
PIN_WIDTH, PIN_REACH, PAD_REACH = 0.036, 0.098, 0.128
SOLDER = np.array((0.80, 0.81, 0.83), np.float32)
LINES = ("FLOW-7406", "MX 2531 A")


@dataclass(frozen=True)
class Parts:
    """What is mounted and printed, and what is wrong with it.  Pins 0..7 are the upper row, 8..15 the lower."""

    missing: tuple[int, ...] = ()
    bent: tuple[tuple[int, float], ...] = ()  # (pin, sideways offset of its foot)
    # (pin, thickness): solder between the pin and its right neighbour
    bridges: tuple[tuple[int, float], ...] = ()
    lines: tuple[str, str] = LINES
    print_offset: Point = (0.0, 0.0)
    print_turn: float = 0.0
    smear: float = 0.0  # length over which the wet ink was dragged sideways
    faded: tuple[float, float] | None = None  # x range in which the ink is missing
    logo: bool = True
    reversed: bool = False  # mounted the wrong way round


class Chip:
    """A chip in one random pose, under one random lamp."""

    def __init__(self, rng: np.random.Generator, n: int):
        self.n = n
        self.offset = rng.uniform(-0.012, 0.012, 2)
        self.angle = np.deg2rad(rng.uniform(-2.0, 2.0))
        self.scale = rng.uniform(0.985, 1.015)
        lamp = np.deg2rad(rng.uniform(35, 70))
        self.light: Point = (float(np.cos(lamp)), float(np.sin(lamp)))
        self._epoxy = grain(rng, n)
        self._sheen = smooth_noise(rng, n, 3)
        self._solder_noise = smooth_noise(rng, n, 40)
        self._ink = rng.uniform(0.78, 0.9)
        self._tin = rng.uniform(0.92, 1.06)
        self._board = Board(self, rng).paint()

    def placed(self, points: ArrayLike) -> NDArray:
        """Board coordinates (k, 2) to image coordinates."""
        return turned((np.asarray(points, float) - 0.5) * self.scale, self.angle, 0.5 + self.offset)

    def rectangle(self, left: float, top: float, right: float, bottom: float, corner: float = 0.0) -> NDArray:
        """Image coordinates of a rectangle with corners cut by ``corner``."""
        c = corner
        points = [
            (left + c, top), (right - c, top), (right, top + c), (right, bottom - c),
            (right - c, bottom), (left + c, bottom), (left, bottom - c), (left, top + c),
        ]  # fmt: skip
        return self.placed(points)

    @cached_property
    def body(self) -> Field:
        """Coverage of the package."""
        return Stencil(self.n).polygon(self.rectangle(LEFT, TOP, RIGHT, BOTTOM, 0.008)).coverage()

    def paint(self, parts: Parts | None = None) -> Field:
        """The scene (n, n, 3) of a chip with these parts, by default a flawless one."""
        return self._flawless if parts is None else self._assemble(parts)

    @cached_property
    def _flawless(self) -> Field:
        return self._assemble(Parts())

    def _assemble(self, parts: Parts) -> Field:
        scene = self._pins(self._board, parts)
        scene = self._package(scene, parts)
        return self._printing(scene, parts)

    def _pins(self, scene: Field, parts: Parts) -> Field:
        """Gull-wing leads: bright at the shoulder, dark on the way down, bright foot in a solder fillet."""
        foot, slope, shoulder, fillet = (Stencil(self.n) for _ in range(4))
        offsets = dict(parts.bent)
        for pin in range(2 * PINS):
            if pin in parts.missing:
                continue
            x, sign, edge = _pin_place(pin)
            bend, half = offsets.get(pin, 0.0), PIN_WIDTH / 2
            reach = [edge + sign * PIN_REACH * part for part in (0.0, 0.26, 0.58, 1.0)]
            shift_at = [0.0, bend * 0.15, bend * 0.62, bend]
            quads = [
                [(x + a - half, u), (x + a + half, u), (x + b + half, v), (x + b - half, v)]
                for a, b, u, v in zip(shift_at[:-1], shift_at[1:], reach[:-1], reach[1:], strict=True)
            ]
            shoulder.polygon(self.placed(quads[0]))
            slope.polygon(self.placed(quads[1]))
            foot.polygon(self.placed(quads[2]))
            if abs(bend) < 0.012:
                tip = [(x - half - 0.006, reach[2]), (x + half + 0.006, reach[2])]
                tip += [
                    (x + half + 0.004, reach[3] + sign * 0.014),
                    (x - half - 0.004, reach[3] + sign * 0.014),
                ]
                fillet.polygon(self.placed(tip))
        for pin, thick in parts.bridges:
            self._bridge(fillet, pin, thick)
        metal = [part.coverage() for part in (fillet, shoulder, slope, foot)]
        whole = np.maximum.reduce(metal[1:])
        cast = blur(shift(whole, self.light[0] * 0.016, self.light[1] * 0.016), 0.007)
        scene = scene * (1 - np.float32(0.5) * cast[..., None])
        dome = blur(metal[0], 0.008)
        rise = np.gradient(dome)
        lit = (rise[1] * self.light[0] + rise[0] * self.light[1]).astype(np.float32) * np.float32(self.n / 256)
        tone = np.float32(0.66) + np.tanh(lit * 9) * np.float32(0.34) + np.float32(0.05) * self._solder_noise
        scene = over(scene, np.clip(tone, 0.1, 1.1)[..., None] * SOLDER, metal[0])
        slope_x = np.gradient(blur(whole, 0.005), axis=1) * np.float32(self.n / 256)
        tone = np.tanh(slope_x * 6) * np.float32(0.26)
        for cover, level in zip(metal[1:], (0.95, 0.46, 0.78), strict=True):
            tone = tone + cover * np.float32(level * self._tin)
        return over(scene, tone[..., None] * SOLDER, whole)

    def _bridge(self, stencil: Stencil, pin: int, thick: float) -> None:
        x, sign, edge = _pin_place(pin)
        y = edge + sign * PIN_REACH * 0.86
        path = [
            (x, y),
            (x + PITCH * 0.3, y + sign * 0.004),
            (x + PITCH * 0.7, y - sign * 0.003),
            (x + PITCH, y),
        ]
        stencil.stroke(self.placed(path), np.array((1.3, 0.85, 0.9, 1.3)) * thick * self.scale)

    def _package(self, scene: Field, parts: Parts) -> Field:
        """The epoxy body: bevelled edges, matt top with a faint sheen, index notch and pin-1 dimple."""
        n, body = self.n, self.body
        scene = scene * self._shade[..., None]
        top = Stencil(n).polygon(self.rectangle(LEFT + 0.016, TOP + 0.016, RIGHT - 0.016, BOTTOM - 0.016, 0.006))
        height = blur(body * np.float32(0.4) + top.coverage() * np.float32(0.6), 0.006)
        flip = -1 if parts.reversed else 1
        dot = self.placed([(0.5 + flip * (LEFT + 0.062 - 0.5), 0.5 + flip * (BOTTOM - 0.068 - 0.5))])[0]
        notch = self.placed([(0.5 + flip * (LEFT + 0.008 - 0.5), 0.5)])[0]
        bowls = Stencil(n).disc(tuple(dot), 0.022 * self.scale).disc(tuple(notch), 0.036 * self.scale).coverage()
        height = height - np.float32(0.5) * blur(bowls, 0.005)
        rise = np.gradient(height)
        lit = (rise[1] * self.light[0] + rise[0] * self.light[1]).astype(np.float32) * np.float32(n / 256)
        glow = np.tanh(lit * 8)
        tone = np.float32(0.135) + np.float32(0.012) * self._epoxy + np.float32(0.012) * self._sheen
        tone = tone + np.where(glow > 0, glow * np.float32(0.26), glow * np.float32(0.10))
        tone = tone * (1 - np.float32(0.25) * bowls)
        return over(scene, np.clip(tone, 0.02, 1)[..., None] * np.array((1.0, 1.0, 1.04), np.float32), body)

    @cached_property
    def _shade(self) -> Field:
        """How much light the package's shadow leaves on what lies below it."""
        near = blur(shift(self.body, self.light[0] * 0.018, self.light[1] * 0.018), 0.009)
        far = blur(shift(self.body, self.light[0] * 0.03, self.light[1] * 0.03), 0.025)
        return 1 - np.float32(0.5) * near - np.float32(0.22) * far

    def _printing(self, scene: Field, parts: Parts) -> Field:
        ink = _print_mask(self.n, parts.lines, parts.logo)
        if parts.faded:
            start, stop = (round(edge * self.n) for edge in parts.faded)
            ink = ink.copy()
            ink[:, start:stop] *= np.clip(0.12 + 0.25 * self._sheen[:, start:stop], 0, 0.4)
        if parts.smear:
            drag = [
                np.float32(0.19 * (1 - k / 22)) * shift(ink, parts.smear * k / 15, parts.smear * k / 90)
                for k in range(16)
            ]
            ink = np.clip(np.maximum(0.55 * ink, sum(drag) * (1 + 0.2 * self._sheen)), 0, 0.7)
        turn = self.angle + parts.print_turn + (np.pi if parts.reversed else 0)
        ink = _turned_field(ink, turn, self.scale, self.offset + parts.print_offset)
        wear = 1 + np.float32(0.05) * self._epoxy
        return over(scene, (0.90, 0.91, 0.88), np.clip(ink * wear * np.float32(self._ink), 0, 1) * self.body)


def _pin_place(pin: int) -> tuple[float, int, float]:
    """x of a pin, the direction it points in (-1 up, 1 down) and the y of the package edge it leaves."""
    x = 0.5 + (pin % PINS - (PINS - 1) / 2) * PITCH
    return (x, -1, TOP) if pin < PINS else (x, 1, BOTTOM)


@lru_cache(maxsize=32)
def _print_mask(n: int, lines: tuple[str, str], logo: bool) -> Field:
    """The white print in board coordinates: a hexagon logo with two waves, and two lines of text."""
    stencil = Stencil(n)
    if logo:
        middle = np.array((0.272, 0.49))
        corners = np.pi / 3 * np.arange(6) + np.pi / 6
        hexagon = np.stack([np.cos(corners), np.sin(corners)], axis=1)
        stencil.polygon(middle + 0.066 * hexagon).polygon(middle + 0.052 * hexagon, 0)
        t = np.linspace(-1, 1, 16)
        for lift in (-0.014, 0.014):
            stencil.stroke(middle + np.stack([0.036 * t, lift + 0.011 * np.sin(np.pi * t)], axis=1), 0.0125)
    stencil.text((0.585, 0.435), lines[0], 0.083).text((0.585, 0.545), lines[1], 0.083)
    return stencil.coverage()


def _turned_field(field: Field, angle: float, scale: float, offset: ArrayLike) -> Field:
    """A field in board coordinates, turned and scaled around the middle, then moved."""
    n = field.shape[0]
    c, s = np.cos(angle) / scale, np.sin(angle) / scale
    cx, cy = (np.asarray(offset) + 0.5) * n
    data = (c, s, n / 2 - c * cx - s * cy, -s, c, n / 2 + s * cx - c * cy)
    turned_image = Image.fromarray(field).transform((n, n), Image.Transform.AFFINE, data, Image.Resampling.BILINEAR)
    return np.asarray(turned_image)


def damage(chip: Chip, defect: str, rng: np.random.Generator) -> Field:
    """The scene (n, n, 3) of the chip with one of its defects."""
    return DEFECTS[defect](chip, rng)


def _scratch(chip: Chip, rng: np.random.Generator) -> Field:
    start = chip.placed([(rng.uniform(0.2, 0.5), rng.uniform(0.34, 0.66))])[0]
    end = chip.placed([(rng.uniform(0.55, 0.82), rng.uniform(0.34, 0.66))])[0]
    ends = (tuple(start), tuple(end))
    grey, pale = (0.58, 0.57, 0.55), (0.8, 0.8, 0.78)
    return scratch(chip.paint(), rng, chip.light, where=chip.body, ends=ends, groove=grey, burr=pale)


def _missing_pin(chip: Chip, rng: np.random.Generator) -> Field:
    first = int(rng.integers(2 * PINS))
    gone = (first, first + 1) if rng.random() < 0.25 and first % PINS < PINS - 1 else (first,)
    return chip.paint(Parts(missing=gone))


def _bent_pin(chip: Chip, rng: np.random.Generator) -> Field:
    pin = int(rng.integers(2 * PINS))
    side = rng.choice((-1, 1)) if 0 < pin % PINS < PINS - 1 else (1 if pin % PINS == 0 else -1)
    return chip.paint(Parts(bent=((pin, float(side * rng.uniform(0.024, 0.05))),)))


def _solder_bridge(chip: Chip, rng: np.random.Generator) -> Field:
    count = int(rng.choice((1, 1, 2)))
    pins = [int(rng.integers(2) * PINS + rng.integers(PINS - 1)) for _ in range(count)]
    return chip.paint(Parts(bridges=tuple((pin, float(rng.uniform(0.034, 0.062))) for pin in pins)))


def _misprint(chip: Chip, rng: np.random.Generator) -> Field:
    kind = rng.integers(5)
    if kind == 0:  # the wet ink was touched
        return chip.paint(Parts(smear=float(rng.choice((-1, 1)) * rng.uniform(0.05, 0.1))))
    if kind == 1:  # the ink did not take
        start = rng.uniform(0.36, 0.6)
        return chip.paint(Parts(faded=(start, start + rng.uniform(0.14, 0.28))))
    if kind == 2:  # the stamp slipped
        slip = rng.choice((-1, 1), 2) * rng.uniform((0.02, 0.025), (0.035, 0.05))
        return chip.paint(Parts(print_offset=tuple(slip), print_turn=float(rng.normal(0, 0.05))))
    if kind == 3:  # a line or the logo is missing
        missing = ({"lines": ("", LINES[1])}, {"lines": (LINES[0], "")}, {"logo": False})[rng.integers(3)]
        return chip.paint(replace(Parts(), **missing))
    wrong = (
        ("FLDW-7906", LINES[1]),
        ("FLOW-8802", LINES[1]),
        (LINES[0], "NX 1948 B"),
        ("FLOW-7604", "MX 2513 A"),
    )
    return chip.paint(Parts(lines=wrong[rng.integers(len(wrong))]))


def _reversed(chip: Chip, rng: np.random.Generator) -> Field:
    return chip.paint(Parts(reversed=True))


Damage = Callable[[Chip, np.random.Generator], Field]
DEFECTS: dict[str, Damage] = {
    "scratch": _scratch,
    "missing_pin": _missing_pin,
    "bent_pin": _bent_pin,
    "misprint": _misprint,
    "solder_bridge": _solder_bridge,
    "reversed": _reversed,
}
