"""What held-out normal images say about a field: the threshold of the score and the normal range of maps."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from pydantic import Field

from fmcore.detector.held_out import fewest_held_out
from fmcore.mismatch.mismatch import HeatSettings, Mismatch, image_score
from fmcore.settings import Settings

RANGE_GRID = 32  # pixels per side of the stored range: enough for a place, small enough to ship


class Threshold(Settings):
    """Largest score still called normal, and what it rests on."""

    value: float
    false_alarm_rate: float = Field(description="expected share of normal images above the threshold, at most")
    held_out: int = Field(description="held-out normal images it was taken from")


@dataclass(frozen=True)
class NormalRange:
    """Where the path-aggregated mismatch of normal images lies, by time and place.

    ``lower`` and ``upper`` are the 5 % and 95 % quantiles ``(T, G, G)`` over held-out images and over the
    pixels of a cell of a G x G grid, unweighted and unsmoothed, at the ``times`` ``(T,)``.
    """

    times: np.ndarray
    lower: np.ndarray
    upper: np.ndarray

    def scale(self, exponent: float) -> float:
        """Upper end of the colour scale of a model's maps, one for all times and images: three times what the
        weighted upper values reach at nine places in ten (not the largest, or one odd place darkens all)."""
        weights = (self.times**exponent)[:, None, None]
        return float(3 * np.quantile((weights * self.upper).mean(0), 0.9))


@dataclass(frozen=True)
class Calibration:
    """Held-out scores ``(n,)``, the threshold or the reason why there is none, and the normal range."""

    scores: np.ndarray
    threshold: Threshold | None
    reason: str
    normal_range: NormalRange


def calibrate(mismatches: list[Mismatch], heat: HeatSettings, false_alarm_rate: float) -> Calibration:
    """From the mismatch of held-out normal images (at least one)."""
    scores = np.array([image_score(m.heatmap(heat)) for m in mismatches])
    threshold, reason = conformal_threshold(scores, false_alarm_rate)
    return Calibration(scores, threshold, reason, _normal_range(mismatches, heat))


def conformal_threshold(scores: np.ndarray, false_alarm_rate: float) -> tuple[Threshold | None, str]:
    """The ceil((n + 1)(1 - a))-th smallest of n held-out scores.

    For exchangeable images a new normal one exceeds it with probability at most ``a`` (split conformal
    prediction). That order statistic exists only for n >= 1 / a - 1; with fewer images there is no such
    threshold, and the second value says so.
    """
    count = len(scores)
    rank = math.ceil((count + 1) * (1 - false_alarm_rate) - 1e-9)
    if rank > count:
        return None, (
            f"No threshold: {count} held-out normal images are too few for a false-alarm rate of "
            f"{false_alarm_rate:.0%}; it takes {fewest_held_out(false_alarm_rate)}."
        )
    value = float(np.sort(scores)[rank - 1])
    return Threshold(value=value, false_alarm_rate=false_alarm_rate, held_out=count), ""


def _normal_range(mismatches: list[Mismatch], heat: HeatSettings) -> NormalRange:
    stack = np.stack([m.per_time(heat) for m in mismatches])  # (n, T, H, W)
    times, height, width = stack.shape[1:]
    grid = min(RANGE_GRID, height, width)
    rows = np.array_split(np.arange(height), grid)
    columns = np.array_split(np.arange(width), grid)
    lower, upper = np.empty((2, times, grid, grid), dtype=np.float32)
    for i, row in enumerate(rows):
        for j, column in enumerate(columns):
            cell = stack[:, :, row[0] : row[-1] + 1, column[0] : column[-1] + 1]
            values = np.moveaxis(cell, 1, 0).reshape(times, -1)
            lower[:, i, j], upper[:, i, j] = np.quantile(values, [0.05, 0.95], axis=1)
    return NormalRange(mismatches[0].times, lower, upper)
