"""A point looked at closely: its terms add up, and agree with the decomposition and the landscape."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import assert_one_sentence

from fmcore.decomposition.landscape import point_steps, probe
from fmcore.decomposition.sampled import DecompositionSettings, decompose
from fmcore.errors import DataError, SettingsError
from fmcore.fields import GaussianField, semicircle
from fmcore.mismatch import HeatSettings, Mismatch, PathSettings
from fmcore.path import draw_noise

LAW = semicircle()
TARGETS = torch.tensor([[3.0, 7.0], [-2.0, 8.5]])
STARTS = draw_noise(6, (2,), 3)


def heat(**changes) -> HeatSettings:
    return HeatSettings.parse(**{"smoothing": 0.0, **changes})


def test_paths_and_velocities_are_those_of_the_method():
    for target, one in zip(TARGETS, probe(LAW, TARGETS, STARTS, times=5), strict=True):
        assert one.states.shape == one.predicted.shape == (5, 6, 2)
        np.testing.assert_array_equal(one.ends, np.broadcast_to(target.numpy(), (6, 2)))
        np.testing.assert_allclose(one.geometric, target.numpy() - STARTS.numpy(), rtol=1e-6)
        for j, t in enumerate(one.times):
            states = (1 - t) * STARTS + t * target
            np.testing.assert_allclose(one.states[j], states, rtol=1e-5, atol=1e-6)
            np.testing.assert_allclose(one.predicted[j], LAW(states.float(), float(t)), rtol=1e-3, atol=1e-3)
        assert (one.denoising == 0).all()
        gap = np.square(one.predicted - one.geometric).sum(-1)
        np.testing.assert_allclose(one.fisher, gap, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("aggregator", ["min", "mean", "median", "percentile"])
def test_score_is_that_of_the_landscape(aggregator):
    settings, how = PathSettings(paths=6, times=12), heat(aggregator=aggregator, exponent=1.5)
    points = Mismatch.collect(point_steps(LAW, TARGETS, settings, noise=STARTS))
    for i, one in enumerate(probe(LAW, TARGETS, STARTS, times=12)):
        np.testing.assert_allclose(one.running(how), points.running(how)[:, 0, i], rtol=5e-3, atol=1e-3)
        np.testing.assert_allclose(one.fisher_per_time(how), points.per_time(how)[:, 0, i], rtol=5e-3, atol=1e-3)


@pytest.mark.parametrize("spread", [0.6, 1.0])
def test_terms_are_those_of_the_decomposition(spread):
    """Over many starts both terms converge to the expectations under q, the mismatch of the paths to their sum."""
    starts = draw_noise(3000, (2,), 1)
    (one,) = probe(LAW, TARGETS[:1], starts, times=4, spread=spread, seed=2)
    settings = DecompositionSettings(samples=3000, times=4)
    gaps = np.square(one.predicted - one.geometric).sum(-1)
    for j, step in enumerate(decompose(LAW, GaussianField.isotropic(TARGETS[0], spread**2), settings)):
        error = one.fisher[j].std() / np.sqrt(len(starts))
        assert abs(one.fisher[j].mean() - step.fisher.value) < 4 * np.hypot(error, step.fisher.error)
        assert one.denoising[j] == pytest.approx(step.posterior.value, rel=1e-4)
        difference = gaps[j] - one.fisher[j] - one.denoising[j]
        assert abs(difference.mean()) < 4 * difference.std() / np.sqrt(len(starts))
        assert one.denoising[j] > 10 * difference.std() / np.sqrt(len(starts))  # so a lost factor would show


def test_aggregated_terms_still_add_up():
    (one,) = probe(LAW, TARGETS[1:], STARTS, times=7, spread=0.3)
    for aggregator in ("min", "mean", "median", "percentile"):
        how = heat(aggregator=aggregator, exponent=0.0)
        sums = one.fisher_per_time(how) + one.denoising
        np.testing.assert_allclose(one.running(how), np.cumsum(sums) / np.arange(1, 8), rtol=1e-5)


def test_bad_input_is_explained():
    for arguments in (
        (torch.tensor([[0.0, float("inf")]]), STARTS),
        (TARGETS[0], STARTS),
        (TARGETS, STARTS[:0]),
        (TARGETS, torch.zeros(2, 3)),
    ):
        with pytest.raises(DataError) as caught:
            probe(LAW, *arguments)
        assert_one_sentence(caught.value)
    for options in ({"spread": -1.0}, {"spread": float("nan")}, {"times": 0}):
        with pytest.raises(SettingsError) as caught:
            probe(LAW, TARGETS, STARTS, **options)
        assert_one_sentence(caught.value, "spread")
