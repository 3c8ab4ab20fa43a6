"""Metrics from counts against scikit-learn, with weights and ties."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from fmcore.evaluation.metrics import aupro_of, score_metrics_of


def weighted_case(seed: int):
    """Scores with ties, labels and whole-number weights; and the same as counts by descending score."""
    rng = np.random.default_rng(seed)
    scores, labels, weights = rng.integers(0, 9, 50), rng.random(50) < 0.3, rng.integers(0, 4, 50)
    positives, negatives = (np.bincount(8 - scores[k], weights[k], 9) for k in (labels, ~labels))
    return scores, labels, weights, positives, negatives


@pytest.mark.parametrize("seed", range(4))
def test_counts_give_what_scikit_learn_gives_with_sample_weights(seed):
    scores, labels, weights, positives, negatives = weighted_case(seed)
    expected = (
        roc_auc_score(labels, scores, sample_weight=weights),
        average_precision_score(labels, scores, sample_weight=weights),
        max(f1_score(labels, scores >= limit, sample_weight=weights) for limit in range(9)),
    )
    assert score_metrics_of(positives, negatives) == pytest.approx(expected, abs=1e-12)


def test_rows_are_measured_one_by_one():
    cases = [weighted_case(seed)[3:] for seed in range(5)]
    positives, negatives = (np.stack(part) for part in zip(*cases, strict=True))
    for of in (score_metrics_of, aupro_of):
        np.testing.assert_array_equal(np.transpose(of(positives, negatives)), [of(*case) for case in cases])


@pytest.mark.parametrize("of", [score_metrics_of, aupro_of])
def test_one_class_alone_is_nan(of):
    some, none = np.array([1.0, 2.0]), np.zeros(2)
    assert np.isnan(of(some, none)).all() and np.isnan(of(none, some)).all()


def test_aupro_is_cut_inside_a_segment():
    # Curve: (0, 0) - (0.2, 0.6) - (1, 1). At 0.3 it has reached 0.65.
    found = aupro_of(np.array([0.6, 0.4]), np.array([2.0, 8.0]))
    assert found == pytest.approx((0.2 * 0.3 + 0.1 * (0.6 + 0.65) / 2) / 0.3)
    assert aupro_of(np.array([0.6, 0.4]), np.array([2.0, 8.0]), limit=1.0) == pytest.approx(0.2 * 0.3 + 0.8 * 0.8)
