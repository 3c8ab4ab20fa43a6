"""All figures of one test set, for any detector."""

from __future__ import annotations

import numpy as np
import pytest

from fmcore.evaluation.bootstrap import draw_images
from fmcore.evaluation.detection import IMAGE_NAMES, NAMES, DetectionMetrics, mean_figures
from fmcore.evaluation.metrics import image_metrics


def detector(scores, labels) -> DetectionMetrics:
    metrics = DetectionMetrics()
    for score, defective in zip(scores, labels, strict=True):
        metrics.add_score(score, defective=defective)
    return metrics


def test_image_figures_are_exact_and_pixel_figures_none_without_maps():
    rng = np.random.default_rng(0)
    labels = rng.random(60) < 0.4
    scores = rng.integers(0, 9, 60) + 2.0 * labels
    figures = detector(scores, labels).figures(bootstrap=200)
    assert {name: figures[name] for name in IMAGE_NAMES} == image_metrics(scores, labels)
    assert set(figures) == {*NAMES, "intervals"} and set(figures["intervals"]) == set(NAMES)
    for name in NAMES:
        if name in IMAGE_NAMES:
            low, high = figures["intervals"][name]
            assert low < figures[name] < high < low + 0.5
        else:
            assert figures[name] is figures["intervals"][name] is None


def test_a_draw_is_the_test_set_with_images_repeated():
    rng = np.random.default_rng(1)
    labels, scores = np.arange(20) < 8, rng.integers(0, 6, 20).astype(float)
    found = detector(scores, labels).figures(bootstrap=1, seed=5)["intervals"]
    index = np.repeat(np.arange(20), draw_images(labels, 1, 5)[0].astype(int))
    expected = image_metrics(scores[index], labels[index])
    assert {k: found[k] for k in IMAGE_NAMES} == {k: pytest.approx([v, v], abs=1e-6) for k, v in expected.items()}


def test_no_interval_without_draws_or_with_one_good_image():
    labels = np.arange(6) < 5
    assert set(detector(range(6), labels).figures()["intervals"].values()) == {None}
    assert set(detector(range(6), labels[1:].tolist() + [False]).figures(0)["intervals"].values()) == {None}
    alone = detector(range(4), [True] * 4).figures()
    assert alone["image_auroc"] is alone["intervals"]["image_auroc"] is None


def test_interval_covers_the_true_value_as_often_as_it_says():
    # Two unit normals one apart: AUROC = Phi(1 / sqrt 2) = 0.7602.
    rng, labels, hits = np.random.default_rng(3), np.arange(120) < 60, 0
    for _ in range(150):
        low, high = detector(rng.standard_normal(120) + labels, labels).figures(200)["intervals"]["image_auroc"]
        hits += low <= 0.7602 <= high
    assert 0.88 < hits / 150 < 0.99  # 0.95, standard error 0.018


def test_mean_over_test_sets():
    one = {"image_auroc": 0.8, "pixel_auroc": 0.9, "intervals": {"image_auroc": [0.5, 0.9], "pixel_auroc": None}}
    two = {"image_auroc": 1.0, "pixel_auroc": None, "intervals": {"image_auroc": [0.6, 1.0], "pixel_auroc": None}}
    mean = mean_figures([one, two])
    assert mean["image_auroc"] == pytest.approx(0.9) and mean["pixel_auroc"] is mean["aupro"] is None
    assert mean["intervals"]["image_auroc"] == pytest.approx([0.9 - 0.25, 0.95])
    assert mean["intervals"]["pixel_auroc"] is None
