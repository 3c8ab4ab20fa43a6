"""Detectors fitted to tensors of a view: closed forms against brute force, training, and every one on every shape."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch
from conftest import assert_one_sentence, blob_tensors, dense_covariance, random_gaussian

from fmcore.errors import DataError, TrainingError
from fmcore.evaluation import baselines
from fmcore.evaluation.baselines import (
    fit_mahalanobis,
    fit_nearest,
    fit_nearest_patch,
    fit_place_mahalanobis,
    mahalanobis,
    train_autoencoder,
    train_network,
    train_tccm,
)


def last(training):
    *_, record = training
    return record.result


FITS = {
    "mahalanobis": fit_mahalanobis,
    "place-mahalanobis": fit_place_mahalanobis,
    "nearest": fit_nearest,
    "nearest-patch": lambda images: fit_nearest_patch(images, size=200),
    "autoencoder": lambda images: last(train_autoencoder(images, steps=30, batch=8)),
    "tccm": lambda images: last(train_tccm(images, steps=30, batch=8)),
}


@pytest.mark.parametrize("name", FITS)
def test_every_detector_marks_a_plain_defect_and_repeats(name):
    detector = FITS[name](blob_tensors(range(24)))
    good = blob_tensors(range(60, 61))[0]
    bad = good.clone()
    bad[:, 10:16, 18:24] = torch.tensor([-1.0, 1.0, 1.0])[:, None, None]
    found = detector(bad)
    assert found.shape == (32, 32) and found.dtype == np.float32 and found.min() >= 0
    assert found[10:16, 18:24].mean() > 3 * detector(good)[10:16, 18:24].mean()
    assert found[10:16, 18:24].mean() > 3 * np.median(found)
    np.testing.assert_array_equal(detector(bad), found)


@pytest.mark.parametrize("name", FITS)
@pytest.mark.parametrize("shape", [(1, 4, 4), (20, 7, 9), (5, 17, 34)])
def test_every_detector_takes_any_space(name, shape):
    images = torch.randn(6, *shape, generator=torch.Generator().manual_seed(0))
    assert FITS[name](images)(images[0]).shape == shape[1:]


def test_mahalanobis_map_sums_to_the_squared_distance():
    field, image = random_gaussian((2, 4, 4), 4), torch.linspace(-1, 1, 32).view(2, 4, 4)
    gap = (image - field.mean).flatten().double()
    values, vectors = torch.linalg.eigh(dense_covariance(field))
    assert mahalanobis(field)(image).sum() == pytest.approx(float(((gap @ vectors) ** 2 / values).sum()), rel=1e-4)


def test_place_mahalanobis_is_the_distance_of_a_colour_from_those_at_its_place():
    images, image = blob_tensors(range(12)), blob_tensors(range(30, 31))[0]
    colours = images[:, :, 3, 9].double().numpy()
    covariance = np.cov(colours.T, bias=True) + 0.01 * np.eye(3)
    values, vectors = np.linalg.eigh(covariance)
    along = (image[:, 3, 9].double().numpy() - colours.mean(0)) @ vectors
    assert fit_place_mahalanobis(images)(image)[3, 9] == pytest.approx((along**2 / values).sum(), rel=5e-3)


def test_nearest_images_and_patches_by_brute_force():
    images, image = blob_tensors(range(6)), blob_tensors(range(20, 21))[0]
    gaps = [(other - image).square().sum(0) for other in images]
    np.testing.assert_allclose(fit_nearest(images)(image), min(gaps, key=torch.sum), rtol=1e-5)
    every = images[:, :, ::8, ::8]
    vectors, own = every.movedim(1, -1).reshape(-1, 3), image[:, ::8, ::8]
    expected = [[float((vectors - own[:, r, c]).square().sum(1).min()) for c in range(4)] for r in range(4)]
    np.testing.assert_allclose(fit_nearest_patch(every)(own), expected, atol=1e-5)


def test_a_coreset_covers_better_than_chance():
    vectors = torch.randn(1000, 2, generator=torch.Generator().manual_seed(0))
    vectors[::100] += 20  # a rare normal kind
    images = vectors.T.reshape(1, 2, 20, 50)
    assert fit_nearest_patch(images, size=10)(images[0]).max() < 15
    assert fit_nearest_patch(images, size=1)(images[0]).max() > 100
    assert fit_nearest_patch(images, size=10_000)(images[0]).max() < 0.01


def test_tccm_scores_the_deviation_from_contraction_at_t_1(monkeypatch):
    class Half(torch.nn.Linear):
        def forward(self, x):
            seen.append(x[:, 3, 0, 0])
            return -0.5 * x[:, :3] + 0 * self.weight.sum()

    seen, images = [], blob_tensors(range(4))
    monkeypatch.setattr(baselines, "autoencoder", lambda *_: Half(1, 1))
    found = last(train_tccm(images, steps=1))(images[0])
    np.testing.assert_allclose(found, (0.5 * (images[0] - images.mean(0))).square().sum(0), rtol=1e-4, atol=1e-7)
    assert torch.equal(seen[-1], torch.ones(1)) and 0 < float(seen[0].min()) < float(seen[0].max()) < 1


def test_the_same_steps_and_seed_give_the_same_bits_whatever_the_global_generator():
    images, found = blob_tensors(range(6)), []
    for seed, disturbance in ((3, 0), (3, 1), (4, 0)):
        torch.manual_seed(disturbance)
        before = torch.get_rng_state()
        *records, record = train_autoencoder(images, steps=3, batch=4, seed=seed)
        assert torch.equal(before, torch.get_rng_state())
        assert [(r.done, r.total) for r in records] == [(33, 100), (67, 100), (100, 100)]
        found.append(record.result(images[0]))
    assert np.array_equal(found[0], found[1]) and not np.array_equal(found[0], found[2])


def test_minutes_end_the_training_and_the_rate_falls_with_them(monkeypatch):
    network, clock = torch.nn.Linear(1, 1), iter(range(100))
    monkeypatch.setattr(time, "perf_counter", lambda: float(next(clock)))  # every look costs a second
    weights = [network.weight.item()]

    def loss(batch, generator):
        return network.weight.sum()

    records = []
    for record in train_network(network, loss, torch.zeros(3, 1, 1, 1), minutes=0.1):
        records.append(record)
        weights.append(network.weight.item())
    assert [r.done for r in records] == [17, 33, 50, 67, 83, 100]
    moved = -np.diff(weights)
    assert (np.diff(moved) < 0).all() and moved[-1] < 0.1 * moved[0]
    assert not network.training and not network.weight.requires_grad


def test_training_lowers_the_loss_it_states():
    *records, _ = train_autoencoder(blob_tensors(range(24)), steps=20, batch=8)
    losses = [r.result for r in records]
    assert np.mean(losses[-5:]) < 0.5 * np.mean(losses[:5])


def test_failures_are_one_sentence():
    one, network = torch.zeros(1, 1, 8, 8), torch.nn.Linear(1, 1)
    with pytest.raises(DataError) as error:
        fit_place_mahalanobis(one)
    assert_one_sentence(error.value, "good images")
    with pytest.raises(TrainingError) as error:
        list(train_network(network, lambda batch, generator: network.weight.sum() * float("nan"), one))
    assert_one_sentence(error.value, "step 1")
