"""Metrics against brute force and scikit-learn, with weights and ties, and those of a test set with intervals."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from fmcore.evaluation.evaluate import mean_of
from fmcore.evaluation.metrics import (
    IMAGE_NAMES,
    aupro_of,
    auroc,
    draw_images,
    image_intervals,
    image_metrics,
    score_metrics_of,
)


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


def test_the_interval_holds_the_figure():
    rng = np.random.default_rng(0)
    labels = rng.random(60) < 0.4
    scores = rng.integers(0, 9, 60) + 2.0 * labels
    figures, found = image_metrics(scores, labels), image_intervals(scores, labels, 200, 0)
    assert tuple(figures) == tuple(found) == IMAGE_NAMES
    for name in IMAGE_NAMES:
        low, high = found[name]
        assert low < figures[name] < high < low + 0.5


def test_a_draw_is_the_test_set_with_images_repeated():
    rng = np.random.default_rng(1)
    labels, scores = np.arange(20) < 8, rng.integers(0, 6, 20).astype(float)
    found = image_intervals(scores, labels, 1, 5)
    index = np.repeat(np.arange(20), draw_images(labels, 1, 5)[0].astype(int))
    expected = image_metrics(scores[index], labels[index])
    assert found == {k: pytest.approx([v, v], abs=1e-6) for k, v in expected.items()}


def test_no_interval_without_draws_or_with_one_good_image():
    labels, nothing = np.arange(6) < 5, dict.fromkeys(IMAGE_NAMES)
    assert image_intervals(np.arange(6), labels, 100, 0) == nothing
    assert image_intervals(np.arange(6), np.arange(6) < 4, 0, 0) == nothing
    assert image_intervals(np.arange(4), labels[:4], 100, 0) == image_metrics(np.arange(4), labels[:4]) == nothing


def test_interval_covers_the_true_value_as_often_as_it_says():
    # Two unit normals one apart: AUROC = Phi(1 / sqrt 2) = 0.7602.
    rng, labels, hits = np.random.default_rng(3), np.arange(120) < 60, 0
    for _ in range(150):
        low, high = image_intervals(rng.standard_normal(120) + labels, labels, 200, 0)["image_auroc"]
        hits += low <= 0.7602 <= high
    assert 0.88 < hits / 150 < 0.99  # 0.95, standard error 0.018


def test_mean_over_test_sets():
    counts = {"n_good": 1, "n_defective": 1, "seconds_per_image": 1.0}
    one = {"image_auroc": 0.8, "pixel_auroc": 0.9, "intervals": {"image_auroc": [0.5, 0.9], "pixel_auroc": None}}
    two = {"image_auroc": 1.0, "pixel_auroc": None, "intervals": {"image_auroc": [0.6, 1.0], "pixel_auroc": None}}
    mean = mean_of({"a": one | counts, "b": two | counts})
    assert mean["image_auroc"] == pytest.approx(0.9) and mean["pixel_auroc"] is mean["aupro"] is None
    assert mean["intervals"]["image_auroc"] == pytest.approx([0.9 - 0.25, 0.95])
    assert mean["intervals"]["pixel_auroc"] is None
