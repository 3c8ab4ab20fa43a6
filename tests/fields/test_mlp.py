"""The small network of the plane: it learns, repeats bit for bit, stops and goes on."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import assert_one_sentence

from fmcore.errors import TrainingError
from fmcore.fields import GaussianField, three_clusters
from fmcore.fields.mlp import PointNetwork, attainable_loss, train_points

LAW = three_clusters()
POINTS = LAW.sample(2000, torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def trained():
    network = PointNetwork(POINTS)
    return network, [record.loss for record in train_points(network, POINTS, steps=400)]


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


@torch.no_grad()
def test_network_is_close_to_the_exact_field(trained):
    network, _ = trained
    generator = torch.Generator().manual_seed(1)
    for t in (0.2, 0.5, 0.8):
        x = (1 - t) * torch.randn(500, 2, generator=generator) + t * LAW.sample(500, generator)
        exact, found = LAW(x, t), network(x, t)
        assert found.shape == (500, 2)
        assert float((found - exact).square().mean() / exact.square().mean()) < 0.1


def test_same_seed_same_bits_and_no_global_random_numbers(trained):
    network, losses = trained
    before, again = torch.get_rng_state(), PointNetwork(POINTS)
    x = torch.randn(20, 2, generator=torch.Generator().manual_seed(2))
    records = train_points(again, POINTS, steps=400)
    assert [next(records).loss for _ in range(50)] == losses[:50]
    assert not torch.equal(again(x, 0.4), network(x, 0.4))  # and may be looked at meanwhile
    assert [(record.step, record.loss) for record in records] == list(enumerate(losses, 1))[50:]
    assert torch.equal(again(x, 0.4), network(x, 0.4))
    assert torch.equal(before, torch.get_rng_state())
    assert not torch.equal(PointNetwork(POINTS, seed=1)(x, 0.4), PointNetwork(POINTS)(x, 0.4))
    assert next(train_points(again, POINTS, seed=1)).loss != next(train_points(again, POINTS)).loss


def test_times_can_be_given_per_state():
    network = PointNetwork(1 + 2 * torch.randn(50, 3, generator=torch.Generator().manual_seed(1)))
    x, t = torch.randn(4, 3, generator=torch.Generator().manual_seed(0)), torch.tensor([0.1, 0.5, 0.9, 0.99])
    for row in range(4):
        torch.testing.assert_close(network(x, t)[row], network(x[row : row + 1], float(t[row]))[0])


def test_a_loss_that_is_not_finite_is_explained():
    huge = torch.tensor([[1e30, 0.0], [-1e30, 0.0]])
    with pytest.raises(TrainingError) as caught:
        next(train_points(PointNetwork(huge), huge))
    assert_one_sentence(caught.value, "scale of about one")
