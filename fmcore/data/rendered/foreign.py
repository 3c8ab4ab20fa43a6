"""Foreign objects that were dropped on a textured ground: a leaf, a bolt, a piece of wire.

``light`` is the direction (x, y) in which shadows fall: away from the lamp.
"""

from __future__ import annotations

import numpy as np

from fmcore.data.rendered.defects import around, curve
from fmcore.data.rendered.raster import Field, Point, Stencil, blur, grid, over, shift, smooth_noise, smoothstep, turned

_HUES = ((0.64, 0.34, 0.13), (0.55, 0.22, 0.12), (0.70, 0.53, 0.20), (0.42, 0.27, 0.16))


def drop_object(scene: Field, rng: np.random.Generator, light: Point) -> Field:
    """Lay one randomly chosen, sized and turned object on the scene; returns a changed copy."""
    return (leaf, bolt, wire)[rng.integers(3)](scene, rng, light)


def _shadow(scene: Field, cover: Field, light: Point, height: float, depth: float = 0.62) -> Field:
    """Darken the ground by the object's soft shadow."""
    cast = blur(shift(cover, light[0] * height, light[1] * height), 0.35 * height + 0.004)
    return scene * (1 - np.float32(depth) * cast[..., None])


def leaf(scene: Field, rng: np.random.Generator, light: Point) -> Field:
    """A dry leaf: pointed outline with a wavy rim, midrib, side veins and a curled, unevenly lit surface."""
    n = scene.shape[0]
    length, angle = rng.uniform(0.26, 0.44), rng.uniform(0, 2 * np.pi)
    centre = tuple(rng.uniform(0.3, 0.7, 2))
    t = np.linspace(0, 1, 40)
    half = 0.27 * rng.uniform(0.8, 1.15) * np.sin(np.pi * t**0.85) ** 0.9
    half = half * (1 + 0.07 * np.sin(2 * np.pi * 9 * t + rng.uniform(0, 6)))
    bow = rng.uniform(-0.12, 0.12)
    spine = np.stack([t - 0.5, bow * np.sin(np.pi * t)], axis=1)
    rim = np.concatenate([spine + np.stack([0 * t, half], 1), (spine - np.stack([0 * t, half], 1))[::-1]])
    veins, stalk = Stencil(n), np.array([[-0.72, -0.3 * bow], [-0.5, 0.0]])

    def placed(points: np.ndarray) -> np.ndarray:
        return turned(points * length, angle, centre)

    cover = Stencil(n).polygon(placed(rim)).stroke(placed(stalk), 0.014).coverage()
    veins.stroke(placed(spine), 0.011)
    for k in range(4, 34, 5):
        for side in (-1, 1):
            tip = spine[min(k + 5, 39)] + (0.0, side * half[min(k + 5, 39)] * 0.85)
            veins.stroke(placed(np.array([spine[k], tip])), 0.006, 0.7)
    x, y = grid(n)
    across = (y - centre[1]) * np.cos(angle) - (x - centre[0]) * np.sin(angle)
    fold = np.float32(0.16) * np.tanh(across.astype(np.float32) / np.float32(0.02)) * np.sign(light[1] + 0.1)
    tone = 1 - fold + np.float32(0.13) * smooth_noise(rng, n, 9, octaves=2)
    hue = np.asarray(_HUES[rng.integers(len(_HUES))], np.float32) * np.float32(rng.uniform(0.9, 1.15))
    body = hue * tone[..., None]
    body = over(body, hue * 1.45 + 0.06, veins.coverage() * np.float32(0.6))
    return over(_shadow(scene, cover, light, 0.022), body, cover)


def bolt(scene: Field, rng: np.random.Generator, light: Point) -> Field:
    """A hexagon bolt lying on its side: head with three facets, threaded shank, zinc-plated."""
    n = scene.shape[0]
    length, angle = rng.uniform(0.26, 0.42), rng.uniform(0, 2 * np.pi)
    centre = tuple(rng.uniform(0.32, 0.68, 2))
    x, y = grid(n)
    c, s = np.cos(angle), np.sin(angle)
    u = ((x - centre[0]) * c + (y - centre[1]) * s).astype(np.float32) / np.float32(length)
    v = ((y - centre[1]) * c - (x - centre[0]) * s).astype(np.float32) / np.float32(length)
    head = np.array([[-0.5, -0.2], [-0.47, -0.235], [-0.27, -0.235], [-0.27, 0.235], [-0.47, 0.235], [-0.5, 0.2]])
    shank = np.array([[-0.28, -0.115], [0.46, -0.115], [0.5, -0.085], [0.5, 0.085], [0.46, 0.115], [-0.28, 0.115]])
    on_head = Stencil(n).polygon(turned(head * length, angle, centre)).coverage()
    on_shank = Stencil(n).polygon(turned(shank * length, angle, centre)).coverage()
    toward = np.float32(light[0] * -s + light[1] * c)  # how far the side v > 0 lies in the shade
    round_shade = np.float32(0.62) - np.float32(2.6) * v * toward - np.float32(14) * v * v
    glint = np.exp(-(((v + toward * np.float32(0.045)) / np.float32(0.028)) ** 2))
    thread = np.float32(0.5) + np.float32(0.5) * np.sin((u + v * np.float32(0.25)) * np.float32(2 * np.pi * 15))
    thread = np.where(u > -0.12, thread, np.float32(0.8))
    shank_tone = (round_shade + np.float32(0.35) * glint) * (np.float32(0.5) + np.float32(0.6) * thread)
    facet = np.where(
        v < -0.1, np.float32(0.62) + toward * 0.3, np.where(v > 0.1, np.float32(0.62) - toward * 0.3, 0.78)
    )
    facet = (
        facet
        * (1 - np.float32(0.5) * smoothstep(-0.45, -0.5, u))
        * (1 - np.float32(0.35) * smoothstep(-0.31, -0.27, u))
    )
    zinc = np.array((1.0, 0.98, 0.93), np.float32) if rng.random() < 0.6 else np.array((0.95, 0.78, 0.5), np.float32)
    cover = np.maximum(on_head, on_shank)
    ground = _shadow(scene, cover, light, 0.035, 0.7)
    ground = over(ground, np.clip(shank_tone, 0.06, 1)[..., None] * zinc, on_shank)
    return over(ground, np.clip(facet, 0.06, 1)[..., None] * zinc, on_head)


def wire(scene: Field, rng: np.random.Generator, light: Point) -> Field:
    """A bent piece of insulated cable: a tube shaded across its width."""
    n = scene.shape[0]
    start, end = around(rng, rng.uniform(0.45, 0.7))
    middle = tuple((np.asarray(start) + end) / 2 + rng.normal(0, 0.1, 2))
    first = curve(rng, start, middle, 0.5)
    path = np.concatenate([first, curve(rng, middle, end, 0.5)[1:]])
    smooth = np.stack([np.convolve(np.pad(path[:, k], 6, mode="edge"), np.ones(13) / 13, "valid") for k in (0, 1)], 1)
    width = rng.uniform(0.02, 0.034)
    cover = Stencil(n).stroke(smooth, width).coverage()
    core = Stencil(n).stroke(smooth, width * 0.45).coverage()
    offset = width * 0.2
    shine = shift(core, -light[0] * offset, -light[1] * offset)
    hues = ((0.72, 0.10, 0.08), (0.08, 0.20, 0.62), (0.85, 0.65, 0.08), (0.07, 0.07, 0.08))
    hue = np.asarray(hues[rng.integers(4)], np.float32)
    edge = np.clip(cover - blur(shift(cover, -light[0] * offset, -light[1] * offset), 0.004), 0, 1)
    body = hue * (1 - np.float32(0.6) * edge[..., None])
    body = over(body, hue * 0.6 + 0.42, blur(shine, 0.003) * np.float32(0.85))
    return over(_shadow(scene, cover, light, 0.02), body, cover)
