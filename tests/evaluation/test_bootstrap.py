"""Bootstrap draws and intervals: strata, seeds, coverage, and the interval of a mean."""

from __future__ import annotations

import numpy as np
import pytest

from fmcore.evaluation.metrics import draw_images, interval_of_mean, intervals

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
