"""One point of a space looked at closely: its paths, the velocities along them, and the mismatch's two terms.

The test law is ``q = N(target, s^2 I)``, whose field ``v_q`` is known exactly, so at every state on a path the expected
mismatch splits exactly (see `fmcore.decomposition.sampled`), whatever the field ``v``:

    E_q[||v - u||^2 | x_t]  =  tr Cov_q(u | x_t)  +  ||v(x_t, t) - v_q(x_t, t)||^2
                               denoising             Fisher, for exact v

With ``s = 0``, a single image, the denoising term is zero and the Fisher term the path's own mismatch. A Gaussian's
denoising term is the same at all states of one time, so that the terms still add up when aggregated over paths."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from fmcore.errors import DataError, SettingsError
from fmcore.fields.field import VelocityField
from fmcore.fields.gaussian import posterior_spread, velocity_gain
from fmcore.mismatch import HeatSettings, Mismatch
from fmcore.path import draw_noise, interior_times


class Probe(NamedTuple):
    """K paths to ``ends`` ``(K, D)`` and what was found on them at T ``times``, float32: velocities ``geometric``
    ``(K, D)``, ``states`` and ``predicted`` velocities ``(T, K, D)``, ``fisher`` ``(T, K)`` and ``denoising`` ``(T,)``,
    whose sum is the expected mismatch of each path."""

    times: np.ndarray
    ends: np.ndarray
    geometric: np.ndarray
    states: np.ndarray
    predicted: np.ndarray
    fisher: np.ndarray
    denoising: np.ndarray

    def fisher_per_time(self, heat: HeatSettings) -> np.ndarray:
        """Fisher term aggregated over paths, ``(T,)``; with ``denoising`` it makes the mismatch per time."""
        return Mismatch(self.times, self.fisher[:, :, None, None]).per_time(heat)[:, 0, 0]

    def running(self, heat: HeatSettings) -> np.ndarray:
        """The t^r-weighted mean of the mismatch up to each time, ``(T,)``; the last is the point's score."""
        mismatch = Mismatch(self.times, (self.fisher + self.denoising[:, None])[:, :, None, None])
        return mismatch.running(heat.replace(smoothing=0.0))[:, 0, 0]


def probe(
    field: VelocityField, targets: Tensor, starts: Tensor, *, times: int = 12, spread: float = 0.0, seed: int = 0
) -> list[Probe]:
    """Look at each of the targets ``(N, D)`` along K paths from the ``starts`` ``(K, D)``; the field is called once for
    all of them. ``spread`` is the test law's s: path k ends at ``target + s z_k``, the ``z_k`` of ``seed`` shared by
    all targets.

    Raises `DataError` for targets or starts that are not finite or don't fit, and `SettingsError` for a spread below 0
    or fewer than one of the T ``times``."""
    if not (np.isfinite(spread) and spread >= 0 and times >= 1):
        raise SettingsError(f"A probe needs a spread of at least 0 and at least one time, not {spread} and {times}.")
    for name, points in (("targets", targets), ("starts", starts)):
        if points.ndim != 2 or not points.numel() or not bool(points.isfinite().all()):
            raise DataError(f"The {name} of a probe must be finite numbers of shape (count, D).")
    if targets.shape[1] != starts.shape[1]:
        raise DataError(f"Targets of {targets.shape[1]} dimensions do not fit starts of {starts.shape[1]}.")
    count, dimension = starts.shape
    grid, variance = torch.tensor(interior_times(times), dtype=starts.dtype), starts.new_tensor(spread**2)
    t, centre = grid[:, None, None], targets[:, None, None]
    ends = targets[:, None] + spread * draw_noise(count, (dimension,), seed)  # (N, K, D)
    states = (1 - t) * starts + t * ends[:, None]  # (N, T, K, D)
    with torch.inference_mode():
        predicted = field(states.flatten(0, 2), grid.repeat_interleave(count).repeat(len(targets))).view_as(states)
    of_law = centre + velocity_gain(variance, t) * (states - t * centre)
    fisher, denoising = (predicted - of_law).square().sum(-1), dimension * posterior_spread(variance, grid)
    found = zip(ends, ends - starts, states, predicted, fisher, strict=True)
    return [Probe(*(part.float().numpy() for part in (grid, *parts, denoising))) for parts in found]
