"""One point of a space looked at closely: its paths, the velocities along them, and the mismatch's two terms.

The test law is ``q = N(target, s^2 I)``, whose exact field is known, so at every state on a path the expected
mismatch splits exactly (see `fmcore.decomposition.decomposition`), whatever the field ``v``:

    E_q[||v - u||^2 | x_t]  =  tr Cov_q(u | x_t)  +  ||v(x_t, t) - v_q(x_t, t)||^2
                               denoising             Fisher, for exact v

With ``s = 0``, a single image, the denoising term is zero and the Fisher term is the path's own mismatch
``||v - u||^2``. The denoising term of a Gaussian is the same at all states of one time, so any aggregator over
paths leaves it as it is, and the aggregated terms still add up.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fmcore.errors import DataError, SettingsError
from fmcore.fields.empirical import EmpiricalField
from fmcore.fields.exact import ExactField
from fmcore.fields.gaussian import GaussianField
from fmcore.mismatch.mismatch import HeatSettings, Mismatch, VelocityField
from fmcore.path import draw_noise, interior_times


@dataclass(frozen=True)
class Probe:
    """K paths from ``starts`` to ``ends`` and what was found on them at T times; float32 arrays.

    ``starts``, ``ends`` and ``geometric`` are ``(K, D)``, ``states`` and ``predicted`` ``(T, K, D)``,
    ``fisher`` ``(T, K)``, ``denoising`` and ``times`` ``(T,)``. ``fisher`` plus ``denoising`` is the expected
    mismatch of each path.
    """

    times: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    geometric: np.ndarray
    states: np.ndarray
    predicted: np.ndarray
    fisher: np.ndarray
    denoising: np.ndarray

    def fisher_per_time(self, heat: HeatSettings) -> np.ndarray:
        """Fisher term aggregated over paths, ``(T,)``; with ``denoising`` it makes the mismatch per time."""
        return self._mismatch(self.fisher).per_time(_plain(heat))[:, 0, 0]

    def running(self, heat: HeatSettings) -> np.ndarray:
        """The t^r-weighted mean of the mismatch up to each time, ``(T,)``; the last is the point's score."""
        return self._mismatch(self.fisher + self.denoising[:, None]).running(_plain(heat))[:, 0, 0]

    def _mismatch(self, values: np.ndarray) -> Mismatch:
        return Mismatch(self.times, values[:, :, None, None].astype(np.float32))


def probe(
    field: VelocityField,
    targets: Tensor,
    starts: Tensor,
    *,
    times: int = 12,
    spread: float = 0.0,
    seed: int = 0,
) -> list[Probe]:
    """Look at each target along K paths; the field is called once for all of them.

    Args:
        field: any ``(x, t) -> v`` on states ``(B, D)``.
        targets: ``(N, D)`` finite.
        starts: ``(K, D)`` finite, shared by all targets.
        times: T, interior times ``j / (T + 1)``, at least 1.
        spread: ``s`` of the test law, >= 0; path k ends at ``target + s z_k``.
        seed: of the ``z_k``, which are shared by all targets.

    Raises:
        DataError: for targets or starts of an unusable shape, or not finite.
        SettingsError: for a negative spread or no times.
    """
    if not (np.isfinite(spread) and spread >= 0 and times >= 1):
        raise SettingsError(f"A probe needs a spread of at least 0 and at least one time, not {spread} and {times}.")
    for name, points in (("targets", targets), ("starts", starts)):
        if points.ndim != 2 or not points.numel() or not bool(torch.isfinite(points).all()):
            raise DataError(f"The {name} of a probe must be finite numbers of shape (count, D).")
    if targets.shape[1] != starts.shape[1]:
        raise DataError(f"Targets of {targets.shape[1]} dimensions do not fit starts of {starts.shape[1]}.")
    grid = torch.tensor(interior_times(times), dtype=starts.dtype)
    offsets = spread * draw_noise(len(starts), (starts.shape[1],), seed) if spread else torch.zeros_like(starts)
    ends = targets[:, None] + offsets  # (N, K, D)
    time = grid[:, None, None]
    states = (1 - time) * starts + time * ends[:, None]  # (N, T, K, D)
    flat, time = states.reshape(-1, starts.shape[1]), grid.repeat_interleave(len(starts)).repeat(len(targets))
    with torch.inference_mode():
        predicted = field(flat, time).view_as(states)
    return [
        _probe(target, spread, grid, starts, *parts)
        for target, *parts in zip(targets, ends, states, predicted, strict=True)
    ]


def target_law(target: Tensor, spread: float) -> ExactField:
    """The exact field of ``N(target, spread^2 I)``, ``target`` ``(D,)``; with spread 0 that of a point mass."""
    if not spread:
        return EmpiricalField(target[None])
    return GaussianField(target, target.new_zeros(0, len(target)), target.new_zeros(0), spread**2)


def _probe(
    target: Tensor, spread: float, grid: Tensor, starts: Tensor, ends: Tensor, states: Tensor, predicted: Tensor
) -> Probe:
    law = target_law(target, spread)
    flat, time = states.reshape(-1, len(target)), grid.repeat_interleave(len(starts))
    with torch.inference_mode():
        own = law(flat, time).view_as(states)
        # The same at every state of one time, so one state per time is enough.
        denoising = law.posterior_covariance_trace(states[:, 0], grid)
    fisher = (predicted - own).square().sum(-1)
    return Probe(*_arrays([grid, starts, ends, ends - starts, states, predicted, fisher, denoising]))


def _arrays(tensors: Iterable[Tensor]) -> list[np.ndarray]:
    return [tensor.float().numpy() for tensor in tensors]


def _plain(heat: HeatSettings) -> HeatSettings:
    return heat.replace(smoothing=0.0)
