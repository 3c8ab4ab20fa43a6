"""Surface defects that any category can suffer: scratches, stains and irregular patches.

Each function takes the painted scene (n, n, 3) and returns a changed copy; ``where`` (n, n) in 0..1 limits
the change to a part of the scene (a gear's metal, a chip's package).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fmcore.data.rendered.raster import Field, Point, Stencil, blur, grain, grid, over, shift, smooth_noise, smoothstep


def curve(rng: np.random.Generator, start: Point, end: Point, bend: float = 0.25, steps: int = 24) -> NDArray:
    """Points (steps, 2) of a quadratic arc from start to end, bent sideways by up to ``bend`` of its length."""
    a, b = np.asarray(start, float), np.asarray(end, float)
    normal = np.array([a[1] - b[1], b[0] - a[0]])
    control = (a + b) / 2 + normal * rng.uniform(-bend, bend)
    t = np.linspace(0, 1, steps)[:, None]
    return (1 - t) ** 2 * a + 2 * t * (1 - t) * control + t**2 * b


def around(rng: np.random.Generator, length: float, *, centre: Point | None = None) -> tuple[Point, Point]:
    """Start and end of a line of that length in a random direction, by default well inside the image."""
    angle = rng.uniform(0, 2 * np.pi)
    half = np.array([np.cos(angle), np.sin(angle)]) * length / 2
    middle = np.asarray(centre) if centre is not None else rng.uniform(0.28, 0.72, 2)
    return tuple(np.clip(middle - half, 0.04, 0.96)), tuple(np.clip(middle + half, 0.04, 0.96))


def taper(rng: np.random.Generator, steps: int, width: float) -> NDArray:
    """Widths of a stroke that starts and ends thin and wavers in between."""
    t = np.linspace(0, 1, steps)
    return width * (0.25 + 0.75 * np.sin(np.pi * t) ** 0.6) * rng.uniform(0.75, 1.2, steps)


def blob(
    rng: np.random.Generator,
    n: int,
    centre: Point,
    radius: float,
    *,
    soft: float = 0.35,
    ragged: float = 0.28,
) -> Field:
    """Coverage of an irregular patch: a disc whose distance field is disturbed by noise."""
    x, y = grid(n)
    angle, stretch = rng.uniform(0, np.pi), rng.uniform(0.72, 1.0)
    dx, dy = x - np.float32(centre[0]), y - np.float32(centre[1])
    c, s = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    distance = np.hypot(c * dx + s * dy, (c * dy - s * dx) / np.float32(stretch)) / np.float32(radius)
    wobble = smooth_noise(rng, n, max(3, round(0.9 / radius)), octaves=3)
    return smoothstep(-1.0, -1.0 + soft, -(distance + np.float32(ragged) * wobble))


def scratch(
    scene: Field,
    rng: np.random.Generator,
    light: Point,
    *,
    where: Field | None = None,
    ends: tuple[Point, Point] | None = None,
    groove: ArrayLike = (0.08, 0.07, 0.07),
    burr: ArrayLike = (0.95, 0.94, 0.9),
    depth: float = 0.85,
) -> Field:
    """A thin curved groove: dark inside, a bright burr on the side that faces the light."""
    n = scene.shape[0]
    start, end = ends or around(rng, rng.uniform(0.3, 0.62))
    strokes = [(curve(rng, start, end), rng.uniform(0.012, 0.022))]
    if rng.random() < 0.45:  # a tool that slips often leaves a second, fainter line beside the first
        offset = rng.uniform(-0.05, 0.05, 2)
        part = strokes[0][0][slice(*sorted(rng.choice(24, 2, replace=False) + (0, 2)))]
        if len(part) >= 5:
            strokes.append((part + offset, rng.uniform(0.007, 0.011)))
    stencil = Stencil(n)
    for path, width in strokes:
        stencil.stroke(path, taper(rng, len(path), width))
    cut = stencil.coverage() * (1 if where is None else where)
    lit = shift(cut, -light[0] * 0.009, -light[1] * 0.009) * (1 - cut)
    if where is not None:
        lit = lit * where
    strength = np.float32(rng.uniform(0.8, 1.0) * depth)
    return over(over(scene, burr, lit * strength * np.float32(0.85)), groove, cut * strength)


OIL = ((0.34, 0.31, 0.27), (0.02, 0.018, 0.012))
RUST = ((0.62, 0.33, 0.14), (0.16, 0.06, 0.01))
DRY = ((1.15, 0.98, 0.55), (0.22, 0.17, 0.04))
PAINT = ((0.35, 0.42, 0.55), (0.42, 0.46, 0.5))


def stain(
    scene: Field,
    rng: np.random.Generator,
    kinds: tuple[tuple[ArrayLike, ArrayLike], ...],
    *,
    where: Field | None = None,
    centre: Point | None = None,
    radius: tuple[float, float] = (0.12, 0.24),
) -> Field:
    """A soft-edged discoloration that keeps the texture below: each kind is (factor, addend) on the colour."""
    n = scene.shape[0]
    factor, addend = (np.asarray(c, np.float32) for c in kinds[rng.integers(len(kinds))])
    middle = centre if centre is not None else tuple(rng.uniform(0.24, 0.76, 2))
    size = rng.uniform(*radius)
    cover = blob(rng, n, middle, size, soft=0.4)
    for _ in range(rng.integers(0, 4)):  # splashes beside the main patch
        angle, far = rng.uniform(0, 2 * np.pi), size * rng.uniform(1.05, 1.5)
        place = (middle[0] + far * np.cos(angle), middle[1] + far * np.sin(angle))
        cover = np.maximum(cover, blob(rng, n, place, size * rng.uniform(0.12, 0.28), soft=0.5))
    ring = cover * (1 - cover) * 4  # liquid dries darkest along its edge
    mottle = 1 + np.float32(0.12) * smooth_noise(rng, n, 14, octaves=2)
    if where is not None:
        cover, ring = cover * where, ring * where
    opacity = np.clip(cover * np.float32(rng.uniform(0.72, 0.95)) * mottle, 0, 1)
    return over(scene, scene * factor + addend, opacity) * (1 - np.float32(0.14) * ring[..., None])


def patch(
    scene: Field, rng: np.random.Generator, cover: Field, dark: ArrayLike, bright: ArrayLike, light: Point
) -> Field:
    """Ground of another material where ``cover`` says, mottled from ``dark`` to ``bright``, sunk a little."""
    n = scene.shape[0]
    tone = np.float32(0.5) + np.float32(0.2) * smooth_noise(rng, n, 22, octaves=3) + np.float32(0.16) * grain(rng, n)
    tone = np.clip(tone, 0, 1)[..., None]
    ground = np.asarray(dark, np.float32) * (1 - tone) + np.asarray(bright, np.float32) * tone
    lip = np.clip(cover - shift(blur(cover, 0.008), light[0] * -0.02, light[1] * -0.02), 0, 1)
    return over(scene, ground * (1 - np.float32(0.75) * lip[..., None]), cover)
