"""The paired comparison of two detectors against metrics computed draw by draw."""

from __future__ import annotations

import numpy as np
import pytest

from fmcore.evaluation.metrics import auroc, auroc_difference, draw_images


def scores_of(seed: int, *, images: int = 40, noise: float = 1.0):
    """Labels ``(N,)`` and the scores of two detectors, ``(3, N)`` and ``(1, N)``, rounded: some tie."""
    rng = np.random.default_rng(seed)
    defective = np.arange(images) % 3 > 0
    shared = rng.normal(size=images) + defective
    first = shared + 0.1 * rng.normal(size=(3, images))
    second = shared - noise * rng.normal(size=images)
    return defective, np.round(first, 1), np.round(second[None], 1)


def test_value_and_interval_are_those_of_resampled_images():
    labels, first, second = scores_of(0)
    value, interval = auroc_difference(labels, first, second, draws=200, seed=5)
    assert value == pytest.approx(np.mean([auroc(row, labels) for row in first]) - auroc(second[0], labels))
    by_draw = []
    for counts in draw_images(labels, 200, 5):
        drawn = np.repeat(np.arange(len(counts)), counts.astype(int))
        own = [auroc(row[drawn], labels[drawn]) for row in first]
        by_draw.append(np.mean(own) - auroc(second[0][drawn], labels[drawn]))
    assert interval == pytest.approx(np.percentile(by_draw, [2.5, 97.5]))


def test_a_detector_differs_from_itself_by_nothing():
    labels, _, second = scores_of(2)
    assert auroc_difference(labels, second, second) == (0, [0, 0])


def test_a_small_gain_on_the_same_images_shows_where_two_intervals_overlap():
    rng = np.random.default_rng(3)
    defective = np.arange(60) % 2 > 0
    hard = rng.normal(size=60)
    better, worse = hard + 1.0 * defective, hard + 0.6 * defective
    value, interval = auroc_difference(defective, better[None], worse[None])
    assert 0 < interval[0] < value < interval[1] < 0.3
    _, unpaired = auroc_difference(defective, better[None], rng.permutation(hard)[None] + 0.6 * defective)
    assert np.ptp(unpaired) > 1.5 * np.ptp(interval)


def test_a_single_image_of_a_label_gives_no_interval():
    scores = np.array([[0.0, 1.0, 2.0]])
    assert auroc_difference(np.array([False, True, True]), scores, -scores) == (1, None)
    assert auroc_difference(*scores_of(4), draws=0)[1] is None
