"""Training images with synthetic defects: how many, how strong, and what the network makes of them."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import torch
from conftest import blob_tensors

from fmcore.fields.gaussian import fit_gaussian
from fmcore.fields.unet import UNetSettings, VelocityUNet
from fmcore.path import draw_noise, interpolate
from fmcore.training.defect_training import WEAKEST, spoil
from fmcore.training.loop import TrainSettings, adopt_average, loss_per_image, start_training, train

POOL = blob_tensors(range(8))
CHOSEN = torch.tensor([0, 3, 3, 7, 1, 5, 2, 6])


def changed(seen: torch.Tensor) -> np.ndarray:
    return (seen - POOL[CHOSEN]).abs().amax((1, 2, 3)).numpy()


def test_the_share_of_a_batch_is_spoilt_and_the_rest_untouched():
    for share, count in ((0.0, 0), (0.5, 4), (1.0, 8)):
        assert (changed(spoil(POOL, CHOSEN, share, seed=3)) > 0).sum() == count
    assert torch.equal(POOL, blob_tensors(range(8)))  # the pool itself is never painted on


def test_same_seed_same_bits_and_a_part_is_a_part_of_the_whole():
    whole = spoil(POOL, CHOSEN, 0.5, seed=3)
    assert torch.equal(whole, spoil(POOL, CHOSEN, 0.5, seed=3))
    assert not torch.equal(whole, spoil(POOL, CHOSEN, 0.5, seed=4))
    for part in (slice(0, 3), slice(3, 8)):
        assert torch.equal(whole[part], spoil(POOL, CHOSEN, 0.5, seed=3, part=part))


def test_strengths_reach_from_hardly_visible_to_plain():
    strongest = np.concatenate([changed(spoil(POOL, CHOSEN, 1.0, seed=seed)) for seed in range(30)])
    assert strongest.min() < 0.1 and strongest.max() > 0.8 and 0 < WEAKEST < 1


def test_a_defect_does_not_swamp_the_loss_near_the_end():
    network = VelocityUNet(UNetSettings(size=32, widths=(16,), patch=4), [fit_gaussian(POOL)])
    x0, x1, labels = draw_noise(8, POOL.shape[1:], 0), POOL[CHOSEN], torch.zeros(8, dtype=torch.long)
    t = torch.full((8,), 0.999)
    with torch.no_grad():
        clean = loss_per_image(network, x0, x1, t, labels)
        spoilt = loss_per_image(network, x0, x1, t, labels, spoil(POOL, CHOSEN, 1.0, seed=1))
    assert torch.equal(clean, loss_per_image(network, x0, x1, t, labels, x1))
    assert float(spoilt.max()) < 3 * float(clean.max())


def test_the_loss_of_a_spoilt_image_is_smallest_at_the_velocity_to_the_clean_one():
    x0, x1, t = draw_noise(8, POOL.shape[1:], 9), POOL[CHOSEN], torch.linspace(0.1, 0.9, 8)
    seen, labels = spoil(POOL, CHOSEN, 1.0, seed=2), torch.zeros(8, dtype=torch.long)
    given = []

    def loss_of(velocity):
        def core(x, times, categories):
            given.append(x)
            return velocity

        return loss_per_image(
            SimpleNamespace(settings=SimpleNamespace(start="none"), core=core), x0, x1, t, labels, seen
        )

    assert torch.equal(loss_of(x1 - x0), torch.zeros(8))
    to_the_defect = loss_of(seen - x0)
    distance = (x1 - seen).square().mean((1, 2, 3))
    torch.testing.assert_close(to_the_defect, distance / (1 + distance / (1 - t) ** 2))
    torch.testing.assert_close(given[0], interpolate(x0, seen, t))


def test_training_spoils_its_batches_and_repeats_bit_for_bit():
    def trained(**changes):
        torch.manual_seed(0)
        network = VelocityUNet(UNetSettings(size=32, widths=(16,), patch=4), [fit_gaussian(POOL)])
        settings = TrainSettings.parse(steps=4, batch=8, warmup=1, **changes)
        state = start_training(network, settings)
        records = list(train(state, POOL, torch.zeros(8, dtype=torch.long), settings))
        adopt_average(state)
        return network.core.head.weight, records[-1].loss

    weights, loss = trained(defects=0.5)
    again, same = trained(defects=0.5)
    assert torch.equal(weights, again) and loss == same
    for changes in ({"defects": 0.0}, {"defects": 1.0}, {"defects": 0.5, "source": "natural"}):
        assert not torch.equal(weights, trained(**changes)[0]), changes
