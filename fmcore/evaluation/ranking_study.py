"""What it buys to give every image the same noise (common random numbers), as `mismatch_steps` does.

Two images that share their noise share part of their error, and what they share cancels from their ranking. The
repeats of a study already hold both cases: row r of ``scores`` is one set of noise for all images, and as rows
are independent, taking another row for each image is noise of its own for each.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fmcore.errors import DataError
from fmcore.evaluation.estimator_study import Estimate, Gain, jackknife
from fmcore.evaluation.metrics import auroc


@dataclass(frozen=True)
class RankingGain:
    """Shared noise against noise of its own for each image.

    ``gain`` compares the variance of ``log score(defective) - log score(good)``, averaged over all such pairs: own
    noise over shared noise. ``auroc_spread_shared`` and ``auroc_spread_own`` are the standard deviations of the
    AUROC over repeats, ``auroc_shared`` and ``auroc_own`` its means.
    """

    gain: Gain
    auroc_shared: float
    auroc_own: float
    auroc_spread_shared: float
    auroc_spread_own: float


def ranking_gain(estimate: Estimate, labels: np.ndarray, *, shuffles: int = 8, seed: int = 0) -> RankingGain:
    """From the scores of an estimate of labelled images; ``shuffles`` reorderings of the repeats stand for own noise.

    Raises:
        DataError: unless there is an image of either class, a label for each, and three repeats.
    """
    labels = np.asarray(labels, dtype=bool)
    if labels.shape != estimate.exact.shape or labels.all() or not labels.any():
        raise DataError("A ranking needs one label per image, and at least one good and one defective image.")
    if len(estimate.scores) < 3:
        raise DataError("A ranking needs at least three repeats, or its error can't be told.")
    logs = np.log(np.maximum(estimate.scores, np.finfo(np.float64).tiny))
    rows = np.arange(len(logs))
    left_out = np.array([_ratio(logs[rows != r], labels) for r in rows])
    gain = Gain(_ratio(logs, labels), jackknife(left_out))
    rng = np.random.default_rng(seed)
    shared = [auroc(row, labels) for row in estimate.scores]
    own = [auroc(row, labels) for _ in range(shuffles) for row in rng.permuted(estimate.scores, axis=0)]
    return RankingGain(
        gain, float(np.mean(shared)), float(np.mean(own)), float(np.std(shared, ddof=1)), float(np.std(own, ddof=1))
    )


def _ratio(logs: np.ndarray, labels: np.ndarray) -> float:
    """Mean over pairs of var_i + var_j, over the mean of var_i + var_j - 2 cov_ij; the mean covariance of all pairs
    is the covariance of the two class means."""
    variances = logs.var(0, ddof=1)
    own = variances[labels].mean() + variances[~labels].mean()
    covariance = np.cov(logs[:, labels].mean(1), logs[:, ~labels].mean(1))[0, 1]
    return float(own / (own - 2 * covariance))
