"""The score as a picture: every point of a plane scored as if it were the test image, on the same noise draws.

A landscape is a `Mismatch` whose "pixels" are the points of a `PlaneGrid`: time and heat maps come from the same code
as those of an image. `bias_variance` says in two numbers per time what one sees in it:

- bias: at small t the states are mostly noise, and points far from the data pass for normal. It is measured as the
  share ``basin`` of the plane scored below what 95 % of normal points stay below;
- variance: at large t the score of a point hangs on the few draws it was measured with. It is measured as ``spread``,
  standard deviation over mean of a normal point's score when the draws are repeated."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor

from fmcore.errors import DataError
from fmcore.fields.field import VelocityField
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

    @model_validator(mode="after")
    def _ordered(self) -> PlaneGrid:
        if not (self.left < self.right and self.bottom < self.top):
            raise ValueError("the window must have left < right and bottom < top")
        return self

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

    All paths start at ``noise`` ``(K, D)``; None: at ``settings.paths`` draws of ``settings.noise_seed``. Raises, with
    the first step, `DataError` for points or noise of an unusable shape, not finite, or no path."""
    points = points[None] if points.ndim == 2 else points
    if points.ndim != 3 or not points.numel() or not bool(points.isfinite().all()):
        raise DataError("Points to score must be finite numbers of shape (N, D) or (H, W, D).")
    dimension, flat = points.shape[-1], points.flatten(0, 1)
    if noise is None and settings.paths:
        noise = draw_noise(settings.paths, (dimension,), settings.noise_seed)
    if noise is None or noise.shape[1:] != (dimension,) or not len(noise) or not bool(noise.isfinite().all()):
        raise DataError(f"Noise starts must be finite numbers of shape (K, {dimension}), K at least 1.")
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
    ``repeated_points`` of them for the spread. Raises `DataError` for N < 20 or fewer than 2 repeats."""
    if len(normal) < 20 or repeats < 2:
        raise DataError("Bias and variance need at least 20 normal points and 2 repeats of the noise.")
    heat = heat.replace(smoothing=0.0)
    known = Mismatch.collect(point_steps(field, normal, settings, noise=noise))
    count = scores.maps.shape[1]  # as many draws in each repeat as the landscape was made with
    draws = draw_noise(count * repeats, (normal.shape[-1],), settings.noise_seed + 1)
    again = Mismatch.collect(point_steps(field, normal[:repeated_points], settings, noise=draws))
    # (T, repeats * K, 1, N) -> repeats as rows: each repeat aggregates its own K draws only.
    maps = again.maps.reshape(len(again.times), repeats, count, -1).swapaxes(1, 2)
    again = Mismatch(again.times, np.ascontiguousarray(maps))
    ways = (Mismatch.per_time, Mismatch.running)
    basins = (_basin(way(scores, heat), way(known, heat)) for way in ways)
    return BiasVariance(scores.times, *basins, *(_spread(way(again, heat)) for way in ways))


def _basin(maps: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Share of each map ``(T, H, W)`` at or below the level that `NORMAL_SHARE` of ``known`` ``(T, 1, N)`` reach."""
    return (maps <= np.quantile(known, NORMAL_SHARE, axis=(1, 2), keepdims=True)).mean(axis=(1, 2))


def _spread(scores: np.ndarray) -> np.ndarray:
    """Relative standard deviation over the repeats of ``(T, repeats, N)``, root mean square over the points."""
    mean = np.maximum(scores.mean(axis=1), np.finfo(np.float32).tiny)
    return np.sqrt(np.square(scores.std(axis=1, ddof=1) / mean).mean(axis=1))
