"""What held-out normal images say about a field: the threshold of the score, outliers, and the normal range of maps."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from pydantic import BaseModel, ConfigDict

from fmcore.mismatch import HeatSettings, Mismatch, image_score

RANGE_GRID = 32  # cells per side of the stored range: enough for a place, small enough to ship
USEFUL_RATE = 0.2  # a threshold that more good images than that exceed is not worth suggesting
UNLIKE = 6.0  # robust standard deviations of the logarithm from which a normal image's score is an outlier


class Threshold(BaseModel):
    """Largest score still called normal; at most the share ``false_alarm_rate`` of new normal images is expected above
    it, judged by ``held_out`` normal images. ``origin`` says in a few words where the value comes from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    value: float
    false_alarm_rate: float
    held_out: int
    origin: str = "from good images held out in the fit"


@dataclass(frozen=True)
class NormalRange:
    """Where the path-aggregated mismatch of normal images lies, by time and place.

    ``lower`` and ``upper`` are the 5 % and 95 % quantiles ``(T, G, G')`` over held-out images and over the
    pixels of a cell of a G x G' grid, unweighted and unsmoothed, at the ``times`` ``(T,)``.
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
    """Held-out scores ``(n,)``, the threshold or the reason why there is none, the numbers of images that are unlike
    the others (they do not count for the threshold), and the normal range."""

    scores: np.ndarray
    threshold: Threshold | None
    reason: str
    outliers: tuple[int, ...]
    normal_range: NormalRange


def calibrate(mismatches: list[Mismatch], heat: HeatSettings, false_alarm_rate: float) -> Calibration:
    """From the mismatch of held-out normal images (at least one)."""
    scores = np.array([image_score(m.heatmap(heat)) for m in mismatches])
    outliers = find_outliers(scores)
    threshold, reason = conformal_threshold(np.delete(scores, outliers), false_alarm_rate)
    kept = [m for number, m in enumerate(mismatches) if number not in outliers]
    return Calibration(scores, threshold, reason, outliers, _normal_range(kept, heat))


def find_outliers(scores: np.ndarray) -> tuple[int, ...]:
    """The numbers of scores far above the others: more than `UNLIKE` robust standard deviations (1.48 times the median
    absolute deviation) of the logarithm above its median, and more than twice the median score."""
    logarithms = np.log(np.maximum(scores, 1e-12))
    middle = np.median(logarithms)
    spread = max(1.4826 * float(np.median(np.abs(logarithms - middle))), 0.02)
    far = (logarithms - middle > UNLIKE * spread) & (logarithms - middle > math.log(2))
    return tuple(int(number) for number in np.flatnonzero(far)) if len(scores) >= 5 else ()


def conformal_threshold(scores: np.ndarray, false_alarm_rate: float) -> tuple[Threshold | None, str]:
    """The ceil((n + 1)(1 - a))-th smallest of n held-out scores.

    For exchangeable images a new normal one exceeds it with probability at most ``a`` (split conformal prediction;
    approximately so for cross-fitted scores, each from a field that saw the other folds). That order statistic exists
    only for n >= 1 / a - 1; with fewer images there is no such threshold, and the second value says so.
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


def fewest_held_out(false_alarm_rate: float) -> int:
    """The fewest held-out scores that have a threshold with this rate of false alarms."""
    return math.ceil(1 / false_alarm_rate - 1 - 1e-9)


def held_out_count(count: int, false_alarm_rate: float) -> int:
    """How many of ``count`` normal images a trained field does not see: a tenth, or what the threshold needs where that
    leaves two thirds to train on; never fewer than one."""
    needed = fewest_held_out(false_alarm_rate)
    return max(1, round(count / 10), needed if count >= 3 * needed else 0)


def why_no_threshold(count: int, false_alarm_rate: float, trained: bool) -> str:
    """What keeps ``count`` normal images of a category from giving a threshold, in a sentence; "" if nothing does.
    Known before a long training, so told before it."""
    needed = fewest_held_out(false_alarm_rate)
    if (held_out_count(count, false_alarm_rate) if trained else count) >= needed:
        return ""
    usable = count // 3 if trained else count
    least = math.ceil(100 / (usable + 1)) / 100
    enough = f"; they are enough for --false-alarm-rate {least:g}" if usable and least <= USEFUL_RATE else ""
    return (
        f"{count} good images will give no threshold, so no verdicts: a false-alarm rate of {false_alarm_rate:.0%} "
        f"takes {needed * (3 if trained else 1)}{enough}."
    )


def _normal_range(mismatches: list[Mismatch], heat: HeatSettings) -> NormalRange:
    stack = np.stack([m.per_time(heat) for m in mismatches])  # (n, T, H, W)
    times, height, width = stack.shape[1:]
    rows = np.array_split(np.arange(height), min(RANGE_GRID, height))
    columns = np.array_split(np.arange(width), min(RANGE_GRID, width))
    lower, upper = np.empty((2, times, len(rows), len(columns)), dtype=np.float32)
    for i, row in enumerate(rows):
        for j, column in enumerate(columns):
            cell = stack[:, :, row[0] : row[-1] + 1, column[0] : column[-1] + 1]
            values = np.moveaxis(cell, 1, 0).reshape(times, -1)
            lower[:, i, j], upper[:, i, j] = np.quantile(values, [0.05, 0.95], axis=1)
    return NormalRange(mismatches[0].times, lower, upper)
