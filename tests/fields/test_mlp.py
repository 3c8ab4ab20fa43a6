"""The small network of the plane: it learns, repeats bit for bit, stops and goes on."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import assert_one_sentence

from fmcore.errors import DataError, SettingsError, TrainingError
from fmcore.fields import GaussianField, three_clusters
from fmcore.fields.mlp import PointNetwork, PointTraining, PointTrainSettings, attainable_loss

QUICK = PointTrainSettings(steps=400, batch=128, width=48)
LAW = three_clusters()
POINTS = LAW.sample(2000, torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def trained():
    training = PointTraining(POINTS, QUICK)
    return training, [record.loss for record in training.steps()]


def test_loss_falls_to_what_is_attainable(trained):
    _, losses = trained
    floor = attainable_loss(LAW)
    assert np.mean(losses[:5]) > 1.5 * floor
    assert 0.9 * floor < np.mean(losses[-100:]) < 1.15 * floor


def test_attainable_loss_of_a_gaussian_is_its_integral():
    """``integral of 2 a / ((1 - t)^2 + a t^2) dt = pi sqrt(a)`` in two dimensions of variance a."""
    for variance in (0.25, 4.0):
        field = GaussianField(torch.zeros(2), torch.zeros(0, 2), torch.zeros(0), variance)
        assert attainable_loss(field) == pytest.approx(np.pi * np.sqrt(variance), rel=0.02)


def test_network_is_close_to_the_exact_field(trained):
    training, _ = trained
    generator = torch.Generator().manual_seed(1)
    for t in (0.2, 0.5, 0.8):
        x = (1 - t) * torch.randn(500, 2, generator=generator) + t * LAW.sample(500, generator)
        exact, found = LAW(x, t), training.network(x, t)
        assert found.shape == (500, 2)
        assert float((found - exact).square().mean() / exact.square().mean()) < 0.1


def test_same_seed_same_bits_and_no_global_random_numbers(trained):
    training, losses = trained
    before = torch.get_rng_state()
    again = PointTraining(POINTS, QUICK)
    steps = again.steps()
    assert [next(steps).loss for _ in range(50)] == losses[:50]
    steps.close()
    rest = [record.loss for record in again.steps()]  # stopped and gone on, as one run
    assert losses[50:] == rest and again.done == 400
    x = torch.randn(20, 2, generator=torch.Generator().manual_seed(2))
    assert torch.equal(again.network(x, 0.4), training.network(x, 0.4))
    assert torch.equal(before, torch.get_rng_state())
    other = PointNetwork(2, QUICK.replace(seed=1), centre=POINTS.mean(0), scale=2.0)
    assert not torch.equal(other(x, 0.4), PointNetwork(2, QUICK, centre=POINTS.mean(0), scale=2.0)(x, 0.4))


def test_times_can_be_given_per_state():
    network = PointNetwork(3, QUICK, centre=torch.ones(3), scale=2.0)
    x, t = torch.randn(4, 3, generator=torch.Generator().manual_seed(0)), torch.tensor([0.1, 0.5, 0.9, 0.99])
    for row in range(4):
        torch.testing.assert_close(network(x, t)[row], network(x[row : row + 1], float(t[row]))[0])


def test_bad_input_is_explained():
    for points in (torch.zeros(0, 2), torch.zeros(3), torch.tensor([[0.0, float("nan")]])):
        with pytest.raises(DataError) as caught:
            PointTraining(points, QUICK)
        assert_one_sentence(caught.value, "point")
    with pytest.raises(SettingsError) as caught:
        PointTrainSettings.parse(stepps=3)
    assert_one_sentence(caught.value, "did you mean 'steps'?")
    huge = PointTraining(torch.tensor([[1e30, 0.0], [-1e30, 0.0]]), QUICK)
    with pytest.raises(TrainingError) as caught:
        next(huge.steps())
    assert_one_sentence(caught.value, "lower the learning rate")
