"""Image figures of one test set with their intervals, and the mean over several."""

from __future__ import annotations

import numpy as np
import pytest

from fmcore.evaluation.evaluate import mean_of
from fmcore.evaluation.metrics import IMAGE_NAMES, draw_images, image_intervals, image_metrics


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
