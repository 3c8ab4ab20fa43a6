"""A Gaussian mixture of the plane, evaluated at very many states of one time: what a score landscape asks for.

At one time every exponent of the mixture is a quadratic in the state and every component's velocity is affine in it,
so with the features ``f = (1, x, y, x^2, x y, y^2)`` both are matrix products:

    log (weight_k p_{k,t}) = f Q_k,    v_k = f V_k,    v = sum_k r_k v_k,    r = softmax_k(f Q).

``Q`` and ``V`` are found from the mixture's own values at six states. The result is `MixtureField` to rounding, about
ten times faster; it has velocities only."""

from __future__ import annotations

import copy
import functools

import torch
from torch import Tensor

from fmcore.errors import DataError
from fmcore.fields.mixture import MixtureField


class PlaneMixture:
    """``(x, t) -> v`` of a two-dimensional `MixtureField` (`DataError` for others): states ``(B, 2)``, t a float."""

    def __init__(self, mixture: MixtureField):
        if mixture.means[0].numel() != 2:
            raise DataError(f"A plane mixture has 2 dimensions, not {mixture.means[0].numel()}.")
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
