"""The exact velocity field of a finite set: what a network that learned its training images by heart would predict.

For data drawn uniformly from ``y_1 .. y_N``, the posterior of the data is a softmax over the set,

    P(y_i | x_t = x)  proportional to  exp(-||x - t y_i||^2 / (2 (1 - t)^2)),

and ``v(x, t) = (E[x1 | x_t = x] - x) / (1 - t)``. With one image it is the field of a point mass,
``(y - x) / (1 - t)``, whose velocity along a path to ``y`` is the geometric one.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from fmcore.errors import DataError, SettingsError
from fmcore.fields.exact import ExactField, require_before_data
from fmcore.path import expand_time


class EmpiricalField(ExactField):
    """Velocity field of the uniform law on a finite set of points or images; duplicates count twice.

    The set is gone through in chunks, in float64 since for t near 1 the exponents are small differences
    of numbers as large as ``D / (1 - t)^2``; so a call needs ``chunk (2 D + B) + 3 B D`` float64 numbers
    beside its arguments, however large the set. Times are in [0, 1): at ``t = 1`` the law has no density.

    Args:
        points: ``(N, *shape)``, N >= 1, finite.
        chunk: points taken at once, >= 1.

    Raises:
        DataError: for an empty set, or values that are not finite.
        SettingsError: for a chunk below 1 and, in every method, for a time outside [0, 1).
    """

    def __init__(self, points: Tensor, *, chunk: int = 1024):
        super().__init__()
        if points.ndim < 2 or not len(points) or not bool(torch.isfinite(points).all()):
            raise DataError("An empirical field needs at least one point or image, of finite numbers.")
        if chunk < 1:
            raise SettingsError(f"Setting 'chunk' = {chunk} is not usable: it must be at least 1.")
        self.chunk = chunk
        self.register_buffer("points", points.float())

    def forward(self, x: Tensor, t: float | Tensor) -> Tensor:
        """Velocity ``(B, *shape)`` at states ``x`` ``(B, *shape)`` and times ``t``, float or ``(B,)``."""
        _, mean = self._posterior(x, t, powers=(1,))
        time = expand_time(t, mean)
        return ((mean - x.flatten(1).double()) / (1 - time)).to(x.dtype).view_as(x)

    def denoise(self, x: Tensor, t: float | Tensor) -> Tensor:
        """Posterior mean ``E[x1 | x_t = x]``, a convex combination of the set, shaped as ``x``."""
        # Straight from the softmax: through the velocity it would be rounded twice near t = 1.
        return self._posterior(x, t, powers=(1,))[1].to(x.dtype).view_as(x)

    def log_density(self, x: Tensor, t: float | Tensor) -> Tensor:
        """``log (1/N) sum_i N(x; t y_i, (1 - t)^2 I)``, ``(B,)``."""
        (log_sum,) = self._posterior(x, t, powers=())
        state = x.flatten(1).double()
        time = expand_time(t, state)
        spread = (1 - time) ** 2
        energy = (state**2 / spread + (2 * math.pi * spread).log()).sum(1)
        return (log_sum - math.log(len(self.points)) - 0.5 * energy).to(x.dtype)

    def posterior_variance(self, x: Tensor, t: float | Tensor) -> Tensor:
        """Diagonal of ``Cov(x1 | x_t = x) / (1 - t)^2``, shaped as ``x``."""
        _, mean, square = self._posterior(x, t, powers=(1, 2))
        # The clamp takes away rounding only: float64 leaves about 1e-16 of the squared values.
        variance = (square - mean**2).clamp_min(0) / (1 - expand_time(t, mean)) ** 2
        return variance.to(x.dtype).view_as(x)

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """``count`` members of the set, drawn with replacement, ``(count, *shape)``."""
        chosen = torch.randint(len(self.points), (count,), generator=generator)
        return self.points[chosen.to(self.points.device)]

    def _posterior(self, x: Tensor, t: float | Tensor, powers: tuple[int, ...]) -> list[Tensor]:
        """``log sum_i exp(e_i)`` ``(B,)``, then the posterior mean of each power of the data ``(B, D)``, float64.

        ``e_i = (t <x, y_i> - t^2 ||y_i||^2 / 2) / (1 - t)^2`` is the exponent without its part in x alone.
        """
        require_before_data(t)
        state = x.flatten(1).double()
        time = expand_time(t, state)
        peak = state.new_full((len(state), 1), -math.inf)
        total, sums = torch.zeros_like(peak), [torch.zeros_like(state) for _ in powers]
        for part in self.points.flatten(1).split(self.chunk):
            points = part.double()
            exponents = (time * (state @ points.T) - time**2 / 2 * points.square().sum(1)) / (1 - time) ** 2
            # Running log-sum-exp: what was summed so far is rescaled whenever a larger exponent turns up.
            # The result does not depend on the peak, so no gradient needs to pass through it.
            risen = torch.maximum(peak, exponents.detach().amax(1, keepdim=True))
            weights, decay = (exponents - risen).exp(), (peak - risen).exp()
            total = total * decay + weights.sum(1, keepdim=True)
            sums = [s * decay + weights @ points**power for s, power in zip(sums, powers, strict=True)]
            peak = risen
        return [(peak + total.log())[:, 0], *(s / total for s in sums)]
