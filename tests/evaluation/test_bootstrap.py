"""Bootstrap draws and intervals, and the paired comparison of two detectors, against figures computed draw by draw."""

from __future__ import annotations

import numpy as np
import pytest

from fmcore.evaluation.metrics import auroc, auroc_difference, draw_images, interval_of_mean, intervals

LABELS = np.array([True] * 5 + [False] * 3)


def test_every_draw_holds_as_many_of_each_kind():
    counts = draw_images(LABELS, 200, 0)
    assert counts.shape == (200, 8)
    assert (counts[:, LABELS].sum(1) == 5).all() and (counts[:, ~LABELS].sum(1) == 3).all()
    np.testing.assert_allclose(counts.mean(0), 1, atol=0.25)  # standard error 0.07


def test_the_seed_decides_and_the_global_generator_is_left_alone():
    before = np.random.get_state()[1].copy()
    assert np.array_equal(draw_images(LABELS, 9, 4), draw_images(LABELS, 9, 4))
    assert not np.array_equal(draw_images(LABELS, 9, 4), draw_images(LABELS, 9, 5))
    assert np.array_equal(np.random.get_state()[1], before)


def test_interval_of_a_mean_is_that_of_the_normal_distribution():
    values = np.random.default_rng(0).standard_normal(400)
    low, high = intervals(lambda c: [c @ values / 400], ["mean"], np.zeros(400, bool), 4000, 1)["mean"]
    spread = values.std() / 20
    assert low == pytest.approx(values.mean() - 1.96 * spread, abs=0.1 * spread)
    assert high == pytest.approx(values.mean() + 1.96 * spread, abs=0.1 * spread)


def test_chunks_do_not_change_the_result_and_bound_each_call():
    values = np.arange(8.0)
    sizes = []

    def measure(counts):
        sizes.append(len(counts))
        return [counts @ values]

    whole = intervals(measure, ["mean"], LABELS, 100, 0, chunk=100)
    assert intervals(measure, ["mean"], LABELS, 100, 0, chunk=7) == whole
    assert sizes[0] == 100 and max(sizes[1:]) == 7 and sum(sizes) == 200


def test_a_draw_without_a_value_leaves_no_interval():
    found = intervals(lambda c: [c[:, 0], np.where(c[:, 0] > 0, c[:, 0], np.nan)], "ab", LABELS, 50, 0)
    assert found["b"] is None and found["a"] == [0.0, pytest.approx(3, abs=1)]


def test_one_image_of_a_kind_is_not_enough():
    def known(labels, draws=20):
        return intervals(lambda c: [c.sum(1)], ["sum"], labels, draws, 0)["sum"] is not None

    assert known(LABELS) and known(LABELS[:5]) and known(~LABELS[:5])
    assert not known(LABELS[4:]) and not known(LABELS[:6]) and not known(LABELS[:0]) and not known(LABELS, 0)


def test_interval_of_the_mean_of_independent_figures():
    assert interval_of_mean([0.5, 0.7], [[0.2, 0.9], [0.3, 1.0]]) == pytest.approx([0.6 - 0.25, 0.6 + 0.25])
    assert interval_of_mean([0.5], [[0.4, 0.8]]) == pytest.approx([0.4, 0.8])
    assert interval_of_mean([0.5, 0.7], [[0.2, 0.9], None]) is None


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
