"""Batches: the laws of their draws, and the same bits whether or not threads make them ahead."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import blob_tensors
from scipy.stats import kstest

from fmcore.training.batches import batches, draw, even_shares
from fmcore.training.loop import TrainSettings


def settings_of(**changes) -> TrainSettings:
    return TrainSettings.parse(**{"batch": 4, **changes})


@pytest.mark.parametrize("defects", [0.0, 0.5])
def test_threads_make_the_same_batches(defects):
    images, labels = blob_tensors(range(8)), torch.tensor([0, 1] * 4)
    settings, steps, part = settings_of(defects=defects, seed=3), range(5, 17), slice(1, 3)
    alone = list(batches(images, labels, settings, steps, part))
    ahead = list(batches(images, labels, settings, steps, part, workers=3))
    assert len(alone) == len(ahead) == 12
    for one, other in zip(alone, ahead, strict=True):
        for name in ("chosen", "t", "x0", "clean", "seen"):
            assert torch.equal(getattr(one, name), getattr(other, name)), name
        assert torch.equal(one.clean, images[one.chosen[part]])
        assert (one.seen is one.clean) == (defects == 0)


@pytest.mark.parametrize("power", [0.0, 2.0, 5.0])
def test_times_have_the_density_of_their_power(power):
    settings = settings_of(time_power=power, batch=16)
    times = torch.cat([draw(8, None, (1,), settings, step)[1] for step in range(200)]).double().numpy()
    assert 0 <= times.min() and times.max() <= 1
    assert kstest(times, lambda t: t ** (power + 1)).pvalue > 0.01  # stratified, so rather too even than too odd
    strata = [np.floor(draw(8, None, (1,), settings, s)[1].numpy() ** (power + 1) * 16 + 1e-4) for s in range(3)]
    assert all(s.astype(int).tolist() == list(range(16)) for s in strata)


def test_every_step_draws_anew_and_every_image_is_used():
    draws = [draw(8, None, (3, 4, 4), settings_of(), step) for step in range(40)]
    assert torch.cat([d[0] for d in draws]).unique().tolist() == list(range(8))
    assert not torch.equal(draws[0][2], draws[1][2])
    assert abs(float(torch.cat([d[2] for d in draws]).mean())) < 4 / (40 * 4 * 48) ** 0.5


def test_categories_are_drawn_equally_often_however_many_images_they_have():
    labels = torch.tensor([0] * 3 + [1] * 47 + [2] * 10)
    shares = even_shares(labels)
    drawn = torch.cat([draw(60, shares, (1,), settings_of(batch=50), step)[0] for step in range(120)])
    counts = torch.bincount(drawn, minlength=60)
    assert counts.min() > 0
    for category in range(3):
        of_it = counts[labels == category]
        assert of_it.sum() == pytest.approx(2000, rel=0.06)
        np.testing.assert_allclose(of_it, 2000 / len(of_it), rtol=0.6)
    assert even_shares(torch.tensor([0, 1, 1, 0])) is None
