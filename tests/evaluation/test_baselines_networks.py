"""Baselines that train a small network of their own: determinism, budget, and that training does what it says."""

from __future__ import annotations

import itertools
import time

import numpy as np
import pytest
import torch
from conftest import assert_one_sentence, blob_tensors

from fmcore.errors import DataError, TrainingError
from fmcore.evaluation.baselines import (
    AutoencoderDetector,
    AutoencoderSettings,
    BudgetSettings,
    TCCMDetector,
    WTFlowDetector,
    WTFlowSettings,
    train_autoencoder,
    train_tccm,
    train_wt_flow,
)
from fmcore.evaluation.baselines.autoencoder import Autoencoder, similarity
from fmcore.evaluation.baselines.trainer import BudgetRecord, build_seeded, train_network
from fmcore.evaluation.baselines.wt_flow import pair_worst

SMALL = AutoencoderSettings(width=8, code=4)
BUDGET = BudgetSettings(steps=60, batch=6, learning_rate=5e-3)


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return blob_tensors(range(24))


def finish(training):
    """Records of a training, and its last item."""
    *records, last = training
    return records, last


@pytest.fixture(scope="module")
def trained(images) -> dict:
    mse = finish(train_autoencoder(images, SMALL, BUDGET))[1]
    ssim = finish(train_autoencoder(images, SMALL.replace(objective="ssim"), BUDGET.replace(steps=25)))[1]
    return {
        "mse": AutoencoderDetector(mse),
        "ssim": AutoencoderDetector(ssim),
        "tccm": finish(train_tccm(images, BUDGET, SMALL))[1],
        "wt-flow": finish(train_wt_flow(images, BUDGET.replace(steps=25), WTFlowSettings(network=SMALL, steps=(1, 4))))[
            1
        ],
    }


@pytest.mark.parametrize("name", ["mse", "ssim", "tccm", "wt-flow"])
def test_a_plain_defect_scores_above_a_normal_image(trained, name):
    good = blob_tensors(range(60, 61))[0]
    bad = good.clone()
    bad[:, 10:16, 18:24] = torch.tensor([-1.0, 1.0, 1.0])[:, None, None]
    for setting, values in trained[name].maps(bad).items():
        assert values.shape == (32, 32) and values.dtype == np.float32 and values.min() >= 0
        # Dissimilarity is high on noise too, so that a defect stands out less than in squared error.
        factor = 1.2 if setting == "ssim" else 3
        assert values[10:16, 18:24].mean() > factor * trained[name].maps(good)[setting][10:16, 18:24].mean(), setting


def test_the_same_seed_gives_the_same_bits_whatever_the_global_generator(images):
    states = []
    for seed, disturbance in ((3, 0), (3, 1), (4, 0)):
        torch.manual_seed(disturbance)
        before = torch.get_rng_state()
        records, network = finish(train_autoencoder(images, SMALL, BudgetSettings(steps=3, batch=4, seed=seed)))
        assert torch.equal(before, torch.get_rng_state()) and not network.training
        assert [r.step for r in records] == [1, 2, 3] and {r.steps for r in records} == {3}
        states.append(torch.cat([p.flatten() for p in network.parameters()]))
    assert torch.equal(states[0], states[1]) and not torch.equal(states[0], states[2])


def test_minutes_become_steps_by_the_time_a_step_takes(images, monkeypatch):
    ticks = itertools.count()
    monkeypatch.setattr(time, "perf_counter", lambda: 0.1 * next(ticks))  # each step takes a tenth of a second
    records, network = finish(train_autoencoder(images, SMALL, BudgetSettings(minutes=0.02, batch=4)))
    assert [r.step for r in records] == list(range(1, 13)) and {r.steps for r in records} == {12}
    same = finish(train_autoencoder(images, SMALL, BudgetSettings(steps=12, batch=4)))[1]
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), same.parameters(), strict=True))


def test_training_lowers_the_loss_it_states(images):
    records, _ = finish(train_autoencoder(images, SMALL, BUDGET))
    losses = [r.loss for r in records]
    assert np.mean(losses[-10:]) < 0.3 * np.mean(losses[:10])


@pytest.mark.parametrize("size", [32, 48, 96, 100])
def test_the_autoencoder_gives_back_any_size(size):
    network = build_seeded(lambda: Autoencoder(1, size, SMALL, timed=True), 0)
    x = torch.zeros(2, 1, size, size)
    assert network(x, torch.tensor([0.0, 1.0])).shape == x.shape
    assert not torch.equal(*network(x, torch.tensor([0.0, 1.0])))


def test_similarity_is_one_for_equal_images_and_less_beside(images):
    torch.testing.assert_close(similarity(images[:2], images[:2]), torch.ones(2, 3, 32, 32))
    changed = images[:1].clone()
    changed[:, :, 12:16, 12:16] = 0.9
    found = similarity(changed, images[:1])
    assert found.shape == (1, 3, 32, 32) and found[..., 12:16, 12:16].mean() < 0.7
    torch.testing.assert_close(found[..., 26:, 26:], torch.ones(1, 3, 6, 6))


def test_tccm_scores_the_deviation_from_contraction_at_t_1(images):
    def network(z, t):
        assert torch.equal(t, torch.ones(1))
        return -0.5 * z

    values = TCCMDetector(network, images.mean(0)).maps(images[0])["t=1"]
    np.testing.assert_allclose(values, (0.5 * (images[0] - images.mean(0))).square().sum(0), rtol=1e-5)


def test_wt_flow_scores_the_squared_end_point(images):
    detector = WTFlowDetector(lambda x, s: -x, torch.zeros(3, 32, 32), WTFlowSettings(steps=(1, 2)))
    maps = detector.maps(images[0])
    np.testing.assert_allclose(maps["steps=1"], 0, atol=1e-10)
    np.testing.assert_allclose(maps["steps=2"], (images[0] / 4).square().sum(0), rtol=1e-5)


def test_the_worst_pairing_is_the_dearest_of_all():
    generator = torch.Generator().manual_seed(0)
    data, noise = (torch.randn(4, 1, 4, 4, generator=generator) for _ in range(2))
    paired = pair_worst(data, noise, 2)
    for top, left in itertools.product((0, 2), repeat=2):
        part = (slice(None), slice(None), slice(top, top + 2), slice(left, left + 2))
        costs = {
            order: float((data[part] - noise[list(order)][part]).square().sum())
            for order in itertools.permutations(range(4))
        }
        dearest = list(max(costs, key=costs.get))
        torch.testing.assert_close(paired[part], noise[dearest][part])
    whole = pair_worst(data, noise, 3)  # 3 does not divide 4: whole images are paired
    assert {tuple(w.flatten().tolist()) for w in whole} == {tuple(n.flatten().tolist()) for n in noise}


def test_failures_are_one_sentence(images):
    with pytest.raises(DataError) as error:
        finish(train_autoencoder(images[:0], SMALL, BUDGET))
    assert_one_sentence(error.value)

    def broken(network, batch, generator):
        return next(network.parameters()).sum() * float("nan")

    with pytest.raises(TrainingError) as error:
        finish(train_network(torch.nn.Linear(1, 1), broken, images, BUDGET))
    assert_one_sentence(error.value, "learning rate")
    assert BudgetRecord(1, 2, 0.5).steps == 2
