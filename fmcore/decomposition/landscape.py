"""The score as a picture: every point of a plane scored as if it were the test image, on the same noise draws.

A landscape is a `Mismatch` whose "pixels" are the points of a `PlaneGrid`, so the map at one time, the running
map and the heat map of Eqs. 3-4 come from the same code as those of an image. `bias_variance` says in two
numbers per time what one sees in it:

- bias: at small t the states are mostly noise, and points far from the data pass for normal. It is measured
  as the share of the plane scored below what 95 % of normal points stay below;
- variance: at large t the score of a point hangs on the few draws it was measured with. It is measured as
  standard deviation over mean of a normal point's score when the draws are repeated.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor

from fmcore.errors import DataError
from fmcore.fields.mixture import MixtureField
from fmcore.fields.plane import PlaneMixture
from fmcore.mismatch.mismatch import HeatSettings, Mismatch, MismatchStep, PathSettings, VelocityField
from fmcore.path import draw_noise, interior_times, interpolate
from fmcore.settings import Settings

NORMAL_SHARE = 0.95  # of normal points that stay below the level of a basin


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
        return torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], -1)


def point_steps(
    field: VelocityField, points: Tensor, settings: PathSettings, *, noise: Tensor | None = None, chunk: int = 4096
) -> Iterator[MismatchStep]:
    """Mismatch of many points at once (Eq. 2), one time after the other, all on the same noise draws.

    Args:
        field: any ``(x, t) -> v`` on states ``(B, D)``.
        points: ``(..., D)`` finite, in any arrangement of one or two leading axes; each is scored on its own.
        noise: ``(K, D)`` starts of the paths; None draws ``settings.paths`` of them from ``settings.noise_seed``.
        chunk: states per call of the field; bounds the memory beside the result.

    Yields:
        `MismatchStep` for each of the T interior times, ``paths`` ``(K, H, W)`` for points ``(H, W, D)`` and
        ``(K, 1, N)`` for points ``(N, D)``.

    Raises:
        DataError: for points or noise of an unusable shape, or not finite.
    """
    points = points[None] if points.ndim == 2 else points
    if points.ndim != 3 or not points.numel() or not bool(torch.isfinite(points).all()):
        raise DataError("Points to score must be finite numbers of shape (N, D) or (H, W, D).")
    dimension = points.shape[-1]
    starts = draw_noise(settings.paths, (dimension,), settings.noise_seed) if noise is None else noise
    if starts.ndim != 2 or starts.shape[1] != dimension or not len(starts) or not bool(torch.isfinite(starts).all()):
        raise DataError(f"Noise starts must be finite numbers of shape (K, {dimension}), K at least 1.")
    return _steps(field, points, starts.to(points), settings, chunk)


def landscape(
    field: VelocityField, grid: PlaneGrid, settings: PathSettings, *, noise: Tensor | None = None, chunk: int = 4096
) -> Mismatch:
    """Score landscape of a field on ``(B, 2)`` over the grid: a `Mismatch` with maps ``(T, K, side, side)``.

    ``per_time``, ``weighted``, ``running`` and ``heatmap`` of the result give the landscape at one time, its
    contribution ``t^r D_t``, the average so far and the combined one; pass settings with ``smoothing=0``.

    Raises:
        DataError: for noise of an unusable shape, or not finite.
    """
    return Mismatch.collect(point_steps(field, grid.points(), settings, noise=noise, chunk=chunk))


@dataclass(frozen=True)
class BiasVariance:
    """Bias and variance at each time, all ``(T,)``; ``running_*`` are those of the t^r-weighted average so far.

    ``basin`` is the share of the window in [0, 1] that passes for normal, ``spread`` the standard deviation of a
    normal point's score over repeated draws, divided by its mean, averaged over the points (root mean square).
    """

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
    """Width of the low-mismatch basin of a landscape, and spread of the score over repeated noise.

    Args:
        scores: the `landscape` of the same field, settings and noise.
        normal: ``(N, 2)`` points of the normal law that the field has not been fitted to, N >= 20.
        noise: as given to `landscape`.
        repeats: sets of ``K`` draws, at least 2, seeded apart from ``settings.noise_seed``.
        repeated_points: the first so many of ``normal`` measure the spread.

    Raises:
        DataError: for fewer than 20 normal points or fewer than 2 repeats.
    """
    if len(normal) < 20 or repeats < 2:
        raise DataError("Bias and variance need at least 20 normal points and 2 repeats of the noise.")
    heat = heat.replace(smoothing=0.0)
    known = Mismatch.collect(point_steps(field, normal, settings, noise=noise))
    count = scores.maps.shape[1]  # as many draws in each repeat as the landscape was made with
    draws = draw_noise(count * repeats, (normal.shape[-1],), settings.noise_seed + 1)
    again = Mismatch.collect(point_steps(field, normal[:repeated_points], settings, noise=draws))
    # (T, repeats * K, 1, N) -> repeats as rows: each repeat aggregates its own K draws only.
    times, _, _, points = again.maps.shape
    maps = again.maps.reshape(times, repeats, count, points).transpose(0, 2, 1, 3)
    again = Mismatch(again.times, np.ascontiguousarray(maps))
    return BiasVariance(
        scores.times,
        _basin(scores.per_time(heat), known.per_time(heat)),
        _basin(scores.running(heat), known.running(heat)),
        _spread(again.per_time(heat)),
        _spread(again.running(heat)),
    )


def _steps(
    field: VelocityField, points: Tensor, starts: Tensor, settings: PathSettings, chunk: int
) -> Iterator[MismatchStep]:
    flat = points.reshape(-1, points.shape[-1])
    if isinstance(field, MixtureField) and flat.shape[1] == 2:
        field = PlaneMixture(field)  # the same velocities, several times faster
    for index, t in enumerate(interior_times(settings.times)):
        gaps = torch.empty(len(starts), len(flat))
        # Around the field calls only: a generator must not hold inference mode while it waits.
        with torch.inference_mode():
            for k, x0 in enumerate(starts):
                for first in range(0, len(flat), chunk):
                    y = flat[first : first + chunk]
                    gap = field(interpolate(x0, y, t), t) - (y - x0)
                    gaps[k, first : first + chunk] = gap.square().sum(-1)
        yield MismatchStep(index, t, gaps.view(len(starts), *points.shape[:-1]).numpy())


def _basin(maps: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Share of each map ``(T, H, W)`` at or below the level that `NORMAL_SHARE` of ``known`` ``(T, 1, N)`` reach."""
    level = np.quantile(known[:, 0], NORMAL_SHARE, axis=1)
    return (maps <= level[:, None, None]).mean(axis=(1, 2))


def _spread(scores: np.ndarray) -> np.ndarray:
    """Relative standard deviation over the repeats of ``(T, repeats, N)``, root mean square over the points."""
    mean = np.maximum(scores.mean(axis=1), np.finfo(np.float32).tiny)
    return np.sqrt(np.square(scores.std(axis=1, ddof=1) / mean).mean(axis=1))
