"""The circuit board below the chip: solder mask, copper traces, vias, pads, silk screen and a capacitor."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fmcore.data.rendered.raster import Field, Point, Stencil, blur, grain, over, shift, smooth_noise

MASK = np.array((0.055, 0.30, 0.15), np.float32)
COPPER = np.array((0.12, 0.43, 0.21), np.float32)  # copper seen through the solder mask
GOLD = np.array((0.78, 0.62, 0.30), np.float32)  # bare pads and via rings

PAD_X = tuple(0.5 + (pin - 3.5) * 0.082 for pin in range(8))
# Traces from a pad's outer end; the upper row's are given, the lower row's follow by point symmetry.
TRACES = (
    ((PAD_X[0], 0.2), (PAD_X[0], 0.15), (0.12, 0.057), (-0.1, 0.057)),
    ((PAD_X[1], 0.2), (PAD_X[1], 0.12), (0.20, 0.03), (0.20, -0.1)),
    ((PAD_X[2], 0.2), (PAD_X[2], 0.095)),
    ((PAD_X[3], 0.2), (PAD_X[3], 0.12), (0.40, 0.06), (0.40, -0.1)),
    ((PAD_X[4], 0.2), (PAD_X[4], -0.1)),
    ((PAD_X[5], 0.2), (PAD_X[5], 0.13), (0.66, 0.092), (0.66, 0.07)),
    ((PAD_X[6], 0.2), (PAD_X[6], 0.13), (0.80, 0.06), (1.1, 0.06)),
    ((PAD_X[7], 0.2), (PAD_X[7], 0.16), (0.83, 0.117), (1.1, 0.117)),
)
VIAS: tuple[Point, ...] = ((PAD_X[2], 0.095), (0.66, 0.07), (0.07, 0.18), (0.3, 0.045), (0.94, 0.2))


class Pose(Protocol):
    """What the board needs of the chip it carries."""

    n: int
    light: Point
    scale: float

    def placed(self, points: ArrayLike) -> NDArray: ...

    def rectangle(self, left: float, top: float, right: float, bottom: float, corner: float = 0.0) -> NDArray: ...


class Board:
    """An empty board in the chip's pose."""

    def __init__(self, pose: Pose, rng: np.random.Generator):
        self._pose, self._n, self._light = pose, pose.n, pose.light
        self._weave = grain(rng, pose.n)
        self._cloud = smooth_noise(rng, pose.n, 4, octaves=2)
        self._tint = rng.normal(0, 0.03)

    def paint(self) -> Field:
        """The scene (n, n, 3) without the chip."""
        tone = 1 + np.float32(0.035) * self._weave + np.float32(0.03) * self._cloud
        scene = MASK * np.array((1, 1 + self._tint, 1 - self._tint), np.float32) * tone[..., None]
        scene = self._relief(scene, self._traces(), COPPER, 0.16)
        scene = self._silk(scene)
        gold, holes = Stencil(self._n), Stencil(self._n)
        for x in PAD_X:
            for top, bottom in ((0.187, 0.262), (0.738, 0.813)):
                gold.polygon(self._pose.rectangle(x - 0.0265, top, x + 0.0265, bottom, 0.006))
        for via in (*VIAS, *((1 - x, 1 - y) for x, y in VIAS)):
            centre = tuple(self._pose.placed([via])[0])
            gold.disc(centre, 0.021 * self._pose.scale)
            holes.disc(centre, 0.0105 * self._pose.scale)
        scene = self._relief(scene, gold.coverage(), GOLD, 0.24)
        scene = over(scene, (0.03, 0.05, 0.04), holes.coverage())
        return self._capacitor(scene)

    def _relief(self, scene: Field, cover: Field, colour: Field, strength: float) -> Field:
        """Lay a thin raised layer on the board: its edges catch light and shade."""
        soft = blur(cover, 0.004)
        edge = soft - shift(soft, self._light[0] * 0.008, self._light[1] * 0.008)
        tone = 1 + np.float32(0.03) * self._weave
        layer = colour * tone[..., None] + np.float32(strength) * edge[..., None]
        return over(scene, layer, cover)

    def _traces(self) -> Field:
        stencil = Stencil(self._n)
        for trace in TRACES:
            path = np.asarray(trace)
            for points in (path, 1 - path):
                stencil.stroke(self._pose.placed(points), 0.02 * self._pose.scale)
        return stencil.coverage()

    def _silk(self, scene: Field) -> Field:
        """White outline marks beside the package's short sides and a pin-1 triangle."""
        stencil = Stencil(self._n)
        for x in (0.115, 0.885):
            stencil.stroke(self._pose.placed(((x, 0.33), (x, 0.67))), 0.011)
        stencil.polygon(self._pose.placed(((0.128, 0.745), (0.158, 0.762), (0.128, 0.779))))
        return over(scene, (0.86, 0.88, 0.84), stencil.coverage() * np.float32(0.88))

    def _capacitor(self, scene: Field) -> Field:
        """A ceramic capacitor at the right edge: brown body between two tinned ends."""
        place = self._pose.rectangle
        caps = Stencil(self._n).polygon(place(0.918, 0.40, 0.978, 0.60, 0.006)).coverage()
        body = Stencil(self._n).polygon(place(0.921, 0.442, 0.975, 0.558)).coverage()
        cast = blur(shift(caps, self._light[0] * 0.014, self._light[1] * 0.014), 0.008)
        scene = scene * (1 - np.float32(0.55) * cast[..., None])
        scene = self._relief(scene, caps, np.array((0.76, 0.77, 0.78), np.float32), 0.6)
        return self._relief(scene, body, np.array((0.55, 0.41, 0.27), np.float32), 0.4)
