"""Two-dimensional laws to see and test the method on, each an exact `MixtureField`.

An arc with radial noise has no closed form, but a mixture of short Gaussian strokes along it has one and
comes as close as one likes: strokes of length 0.6 of their spacing add up to an even line within 0.2 %."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from fmcore.fields.mixture import MixtureField

STROKE = 0.6  # standard deviation of a stroke along the arc, in units of the spacing of strokes


def semicircle(*, strokes: int = 96) -> MixtureField:
    """The upper half of a circle of radius 5 around (0, 3), uniform in angle, with Gaussian noise of standard deviation
    0.1 across the arc, made of ``strokes`` Gaussians along it."""
    return _arcs({0.0: (0.0, 3.0)}, 5.0, 0.1, strokes)


def two_moons(*, strokes: int = 96) -> MixtureField:
    """Two interleaved half circles of radius 3 and noise 0.2, the upper one around (-1.5, -0.75), the lower one around
    (1.5, 0.75), ``strokes`` Gaussians along each."""
    return _arcs({0.0: (-1.5, -0.75), math.pi: (1.5, 0.75)}, 3.0, 0.2, strokes)


def three_clusters() -> MixtureField:
    """Three round clusters of standard deviation 0.5 at distance 4 from the origin, the first one on top."""
    means = 4.0 * _directions(math.pi / 2 + torch.arange(3, dtype=torch.float64) * 2 * math.pi / 3)
    return MixtureField.isotropic(torch.ones(3), means, torch.full((3,), 0.5**2))


def _arcs(centres: dict[float, tuple[float, float]], radius: float, noise: float, strokes: int) -> MixtureField:
    """Half circles, each from its angle on around its centre."""
    step = math.pi / strokes
    angles = step * (torch.arange(strokes, dtype=torch.float64) + 0.5)
    radial = torch.cat([_directions(start + angles) for start in centres])
    middle = torch.tensor(list(centres.values()), dtype=torch.float64).repeat_interleave(strokes, 0)
    across, along = (torch.full((len(radial),), width**2) for width in (noise, STROKE * step * radius))
    return MixtureField(torch.ones(len(radial)), middle + radius * radial, radial[:, None], across[:, None], along)


def _directions(angles: Tensor) -> Tensor:
    """Unit vectors ``(M, 2)``."""
    return torch.stack([angles.cos(), angles.sin()], 1)
