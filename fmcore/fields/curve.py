"""Two-dimensional laws to see and test the method on, each an exact `MixtureField`.

An arc with radial noise has no closed form, but a mixture of short Gaussian strokes along it has one and
comes as close as one likes: strokes of length 0.6 of their spacing add up to an even line within 0.2 %.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from fmcore.errors import SettingsError
from fmcore.fields.mixture import MixtureField

STROKE = 0.6  # standard deviation of a stroke along the arc, in units of the spacing of strokes


def semicircle(
    *, centre: tuple[float, float] = (0.0, 3.0), radius: float = 5.0, noise: float = 0.1, strokes: int = 96
) -> MixtureField:
    """The upper half of a circle, uniform in angle, with Gaussian noise across the arc.

    Args:
        centre: of the circle, ``(x, y)``.
        radius: positive.
        noise: standard deviation of the distance to the centre, positive.
        strokes: Gaussians along the arc, at least 8.

    Raises:
        SettingsError: for a value out of range.
    """
    _check(radius=radius, noise=noise, strokes=strokes)
    return _mixture(*_arc(centre, radius, 0.0, math.pi, noise, strokes))


def two_moons(*, radius: float = 3.0, noise: float = 0.2, strokes: int = 96) -> MixtureField:
    """Two interleaved half circles of equal weight, centred on the origin.

    Args:
        radius: of both, positive; the upper is centred at ``(-radius/2, -radius/4)``, the lower at its negative.
        noise: standard deviation across the arcs, positive.
        strokes: Gaussians along each arc, at least 8.

    Raises:
        SettingsError: for a value out of range.
    """
    _check(radius=radius, noise=noise, strokes=strokes)
    x, y = radius / 2, radius / 4
    upper = _arc((-x, -y), radius, 0.0, math.pi, noise, strokes)
    lower = _arc((x, y), radius, math.pi, 2 * math.pi, noise, strokes)
    return _mixture(*(torch.cat(parts) for parts in zip(upper, lower, strict=True)))


def three_clusters(*, radius: float = 4.0, spread: float = 0.5) -> MixtureField:
    """Three round clusters of equal weight on a circle about the origin, the first one on top.

    Args:
        radius: distance of the cluster centres from the origin, positive.
        spread: standard deviation of each cluster, positive.

    Raises:
        SettingsError: for a value out of range.
    """
    _check(radius=radius, spread=spread)
    angles = math.pi / 2 + torch.arange(3, dtype=torch.float64) * 2 * math.pi / 3
    means = radius * torch.stack([angles.cos(), angles.sin()], 1)
    return MixtureField.isotropic(torch.ones(3), means, torch.full((3,), spread**2))


def _arc(
    centre: tuple[float, float], radius: float, start: float, stop: float, noise: float, strokes: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Stroke means ``(M, 2)``, radial directions ``(M, 1, 2)`` and variances ``(M, 2)``, radial then tangential."""
    step = (stop - start) / strokes
    angles = start + step * (torch.arange(strokes, dtype=torch.float64) + 0.5)
    radial = torch.stack([angles.cos(), angles.sin()], 1)
    means = torch.tensor(centre, dtype=torch.float64) + radius * radial
    variances = torch.tensor([noise**2, (STROKE * step * radius) ** 2], dtype=torch.float64)
    return means, radial[:, None], variances.expand(strokes, 2)


def _mixture(means: Tensor, radial: Tensor, variances: Tensor) -> MixtureField:
    return MixtureField(torch.ones(len(means)), means, radial, variances[:, :1], variances[:, 1])


def _check(strokes: int = 8, **positive: float) -> None:
    for name, value in positive.items():
        if not (math.isfinite(value) and value > 0):
            raise SettingsError(f"Setting '{name}' = {value} is not usable: it must be positive and finite.")
    if strokes < 8:
        raise SettingsError(f"Setting 'strokes' = {strokes} is not usable: it must be at least 8.")
