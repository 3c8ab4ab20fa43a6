"""The paired comparison of two detectors against metrics computed draw by draw."""

from __future__ import annotations

import numpy as np
import pytest

from fmcore.evaluation.bootstrap import draw_images
from fmcore.evaluation.metrics import auroc
from fmcore.evaluation.paired import PairedScores, auroc_difference


def scores_of(seed: int, *, images: int = 40, noise: float = 1.0) -> PairedScores:
    rng = np.random.default_rng(seed)
    defective = np.arange(images) % 3 > 0
    shared = rng.normal(size=images) + defective
    first = shared + 0.1 * rng.normal(size=(3, images))
    second = shared - noise * rng.normal(size=images)
    return PairedScores(defective, np.round(first, 1), np.round(second[None], 1))  # rounded: some scores tie


def test_value_and_interval_are_those_of_resampled_images():
    sets = [scores_of(0), scores_of(1, images=25)]
    found = auroc_difference(sets, draws=200, seed=5)
    by_draw = np.zeros((2, 200))
    values = []
    for index, item in enumerate(sets):
        own = [auroc(row, item.defective) for row in item.first]
        values.append(np.mean(own) - auroc(item.second[0], item.defective))
        for draw, counts in enumerate(draw_images(item.defective, 200, 5 + index)):
            drawn = np.repeat(np.arange(len(counts)), counts.astype(int))
            own = [auroc(row[drawn], item.defective[drawn]) for row in item.first]
            by_draw[index, draw] = np.mean(own) - auroc(item.second[0][drawn], item.defective[drawn])
    assert found.value == pytest.approx(np.mean(values))
    assert found.interval == pytest.approx(np.percentile(by_draw.mean(0), [2.5, 97.5]))


def test_a_detector_differs_from_itself_by_nothing():
    item = scores_of(2)
    same = auroc_difference([PairedScores(item.defective, item.second, item.second)])
    assert same.value == 0 and same.interval == [0, 0]


def test_a_small_gain_on_the_same_images_shows_where_two_intervals_overlap():
    rng = np.random.default_rng(3)
    defective = np.arange(60) % 2 > 0
    hard = rng.normal(size=60)
    better, worse = hard + 1.0 * defective, hard + 0.6 * defective
    found = auroc_difference([PairedScores(defective, better[None], worse[None])])
    assert 0 < found.interval[0] < found.value < found.interval[1] < 0.3
    unpaired = auroc_difference([PairedScores(defective, better[None], rng.permutation(hard)[None] + 0.6 * defective)])
    assert np.ptp(unpaired.interval) > 1.5 * np.ptp(found.interval)


def test_a_single_image_of_a_label_gives_no_interval():
    defective = np.array([False, True, True])
    scores = np.array([[0.0, 1.0, 2.0]])
    found = auroc_difference([scores_of(4), PairedScores(defective, scores, -scores)])
    assert found.interval is None and found.value > 0
    assert auroc_difference([scores_of(4)], draws=0).interval is None
