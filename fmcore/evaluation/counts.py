"""Detection metrics from counts: how many positives and negatives have a score in each bin.

Every function takes arrays ``(..., B)`` whose last axis runs over bins of **descending** score, counts of any
weight, and returns ``(...)``; scores in one bin are ties. NaN marks what is undefined. One code for single
figures and for thousands of bootstrap draws.
"""

from __future__ import annotations

import numpy as np


def auroc_of(positives: np.ndarray, negatives: np.ndarray) -> np.ndarray:
    """Probability that a positive scores above a negative, ties counted half."""
    above = np.cumsum(positives, axis=-1, dtype=np.float64) - positives / 2
    return _ratio((above * negatives).sum(-1), _total(positives) * _total(negatives))


def average_precision_of(positives: np.ndarray, negatives: np.ndarray) -> np.ndarray:
    """Sum over bins of precision times the recall gained there."""
    found = np.cumsum(positives, axis=-1, dtype=np.float64)
    flagged = found + np.cumsum(negatives, axis=-1, dtype=np.float64)
    total = _ratio((positives * found / np.maximum(flagged, 1e-300)).sum(-1), _total(positives))
    return np.where(_total(negatives) > 0, total, np.nan)


def f1_max_of(positives: np.ndarray, negatives: np.ndarray) -> np.ndarray:
    """Largest ``2 TP / (TP + FP + P)`` over thresholds between bins."""
    found = np.cumsum(positives, axis=-1, dtype=np.float64)
    flagged = found + np.cumsum(negatives, axis=-1, dtype=np.float64)
    total = _total(positives)
    best = (2 * found / np.maximum(flagged + total[..., None], 1e-300)).max(-1)
    return np.where((total > 0) & (_total(negatives) > 0), best, np.nan)


def aupro_of(overlaps: np.ndarray, negatives: np.ndarray, limit: float = 0.3) -> np.ndarray:
    """Area under the curve of per-region overlap against false-positive rate, from 0 to ``limit``, divided
    by ``limit``: 1 is perfect, ``limit / 2`` is chance.

    Args:
        overlaps: sum over regions of the share of the region's pixels that score in each bin (any overall
            factor cancels).
        negatives: counts of the pixels outside all regions.
        limit: the curve is interpolated linearly at exactly this rate.
    """
    overlap = _ratio(np.cumsum(overlaps, axis=-1, dtype=np.float64), _total(overlaps)[..., None])
    rate = _ratio(np.cumsum(negatives, axis=-1, dtype=np.float64), _total(negatives)[..., None])
    start = np.zeros_like(overlap[..., :1])
    overlap, rate = np.concatenate([start, overlap], -1), np.concatenate([start, rate], -1)
    width = np.diff(rate)
    # Each segment is cut where the rate reaches the limit; segments beyond it are cut to nothing.
    share = np.clip((limit - rate[..., :-1]) / np.maximum(width, 1e-300), 0, 1)
    height = overlap[..., :-1] + np.diff(overlap) * share / 2
    return (width * share * height).sum(-1) / limit


def _total(counts: np.ndarray) -> np.ndarray:
    """Total over bins, float64."""
    return counts.sum(-1, dtype=np.float64)


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(below > 0, above / below, np.nan)
