"""Laws of the plane to see and test the method on, each an exact `MixtureField`, and a fast way to evaluate one.

An arc with radial noise has no closed form, but a mixture of short Gaussian strokes along it has one and comes as close
as one likes: strokes of length 0.6 of their spacing add up to an even line within 0.2 %."""

from __future__ import annotations

import copy
import functools
import math

import torch
from torch import Tensor

from fmcore.fields.mixture import MixtureField

STROKE = 0.6  # standard deviation of a stroke along the arc, in units of the spacing of strokes


def semicircle(*, strokes: int = 96) -> MixtureField:
    """The upper half of a circle of radius 5 around (0, 3), uniform in angle, with Gaussian noise of 0.1 across it."""
    return _arcs({0.0: (0.0, 3.0)}, 5.0, 0.1, strokes)


def two_moons(*, strokes: int = 96) -> MixtureField:
    """Half circles of radius 3 and noise 0.2, the upper one around (-1.5, -0.75), the lower one around (1.5, 0.75)."""
    return _arcs({0.0: (-1.5, -0.75), math.pi: (1.5, 0.75)}, 3.0, 0.2, strokes)


def three_clusters() -> MixtureField:
    """Round clusters of standard deviation 0.5 at distance 4 from the origin, the first one on top."""
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


class PlaneMixture:
    """A two-dimensional `MixtureField` as a velocity field: states ``(B, 2)``, t a float.

    Equal to rounding, but ten times faster at the very many states of a score landscape: at one time every exponent is
    a quadratic in the state and every component's velocity affine, so with ``f = (1, x, y, x^2, x y, y^2)`` both are
    matrix products,

        log (weight_k p_{k,t}) = f Q_k,    v_k = f V_k,    v = sum_k r_k v_k,    r = softmax_k(f Q),

    with ``Q`` and ``V`` from the mixture's own values at six states."""

    def __init__(self, mixture: MixtureField):
        self.mixture = copy.deepcopy(mixture).double()
        # Taken relative to the middle of the data, the squares stay small and little is lost to rounding.
        self.centre = self.mixture.means.mean(0)
        self._tables_at = functools.lru_cache(maxsize=1)(self._tables)  # many calls share one time

    def __call__(self, x: Tensor, t: float) -> Tensor:
        """Velocity ``(B, 2)``, float32."""
        exponents, velocities = self._tables_at(t)
        features = _features(x.float() - t * self.centre.float())
        mixed = (features @ exponents).softmax(1) @ velocities
        return (features[:, :3, None] * mixed.view(-1, 3, 2)).sum(1)

    def _tables(self, t: float) -> tuple[Tensor, Tensor]:
        """``Q`` ``(6, M)`` and ``V`` ``(M, 6)``: what each feature of an affine function contributes to both axes."""
        states = torch.tensor([[0, 0], [1, 0], [0, 1], [-1, 0], [0, -1], [1, 1]], dtype=torch.float64)
        joint, velocities = self.mixture.by_component(t * self.centre + states, t)
        features = _features(states)
        exponents = torch.linalg.lstsq(features, joint.T).solution
        affine = torch.linalg.lstsq(features[:, :3].expand(len(joint), -1, -1), velocities).solution  # (M, 3, 2)
        return exponents.float(), affine.flatten(1).float()


def _features(states: Tensor) -> Tensor:
    """``(B, 2)`` to ``(B, 6)``."""
    x, y = states.unbind(1)
    return torch.stack([torch.ones_like(x), x, y, x * x, x * y, y * y], 1)
