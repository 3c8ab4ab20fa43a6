"""Metrics against brute force."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import f1_score

from fmcore.evaluation.metrics import auroc, image_metrics


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


def best_f1(scores: np.ndarray, labels: np.ndarray) -> float:
    """Over every threshold, flagging nothing left out."""
    return max(f1_score(labels, scores >= threshold) for threshold in np.unique(scores))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("scale", [1.0, 1e6])
def test_all_metrics_count_ties_as_brute_force_does(seed, scale):
    rng = np.random.default_rng(seed)
    scores = scale * rng.integers(0, 8, 60) - 3.0  # many ties, values far outside [0, 1]
    labels = rng.random(60) < 0.3
    assert auroc(scores, labels) == pytest.approx(pair_counting(scores, labels), abs=1e-6)
    assert image_metrics(scores, labels)["image_ap"] == pytest.approx(stepwise_precision(scores, labels), abs=1e-6)
    assert image_metrics(scores, labels)["image_f1max"] == pytest.approx(best_f1(scores, labels), abs=1e-6)


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
    assert image_metrics(np.full(40, 7.0), labels)["image_ap"] == pytest.approx(0.05)
    assert image_metrics(np.full(40, 7.0), labels)["image_f1max"] == pytest.approx(2 * 0.05 / 1.05)


def test_perfect_and_inverted_detectors():
    labels = np.arange(40) < 10
    assert image_metrics(labels * 3.0, labels) == {"image_auroc": 1.0, "image_ap": 1.0, "image_f1max": 1.0}
    inverted = image_metrics(np.arange(40.0), labels)  # every negative above every positive
    assert inverted["image_auroc"] == 0.0
    assert inverted["image_ap"] == pytest.approx(np.mean([k / (30 + k) for k in range(1, 11)]))
    assert inverted["image_f1max"] == pytest.approx(2 * 0.25 / 1.25)  # flag everything


@pytest.mark.parametrize("labels", [np.zeros(5, bool), np.ones(5, bool)])
def test_one_class_alone_is_undefined(labels):
    assert set(image_metrics(np.arange(5.0), labels).values()) == {None}
