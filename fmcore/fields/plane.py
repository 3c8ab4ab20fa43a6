"""A Gaussian mixture of the plane, evaluated at very many states of one time: what a score landscape asks for.

At one time every exponent of the mixture is a quadratic in the state ``(x, y)`` and every component's velocity
is linear in it, so with the features ``f = (x^2, x y, y^2, x, y, 1)`` both are matrix products:

    log (weight_k p_{k,t}) = f Q_k,    v = sum_k r_k (b_k + G_k x),    r = softmax_k(f Q).

This is `MixtureField` to rounding, several times faster; it has velocities only.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from fmcore.errors import DataError
from fmcore.fields.exact import state_variance, velocity_gain
from fmcore.fields.mixture import MixtureField


class PlaneMixture:
    """``(x, t) -> v`` of a two-dimensional `MixtureField`, for states ``(B, 2)`` and one time, a float.

    Raises:
        DataError: for a mixture that is not of two dimensions.
    """

    def __init__(self, mixture: MixtureField):
        if mixture.means[0].numel() != 2:
            raise DataError(f"A plane mixture has 2 dimensions, not {mixture.means[0].numel()}.")
        self.mixture = mixture
        # Taken relative to the middle of the data, the squares stay small and little is lost to rounding.
        self.centre = mixture.means.flatten(1).mean(0).double()
        self._time: float | None = None
        self._tables: tuple[Tensor, Tensor] | None = None

    def __call__(self, x: Tensor, t: float) -> Tensor:
        """Velocity ``(B, 2)``, float32."""
        exponents, velocities = self._at(float(t))
        local = x.float() - t * self.centre.float()
        u, v = local.unbind(1)
        features = torch.stack([u * u, u * v, v * v, u, v, torch.ones_like(u)], 1)
        shares = (features @ exponents).softmax(1) @ velocities
        return shares[:, :2] + (shares[:, 2:].view(-1, 2, 2) @ local[..., None])[..., 0]

    def _at(self, t: float) -> tuple[Tensor, Tensor]:
        """Tables ``Q`` ``(6, M)`` and ``(b_k, G_k)`` ``(M, 6)`` at one time, float32; the last ones are kept."""
        if self._time == t and self._tables is not None:
            return self._tables
        law, count = self.mixture, len(self.mixture.means)
        covariance = law.covariance._make(part.double() for part in law.covariance)
        time = torch.tensor(t, dtype=torch.float64)
        basis = torch.eye(2, dtype=torch.float64).expand(count, 2, 2)
        inverse = covariance.apply(basis, time, lambda variance, time: 1 / state_variance(variance, time))
        gain = covariance.apply(basis, time, velocity_gain)
        determinant = covariance.trace(time, lambda variance, time: state_variance(variance, time).log()).reshape(-1)
        means = law.means.flatten(1).double() - self.centre  # (M, 2)
        at = t * means
        slope = (inverse @ at[..., None])[..., 0]
        constant = law.weights.double().log() - 0.5 * (determinant + (at * slope).sum(1)) - math.log(2 * math.pi)
        exponents = torch.stack(
            [
                -0.5 * inverse[:, 0, 0],
                -inverse[:, 0, 1],
                -0.5 * inverse[:, 1, 1],
                slope[:, 0],
                slope[:, 1],
                constant,
            ]
        )
        offset = means + self.centre - (gain @ at[..., None])[..., 0]
        tables = exponents.float(), torch.cat([offset, gain.flatten(1)], 1).float()
        self._time, self._tables = t, tables
        return tables
