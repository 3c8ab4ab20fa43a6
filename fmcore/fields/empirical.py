"""The exact velocity field of a finite set: what a network that learned its training data by heart would predict.
For data drawn uniformly from ``y_1 .. y_N``, the posterior of the data is a softmax over the set,

    P(y_i | x_t = x)  proportional to  exp(-||x - t y_i||^2 / (2 (1 - t)^2)),

and ``v(x, t) = (E[x1 | x_t = x] - x) / (1 - t)``. With one image it is the field of a point mass,
``(y - x) / (1 - t)``, whose velocity along a path to ``y`` is the geometric one."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from fmcore.fields.field import ExactField, require_before_data
from fmcore.path import expand_time


class EmpiricalField(ExactField):
    """Velocity field of the uniform law on ``points`` ``(N, *shape)``, N >= 1, which may repeat. Every method raises
    `SettingsError` for a time outside [0, 1): at 1 the law has no density. It computes in float64, since for t near 1
    the exponents are small differences of numbers as large as ``D / (1 - t)^2``."""

    def __init__(self, points: Tensor):
        super().__init__()
        self.register_buffer("points", points.float())

    def forward(self, x: Tensor, t: float | Tensor) -> Tensor:
        mean, state = self._exponents(x, t).softmax(1) @ self.points.flatten(1).double(), x.flatten(1).double()
        return ((mean - state) / (1 - expand_time(t, state))).to(x.dtype).view_as(x)

    def log_density(self, x: Tensor, t: float | Tensor) -> Tensor:
        """``log (1/N) sum_i N(x; t y_i, (1 - t)^2 I)``, ``(B,)``."""
        log_sum, state = self._exponents(x, t).logsumexp(1), x.flatten(1).double()
        spread = (1 - expand_time(t, state)) ** 2
        energy = (state**2 / spread + (2 * math.pi * spread).log()).sum(1)
        return (log_sum - math.log(len(self.points)) - 0.5 * energy).to(x.dtype)

    def posterior_variance(self, x: Tensor, t: float | Tensor) -> Tensor:
        shares, points = self._exponents(x, t).softmax(1), self.points.flatten(1).double()
        # The clamp takes away rounding only: float64 leaves about 1e-16 of the squared values.
        variance = (shares @ points**2 - (shares @ points) ** 2).clamp_min(0)
        return (variance / (1 - expand_time(t, variance)) ** 2).to(x.dtype).view_as(x)

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        return self.points[torch.randint(len(self.points), (count,), generator=generator).to(self.points.device)]

    def _exponents(self, x: Tensor, t: float | Tensor) -> Tensor:
        """``(t <x, y_i> - t^2 ||y_i||^2 / 2) / (1 - t)^2``, those of the posterior without their part in x alone,
        ``(B, N)`` float64."""
        require_before_data(t)
        state, points = x.flatten(1).double(), self.points.flatten(1).double()
        time = expand_time(t, state)
        return (time * (state @ points.T) - time**2 / 2 * points.square().sum(1)) / (1 - time) ** 2
