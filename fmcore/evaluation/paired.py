"""Paired comparison of two detectors on the same test images.

Both see the same easy and the same hard images, so the interval of the difference is far narrower than two intervals
side by side suggest: each bootstrap draw of images is given to both.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from fmcore.evaluation.bootstrap import Interval, draw_images, enough


@dataclass(frozen=True)
class PairedScores:
    """Scores of two detectors on the images of one test set: ``first`` ``(S, N)`` and ``second`` ``(S', N)``, a row
    per seed, higher where more anomalous; ``defective`` ``(N,)`` bool, with both labels."""

    defective: np.ndarray
    first: np.ndarray
    second: np.ndarray


@dataclass(frozen=True)
class Difference:
    """``value`` and its 95 % bootstrap interval over images (None where a test set has a single image of a label)."""

    value: float
    interval: Interval


def auroc_difference(sets: Iterable[PairedScores], *, draws: int = 4000, seed: int = 0) -> Difference:
    """Image AUROC of the first detector minus that of the second, mean over seeds and test sets, and its interval.

    AUROC is the share of pairs of a good and a defective image that are ranked rightly (Mann-Whitney), so a draw of
    images only weights a matrix of pairs. Good and defective images are drawn apart, test sets too; seeds are not
    drawn: the interval says how the difference moves with the images.
    """
    values, moved, known = [], np.zeros(draws), draws > 0
    for index, item in enumerate(sets):
        gain = _ranked(item.first, item.defective) - _ranked(item.second, item.defective)
        values.append(float(gain.mean()))
        counts = draw_images(item.defective, draws, seed + index)
        good, bad = counts[:, ~item.defective], counts[:, item.defective]
        moved += ((good @ gain) * bad).sum(1) / gain.size
        known = known and enough(item.defective)
    interval = [float(edge) for edge in np.percentile(moved / len(values), [2.5, 97.5])] if known else None
    return Difference(float(np.mean(values)), interval)


def _ranked(scores: np.ndarray, defective: np.ndarray) -> np.ndarray:
    """Share of seeds in which a defective image is above a good one, ties half: ``(good images, defective ones)``."""
    above = scores[:, None, defective] - scores[:, ~defective, None]
    return (0.5 * (1 + np.sign(above))).mean(0)
