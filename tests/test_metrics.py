"""Metrics against brute force."""

from __future__ import annotations

import numpy as np
import pytest

from fmcore.metrics import auroc, average_precision


def pair_counting(scores: np.ndarray, labels: np.ndarray) -> float:
    gaps = scores[labels][:, None] - scores[~labels][None, :]
    return float(((gaps > 0) + 0.5 * (gaps == 0)).mean())


def stepwise_precision(scores: np.ndarray, labels: np.ndarray) -> float:
    """Sum over distinct thresholds of precision times the recall gained."""
    total, reached = 0.0, 0.0
    for threshold in np.unique(scores)[::-1]:
        flagged = scores >= threshold
        recall = (flagged & labels).sum() / labels.sum()
        total += (flagged & labels).sum() / flagged.sum() * (recall - reached)
        reached = recall
    return float(total)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("scale", [1.0, 1e6])
def test_both_metrics_count_ties_as_brute_force_does(seed, scale):
    rng = np.random.default_rng(seed)
    scores = scale * rng.integers(0, 8, 60) - 3.0  # many ties, values far outside [0, 1]
    labels = rng.random(60) < 0.3
    assert auroc(scores, labels) == pytest.approx(pair_counting(scores, labels), abs=1e-6)
    assert average_precision(scores, labels) == pytest.approx(stepwise_precision(scores, labels), abs=1e-6)


def test_large_scores_that_differ_little_are_not_ties():
    scores, labels = np.array([1000.0, 1000.001, 1000.002, 1000.003]), np.array([False, False, True, True])
    assert auroc(scores, labels) == 1.0


def test_maps_are_compared_pixel_by_pixel():
    rng = np.random.default_rng(0)
    maps, masks = rng.random((3, 5, 5)), rng.random((3, 5, 5)) < 0.2
    assert auroc(maps, masks) == pytest.approx(pair_counting(maps.ravel(), masks.ravel()), abs=1e-6)


def test_a_constant_detector_gets_one_half_and_the_prevalence():
    labels = np.arange(40) < 2
    assert auroc(np.full(40, 7.0), labels) == pytest.approx(0.5)
    assert average_precision(np.full(40, 7.0), labels) == pytest.approx(0.05)


@pytest.mark.parametrize("labels", [np.zeros(5, bool), np.ones(5, bool)])
def test_one_class_alone_is_undefined(labels):
    assert auroc(np.arange(5.0), labels) is None and average_precision(np.arange(5.0), labels) is None
