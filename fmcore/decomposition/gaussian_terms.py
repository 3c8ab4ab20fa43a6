"""The decomposition of two Gaussians in closed form, without a single draw.

For ``p = N(m, S)`` and ``q = N(n, R)`` the states under q are ``N(t n, Q)`` with ``Q = (1 - t)^2 I + t^2 R``,
and those under p have covariance ``C = (1 - t)^2 I + t^2 S``. The scores are linear,

    grad log p_t(x) = -C^{-1} (x - t m),      grad log q_t(x) = -Q^{-1} (x - t n),

so with ``x = t n + Q^{1/2} z`` their gap is ``-t C^{-1} (n - m) - (C^{-1} - Q^{-1}) Q^{1/2} z``, and

    E ||gap||^2 = t^2 ||C^{-1} (n - m)||^2 + tr(C^{-2} Q) - 2 tr(C^{-1}) + tr(Q^{-1}).

The Fisher term is ``((1 - t)/t)^2`` times that; the denoising term is ``tr(R Q^{-1})``, at every state the same.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from fmcore.errors import SettingsError
from fmcore.fields.exact import Covariance, posterior_spread, state_variance
from fmcore.fields.gaussian import GaussianField


class GaussianTerms(NamedTuple):
    """Exact expectations at one time; ``mismatch = denoising + fisher``, and the cross term is zero."""

    mismatch: float
    denoising: float
    fisher: float
    fisher_divergence: float


def gaussian_terms(p: GaussianField, q: GaussianField, t: float) -> GaussianTerms:
    """All terms at time ``t`` in (0, 1), summed over dimensions, computed in float64.

    Raises:
        SettingsError: for a time outside (0, 1), or fields of different shapes.
    """
    if not 0 < t < 1:
        raise SettingsError(f"Time t = {t} is not usable: it must be between 0, noise, and 1, data.")
    if p.mean.shape != q.mean.shape:
        raise SettingsError(f"Fields of shapes {tuple(p.mean.shape)} and {tuple(q.mean.shape)} can't be compared.")
    normal, test, time = _double(p.covariance), _double(q.covariance), torch.tensor(t, dtype=torch.float64)
    shift = (q.mean - p.mean).double().reshape(1, -1)
    divergence = float(
        time**2 * normal.apply(shift, time, _precision).square().sum()
        + _squared_precision_of_states(normal, test, time)
        - 2 * normal.trace(time, _precision)
        + test.trace(time, _precision)
    )
    denoising = float(test.trace(time, posterior_spread))
    fisher = ((1 - t) / t) ** 2 * divergence
    return GaussianTerms(denoising + fisher, denoising, fisher, divergence)


def _squared_precision_of_states(normal: Covariance, test: Covariance, time: Tensor) -> Tensor:
    """``tr(C^{-2} Q)``: Q is its rest times I, plus what its components have beyond the rest."""
    rest = state_variance(test.rest, time)
    beyond = state_variance(test.variances, time) - rest
    along = normal.apply(test.components, time, _precision).square().sum(-1)  # u^T C^{-2} u of each component of q
    return rest * normal.trace(time, lambda variance, t: _precision(variance, t) ** 2) + (beyond * along).sum()


def _precision(variance: Tensor, time: Tensor) -> Tensor:
    return 1 / state_variance(variance, time)


def _double(covariance: Covariance) -> Covariance:
    return Covariance(*(part.double() for part in covariance))
