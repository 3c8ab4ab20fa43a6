"""The decomposition of two Gaussians in closed form, without a single draw.

For ``p = N(m, S)`` and ``q = N(n, R)`` the states have covariances ``C = (1 - t)^2 I + t^2 S`` under p and, likewise of
R, ``Q`` under q. The scores are affine, ``-C^{-1} (x - t m)`` and ``-Q^{-1} (x - t n)``, so that at
``x = t n + Q^{1/2} z`` their gap is ``-t C^{-1} (n - m) - (C^{-1} - Q^{-1}) Q^{1/2} z``, and

    E ||gap||^2 = t^2 ||C^{-1} (n - m)||^2 + tr(C^{-2} Q) - 2 tr(C^{-1}) + tr(Q^{-1}).

The Fisher term is ``((1 - t)/t)^2`` times that; the denoising term is ``tr(R Q^{-1})``, at every state the same."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from fmcore.errors import SettingsError
from fmcore.fields.gaussian import Covariance, GaussianField, posterior_spread, state_variance


class GaussianTerms(NamedTuple):
    """Exact expectations at one time; ``mismatch = denoising + fisher``, and the cross term is zero."""

    mismatch: float
    denoising: float
    fisher: float
    fisher_divergence: float


def gaussian_terms(p: GaussianField, q: GaussianField, t: float) -> GaussianTerms:
    """All terms at time ``t``, summed over dimensions, computed in float64; raises `SettingsError` for a time outside
    (0, 1), or fields of different shapes."""
    if not 0 < t < 1:
        raise SettingsError(f"Time t = {t} is not usable: it must be between 0, noise, and 1, data.")
    if p.mean.shape != q.mean.shape:
        raise SettingsError(f"Fields of shapes {tuple(p.mean.shape)} and {tuple(q.mean.shape)} can't be compared.")
    normal, test = (Covariance(*(part.double() for part in field.covariance)) for field in (p, q))
    time, shift = torch.tensor(t, dtype=torch.float64), (q.mean - p.mean).double().reshape(1, -1)
    # tr(C^{-2} Q): Q is its rest times I, plus what its components u have beyond the rest, each times u^T C^{-2} u.
    rest, along = state_variance(test.rest, time), normal.apply(test.components, time, _precision).square().sum(-1)
    states = rest * normal.trace(time, lambda variance, t: _precision(variance, t) ** 2)
    states = states + ((state_variance(test.variances, time) - rest) * along).sum()
    shifted = time**2 * normal.apply(shift, time, _precision).square().sum()
    divergence = float(shifted + states - 2 * normal.trace(time, _precision) + test.trace(time, _precision))
    denoising, fisher = float(test.trace(time, posterior_spread)), ((1 - t) / t) ** 2 * divergence
    return GaussianTerms(denoising + fisher, denoising, fisher, divergence)


def _precision(variance: Tensor, time: Tensor) -> Tensor:
    return 1 / state_variance(variance, time)
