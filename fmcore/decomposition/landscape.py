"""The plane as test images: every point of a grid scored on the same noise, and single points looked at closely.

A landscape is a `Mismatch` whose "pixels" are the points of a `PlaneGrid`: time and heat maps come from the same code
as those of an image. `bias_variance` says in two numbers per time what one sees in it:

- bias: at small t the states are mostly noise, and points far from the data pass for normal: ``basin`` is the share
  of the plane scored below what 95 % of normal points stay below;
- variance: at large t the score of a point hangs on its few draws: ``spread`` is the standard deviation over the mean
  of a normal point's score when the draws are repeated.

A `Probe` splits the mismatch of a point under the law ``q = N(target, s^2 I)`` into the denoising and the Fisher term
(`fmcore.decomposition.sampled`) of every state on its paths. The denoising term ``tr Cov_q(u | x_t)`` is the same at
all states of one time, zero for s = 0, so that the terms still add up when aggregated over paths."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from fmcore.fields.field import VelocityField
from fmcore.fields.gaussian import posterior_spread, velocity_gain
from fmcore.fields.mixture import MixtureField
from fmcore.fields.plane import PlaneMixture
from fmcore.mismatch import HeatSettings, Mismatch, MismatchStep, PathSettings, gap
from fmcore.path import draw_noise, interior_times
from fmcore.settings import Settings

NORMAL_SHARE = 0.95  # of normal points that stay below the level of a basin
CHUNK = 4096  # states per call of the field


class PlaneGrid(Settings):
    """A square grid of ``side * side`` points over a window of the plane, both edges included."""

    left: float = -7.5
    right: float = 7.5
    bottom: float = -4.5
    top: float = 10.5
    side: int = Field(60, ge=2, le=512, description="points along each axis")

    def points(self) -> Tensor:
        """``(side, side, 2)`` float32: row 0 is the top of the window, column 0 its left edge, as in a picture."""
        x = torch.linspace(self.left, self.right, self.side)
        y = torch.linspace(self.top, self.bottom, self.side)
        return torch.stack(torch.meshgrid(x, y, indexing="xy"), -1)


def point_steps(
    field: VelocityField, points: Tensor, settings: PathSettings, *, noise: Tensor | None = None
) -> Iterator[MismatchStep]:
    """Mismatch (Eq. 2) of ``points`` ``(N, D)`` or ``(H, W, D)``, each scored on its own, at one time after the other:
    ``paths`` of a step is ``(K, 1, N)`` or ``(K, H, W)``.

    All paths start at ``noise`` ``(K, D)``; None: at draws of the ``settings``, by `draw_noise`."""
    points = points[None] if points.ndim == 2 else points
    dimension, flat = points.shape[-1], points.flatten(0, 1)
    if noise is None:
        noise = draw_noise(settings.paths, (dimension,), settings.noise_seed)
    if isinstance(field, MixtureField) and dimension == 2:
        field = PlaneMixture(field)  # the same velocities, several times faster
    for index, t in enumerate(interior_times(settings.times)):
        # Around the field calls only: a generator must not hold inference mode while it waits.
        with torch.inference_mode():
            parts = [gap(field, y, x0, t).square().sum(-1) for x0 in noise.to(flat) for y in flat.split(CHUNK)]
        yield MismatchStep(index, t, torch.cat(parts).view(len(noise), *points.shape[:-1]).numpy())


def landscape(
    field: VelocityField, grid: PlaneGrid, settings: PathSettings, *, noise: Tensor | None = None
) -> Mismatch:
    """`point_steps` of the whole grid, maps ``(T, K, side, side)``; seen best with the heat setting ``smoothing=0``."""
    return Mismatch.collect(point_steps(field, grid.points(), settings, noise=noise))


class BiasVariance(NamedTuple):
    """Basin and spread (root mean square over points) at each time ``(T,)``, and of the t^r-weighted mean up to it."""

    times: np.ndarray
    basin: np.ndarray
    running_basin: np.ndarray
    spread: np.ndarray
    running_spread: np.ndarray


def bias_variance(
    field: VelocityField,
    scores: Mismatch,
    normal: Tensor,
    settings: PathSettings,
    heat: HeatSettings,
    *,
    noise: Tensor | None = None,
    repeats: int = 12,
    repeated_points: int = 24,
) -> BiasVariance:
    """Basin of ``scores``, the `landscape` of the same field, settings and noise, and spread over ``repeats`` sets of K
    draws. ``normal`` ``(N, 2)`` are points of the normal law that the field has not been fitted to, the first
    ``repeated_points`` of them for the spread."""
    heat = heat.replace(smoothing=0.0)
    known = Mismatch.collect(point_steps(field, normal, settings, noise=noise))
    count = scores.maps.shape[1]  # as many draws in each repeat as the landscape was made with
    draws = draw_noise(count * repeats, (normal.shape[-1],), settings.noise_seed + 1)
    again = Mismatch.collect(point_steps(field, normal[:repeated_points], settings, noise=draws))
    # (T, repeats * K, 1, N) -> repeats as rows: each repeat aggregates its own K draws only.
    maps = again.maps.reshape(len(again.times), repeats, count, -1).swapaxes(1, 2)
    again = Mismatch(again.times, np.ascontiguousarray(maps))
    basins, spreads = [], []
    for way in (Mismatch.per_time, Mismatch.running):
        level = np.quantile(way(known, heat), NORMAL_SHARE, axis=(1, 2), keepdims=True)
        basins.append((way(scores, heat) <= level).mean(axis=(1, 2)))
        repeated = way(again, heat)  # (T, repeats, N)
        mean = np.maximum(repeated.mean(axis=1), np.finfo(np.float32).tiny)
        spreads.append(np.sqrt(np.square(repeated.std(axis=1, ddof=1) / mean).mean(axis=1)))
    return BiasVariance(scores.times, *basins, *spreads)


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
    """One of each of the targets ``(N, D)`` along K paths from the ``starts`` ``(K, D)``; the field is called once for
    all. ``spread`` is the test law's s: path k ends at ``target + s z_k``, the ``z_k`` of ``seed`` shared by all."""
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
