"""Batches: the laws of their draws, and the same bits whoever makes them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import blob_tensors
from scipy.stats import kstest
from torch.utils.data import DataLoader

from fmcore.training.loop import Batches


def batches_of(images=None, labels=None, *, batch: int = 4, seed: int = 0) -> Batches:
    images = blob_tensors(range(8)) if images is None else images
    return Batches(images, [0, 1] * 4 if labels is None else labels, batch, seed)


def index_images(count: int) -> torch.Tensor:
    """Images of one pixel that hold their own number."""
    return torch.arange(float(count)).view(-1, 1, 1, 1)


def test_times_are_uniform_and_stratified():
    made = batches_of(index_images(8), batch=16)
    times = torch.cat([made[step].t for step in range(200)]).double().numpy()
    assert 0 <= times.min() and times.max() < 1
    assert kstest(times, "uniform").pvalue > 0.01  # stratified, so rather too even than too odd
    assert [np.floor(made[step].t.numpy() * 16).astype(int).tolist() for step in range(3)] == [list(range(16))] * 3


def test_every_step_draws_anew_and_every_image_is_used_with_its_own_label():
    made = batches_of(index_images(8), labels=[3, 4, 3, 4, 3, 4, 3, 4])
    batches = [made[step] for step in range(40)]
    images = torch.cat([b.x1 for b in batches]).flatten()
    assert images.unique().tolist() == list(range(8))
    assert torch.equal(torch.cat([b.labels for b in batches]), 3 + images.long() % 2)
    assert not torch.equal(batches[0].x0, batches[1].x0)
    noise = torch.cat([b.x0 for b in batches]).flatten()
    assert abs(float(noise.mean())) < 4 / len(noise) ** 0.5 and float(noise.std()) == pytest.approx(1, abs=0.2)


def test_a_step_is_the_same_again_and_another_seed_gives_another():
    first, again, other = (batches_of(seed=seed)[5] for seed in (0, 0, 1))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first.x0, other.x0)


@pytest.mark.parametrize("workers", [0, 2])
def test_workers_change_no_bit(workers):
    whole, steps = batches_of(), range(3, 9)
    made = DataLoader(batches_of(), None, sampler=steps, num_workers=workers)
    for step, batch in zip(steps, made, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(batch, whole[step], strict=True))


def test_lazy_images_are_asked_for_one_by_one_and_only_where_drawn():
    asked = []

    class Lazy:
        def __getitem__(self, index: int) -> torch.Tensor:
            asked.append(index)
            return torch.full((2, 3, 5), float(index))

    batch = batches_of(Lazy(), labels=[0] * 100_000)[0]
    assert batch.x1.shape == (4, 2, 3, 5) and batch.x1[:, 0, 0, 0].tolist() == asked


def test_categories_are_drawn_equally_often_however_many_images_they_have():
    labels = torch.tensor([0] * 3 + [1] * 47 + [2] * 10)
    made = batches_of(index_images(60), labels, batch=50)
    counts = torch.bincount(torch.cat([made[step].x1.flatten().long() for step in range(120)]), minlength=60)
    assert counts.min() > 0
    for category in range(3):
        of_it = counts[labels == category]
        assert of_it.sum() == pytest.approx(2000, rel=0.06)
        np.testing.assert_allclose(of_it, 2000 / len(of_it), rtol=0.6)
