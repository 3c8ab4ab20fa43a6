"""Shared against own noise, on scores whose common part is known."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import assert_one_sentence

from fmcore.errors import DataError
from fmcore.evaluation.estimator_study import Estimate
from fmcore.evaluation.ranking_study import ranking_gain
from fmcore.mismatch.mismatch import HeatSettings, PathSettings

LABELS = np.arange(40) % 2 == 1


def estimate(common: float, own: float, repeats: int = 120, gap: float = 1.0) -> Estimate:
    """Log scores: an image's own level, plus noise common to all images of a repeat, plus noise of its own."""
    rng = np.random.default_rng(1)
    logs = (
        gap * LABELS
        + 0.5 * rng.standard_normal(40)
        + common * rng.standard_normal((repeats, 1))
        + own * rng.standard_normal((repeats, 40))
    )
    ones = np.ones(40)
    return Estimate(PathSettings(), HeatSettings(), np.exp(logs), ones, 0 * ones, np.ones(repeats), 0.0)


@pytest.mark.parametrize(("common", "own"), [(0.0, 0.3), (0.3, 0.3), (0.6, 0.3)])
def test_gain_is_total_variance_over_own_variance(common, own):
    found = ranking_gain(estimate(common, own), LABELS, shuffles=1)
    expected = (common**2 + own**2) / own**2
    assert abs(found.gain.ratio - expected) < 4 * found.gain.error
    assert found.gain.error < 0.25 * expected


def test_common_noise_does_not_move_the_auroc_and_own_noise_does():
    found = ranking_gain(estimate(0.5, 0.01), LABELS, shuffles=2)
    assert found.auroc_spread_shared < 0.01 < found.auroc_spread_own
    assert found.auroc_own < found.auroc_shared
    # Own noise enlarges the spread of scores, so that separation is less: once more with nothing in common.
    apart = ranking_gain(estimate(0.0, 0.5), LABELS, shuffles=2)
    assert apart.auroc_own == pytest.approx(apart.auroc_shared, abs=0.01)
    assert apart.auroc_spread_own == pytest.approx(apart.auroc_spread_shared, rel=0.2)


def test_labels_must_fit_and_hold_both_classes():
    for labels in (LABELS[:-1], np.zeros(40, bool), np.ones(40, bool)):
        with pytest.raises(DataError) as caught:
            ranking_gain(estimate(0, 0.1, repeats=3), labels)
        assert_one_sentence(caught.value, "label")
    with pytest.raises(DataError) as caught:
        ranking_gain(estimate(0, 0.1, repeats=2), LABELS)
    assert_one_sentence(caught.value, "three repeats")
