"""What can be wrong with a brick wall, a lawn or a gravel path."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fmcore.data.rendered.defects import DRY, OIL, PAINT, RUST, around, blob, curve, patch, scratch, stain, taper
from fmcore.data.rendered.foreign import drop_object
from fmcore.data.rendered.raster import Field, Point, Stencil, blur, over, shift, smooth_noise, smoothstep
from fmcore.data.rendered.textures import Texture

_BLADE_TONES = (0.62, 0.8, 1.0, 1.25)
SOIL = ((0.13, 0.085, 0.055), (0.42, 0.30, 0.20))
SAND = ((0.56, 0.49, 0.38), (0.86, 0.78, 0.64))


def damage(texture: Texture, defect: str, rng: np.random.Generator) -> Field:
    """The texture's scene (n, n, 3) with one of its category's defects."""
    return DEFECTS[texture.category][defect](texture, rng)


def _scratch(texture: Texture, rng: np.random.Generator) -> Field:
    return scratch(texture.colour, rng, texture.light, groove=(0.16, 0.09, 0.07), burr=(0.96, 0.82, 0.74))


def _stain(texture: Texture, rng: np.random.Generator) -> Field:
    kinds = {"brick": (OIL, PAINT), "grass": (DRY, OIL), "gravel": (OIL, RUST)}[texture.category]
    return stain(texture.colour, rng, kinds)


def _foreign(texture: Texture, rng: np.random.Generator) -> Field:
    return drop_object(texture.colour, rng, texture.light)


def _missing_mortar(texture: Texture, rng: np.random.Generator) -> Field:
    """A stretch of joint from which the mortar has fallen out: a dark gap, deep on the side of the lamp."""
    n = texture.colour.shape[0]
    inner = texture.joints[n // 5 : -n // 5, n // 5 : -n // 5]
    rows, columns = np.nonzero(inner > 0.8)
    if len(rows) == 0:
        return texture.colour.copy()
    pick = rng.integers(len(rows))
    centre = ((columns[pick] + n // 5) / n, (rows[pick] + n // 5) / n)
    reach = blob(rng, n, centre, rng.uniform(0.13, 0.27), soft=0.12, ragged=0.22)
    gap = smoothstep(0.25, 0.6, texture.joints) * reach
    rubble = np.float32(0.13) + np.float32(0.05) * smooth_noise(rng, n, 40, octaves=2)
    floor = np.clip(rubble, 0.03, 0.3)[..., None] * np.array((1.15, 0.95, 0.8), np.float32)
    wall = np.clip(gap - shift(gap, texture.light[0] * 0.012, texture.light[1] * 0.012), 0, 1)
    return over(texture.colour, floor * (1 - np.float32(0.8) * wall[..., None]), gap)


def _crack(texture: Texture, rng: np.random.Generator) -> Field:
    """A jagged crack with one or two branches, through bricks and joints alike."""
    n = texture.colour.shape[0]
    main = _jagged(rng, *around(rng, rng.uniform(0.4, 0.75)))
    width = rng.uniform(0.011, 0.02)
    stencil = Stencil(n).stroke(main, taper(rng, len(main), width))
    for _ in range(rng.integers(1, 3)):
        fork = main[rng.integers(6, len(main) - 6)]
        twig = _jagged(rng, tuple(fork), tuple(fork + rng.normal(0, 0.11, 2)))
        stencil.stroke(twig, width * np.linspace(0.7, 0.25, len(twig)))
    gap = stencil.coverage()
    dx, dy = texture.light
    edge = np.clip(shift(gap, dx * 0.011, dy * 0.011) - gap, 0, 1)  # the far wall of the crack catches light
    lit = over(texture.colour, np.minimum(texture.colour * 1.35 + 0.06, 1), edge * np.float32(0.8))
    return over(lit, (0.05, 0.035, 0.03), gap * np.float32(0.95))


def _jagged(rng: np.random.Generator, start: Point, end: Point) -> np.ndarray:
    path = curve(rng, start, end, 0.2, 26)
    step = np.linalg.norm(np.subtract(end, start)) / 26
    path[1:-1] += rng.normal(0, 0.75 * step, (24, 2))
    return path


def _frayed(texture: Texture, cover: Field, amount: float) -> Field:
    """Let bright blades or stones at the border of ``cover`` stand in front of it."""
    tone = texture.colour.mean(axis=-1)
    local = (tone - blur(tone, 0.03)) * np.float32(amount)
    return smoothstep(0.32, 0.68, cover - local * 4 * cover * (1 - cover))


def _bare_patch(texture: Texture, rng: np.random.Generator) -> Field:
    n = texture.colour.shape[0]
    cover = blob(rng, n, tuple(rng.uniform(0.28, 0.72, 2)), rng.uniform(0.13, 0.27), soft=0.6)
    return patch(texture.colour, rng, _frayed(texture, cover, 5), *SOIL, texture.light)


def _furrow(texture: Texture, rng: np.random.Generator) -> Field:
    """A narrow groove that a stick or a wheel has torn into the lawn."""
    n = texture.colour.shape[0]
    path = curve(rng, *around(rng, rng.uniform(0.5, 0.8)), 0.3)
    cover = blur(Stencil(n).stroke(path, taper(rng, 24, rng.uniform(0.045, 0.08))).coverage(), 0.008)
    return patch(texture.colour, rng, _frayed(texture, cover, 4), *SOIL, texture.light)


def _smooth_patch(texture: Texture, rng: np.random.Generator) -> Field:
    """Spilled sand that has filled the gaps between the stones; the tallest stones still look out."""
    n = texture.colour.shape[0]
    cover = blob(rng, n, tuple(rng.uniform(0.28, 0.72, 2)), rng.uniform(0.16, 0.29), soft=0.5)
    return patch(texture.colour, rng, _frayed(texture, cover, 4), *SAND, texture.light)


def _weed(texture: Texture, rng: np.random.Generator) -> Field:
    """A tuft of green blades that grows between the stones."""
    n = texture.colour.shape[0]
    root, size = rng.uniform(0.32, 0.68, 2), rng.uniform(0.13, 0.25)
    count = int(rng.integers(12, 22))
    angles = np.linspace(0, 2 * np.pi, count, endpoint=False) + rng.normal(0, 0.25, count)
    colour, everything = texture.colour, Stencil(n)
    layers = [(Stencil(n), Stencil(n)) for _ in _BLADE_TONES]  # darkest, deepest blades first
    for number, angle in enumerate(angles[rng.permutation(count)]):
        reach = size * rng.uniform(0.55, 1.0)
        tip = root + reach * np.array([np.cos(angle), np.sin(angle)])
        path = curve(rng, tuple(root), tuple(tip), 0.3, 10)
        widths = 0.03 * size / 0.2 * np.sin(np.pi * np.linspace(0.22, 0.98, 10)) * rng.uniform(0.8, 1.3)
        blades, spines = layers[number * len(layers) // count]
        blades.stroke(path, widths)
        spines.stroke(path[2:-1], 0.005)
        everything.stroke(path, widths)
    cast = blur(shift(everything.coverage(), texture.light[0] * 0.025, texture.light[1] * 0.025), 0.01)
    colour = colour * (1 - np.float32(0.6) * cast[..., None])
    for (blades, spines), tone in zip(layers, _BLADE_TONES, strict=True):
        hue = np.array((0.30, 0.44, 0.14)) * tone * rng.uniform(0.88, 1.12)
        colour = over(colour, hue, blades.coverage())
        colour = over(colour, hue * 1.3 + 0.08, spines.coverage() * np.float32(0.6))
    return colour


Damage = Callable[[Texture, np.random.Generator], Field]
DEFECTS: dict[str, dict[str, Damage]] = {
    "brick": {
        "scratch": _scratch,
        "stain": _stain,
        "foreign": _foreign,
        "missing_mortar": _missing_mortar,
        "crack": _crack,
    },
    "grass": {"furrow": _furrow, "stain": _stain, "foreign": _foreign, "bare_patch": _bare_patch},
    "gravel": {"weed": _weed, "stain": _stain, "foreign": _foreign, "smooth_patch": _smooth_patch},
}
