"""The identities of the decomposition, checked one by one against independent draws and differentiated densities.

For two exact fields and paths to draws of q, at each time:

- ``cross``:      ``2 E <v_p - v_q, v_q - u> = 0``, because ``v_q - u`` has mean zero given ``x_t``;
- ``denoising``:  ``E ||v_q - u||^2 = E tr Cov_q(u | X_t)``;
- ``fisher``:     ``E ||v_p - v_q||^2 = ((1 - t)/t)^2 E ||grad log p_t - grad log q_t||^2``;
- ``mismatch``:   ``E ||v_p - u||^2`` is the sum of the last two right-hand sides.

Left-hand sides come from the velocities on one set of paths, right-hand sides from other draws, and their scores from
differentiating ``log p_t`` itself."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from fmcore.decomposition.sampled import DecompositionSettings, decompose
from fmcore.errors import SettingsError
from fmcore.fields.field import ExactField
from fmcore.path import interpolate

APART = 2**20  # what the seed of the other draws differs by


class IdentityCheck(NamedTuple):
    """Both sides of one identity at one time, and the standard error of their difference."""

    t: float
    name: str
    left: float
    right: float
    error: float

    @property
    def deviation(self) -> float:
        """Left less right, in standard errors; 0 where both agree to rounding."""
        gap = self.left - self.right
        return 0.0 if abs(gap) <= 1e-5 * abs(self.left) else gap / max(self.error, 1e-300)


def check_identities(
    p: ExactField, q: ExactField, settings: DecompositionSettings, *, power: float = 2.0
) -> Iterator[IdentityCheck]:
    """All four identities at each of the T times, ``settings.samples`` paths on either side; `SettingsError` if a field
    is not exact. A ``power`` of the factor ``(1 - t)/t`` other than 2 is wrong, and shows how the check fails."""
    if not (isinstance(p, ExactField) and isinstance(q, ExactField)):
        raise SettingsError("Identities hold for exact fields only: give two of `fmcore.fields`.")
    draws = torch.Generator().manual_seed((settings.seed + APART) % 2**31)
    for step in decompose(p, q, settings):
        x1 = q.sample(settings.samples, draws)
        x0 = torch.randn(x1.shape, generator=draws, dtype=x1.dtype)
        divergences, traces = [], []
        for x in interpolate(x0, x1, step.t).split(settings.chunk):
            difference = differentiated_score(p, x, step.t) - differentiated_score(q, x, step.t)
            divergences.append(difference.double().square().flatten(1).sum(1))
            traces.append(q.posterior_covariance_trace(x, step.t).double())
        fisher, trace = ((1 - step.t) / step.t) ** power * torch.cat(divergences), torch.cat(traces)
        yield IdentityCheck(step.t, "cross", step.cross.value, 0.0, step.cross.error)
        for name, values in (("denoising", trace), ("fisher", fisher), ("mismatch", trace + fisher)):
            term, error = getattr(step, name), float(values.std()) / math.sqrt(len(values))
            yield IdentityCheck(step.t, name, term.value, float(values.mean()), math.hypot(term.error, error))


def differentiated_score(field: ExactField, x: Tensor, t: float) -> Tensor:
    """``grad log p_t(x)`` by automatic differentiation of `ExactField.log_density`, shaped as ``x``."""
    with torch.inference_mode(False), torch.enable_grad():
        state = x.detach().clone().requires_grad_()
        return torch.autograd.grad(field.log_density(state, t).sum(), state)[0]


def score_from_velocity_gap(field: ExactField, x: Tensor, t: float) -> float:
    """Largest difference, relative to the largest score, between ``(t v(x, t) - x) / (1 - t)`` and the differentiated
    score at states ``x``: zero to rounding where the velocity is right."""
    expected = differentiated_score(field, x, t)
    return float((field.score(x, t) - expected).abs().max() / expected.abs().max())
