"""The mismatch expected over all noise, against Monte Carlo, the decomposition's closed form, and the plain method."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import random_gaussian

from fmcore.decomposition.laws import gaussian_terms
from fmcore.fields import GaussianField
from fmcore.mismatch import HeatSettings, Mismatch, PathSettings, gap, mismatch_steps

PLANE = GaussianField(torch.tensor([1.0, 0.0]), torch.tensor([[0.6, 0.8]]), torch.tensor([2.0]), 0.3)
VIEW = (6, 9, 12)  # neither square nor of three channels
LAWS = {
    "1-D": (GaussianField.isotropic(torch.tensor([0.2]), 0.5), torch.tensor([1.7])),
    "2-D": (PLANE, torch.tensor([0.0, 1.5])),
    "image": (random_gaussian((3, 16, 16), 5), random_gaussian((3, 16, 16), 5, seed=1).mean),
    "features": (random_gaussian(VIEW, 5), random_gaussian(VIEW, 5, seed=1).mean),
}


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("t", [0.1, 0.5, 0.9])
def test_it_is_the_mean_over_noise_at_every_place(law, t):
    field, y = LAWS[law]
    x0 = torch.randn(3000, *y.shape, generator=torch.Generator().manual_seed(5))
    squares = gap(field, y, x0, t).double().square().sum(1)
    mean, error = squares.mean(0), squares.std(0) / len(x0) ** 0.5
    found = field.expected_mismatch(y)(t)
    assert found.shape == y.shape[1:] and found.dtype == y.dtype
    # Hundreds of places, dependent through 5 components: none beyond 5 standard errors, and a mean square of about 1.
    z = (found - mean) / error
    assert z.abs().max() < 5 and z.square().mean() < (2.5 if z.numel() > 1 else 16)


@pytest.mark.parametrize("t", [0.05, 0.5, 0.95])
def test_its_sum_is_the_fisher_term_of_a_point_mass_in_closed_form(t):
    """Another derivation, through scores and traces, in float64."""
    for field, y in LAWS.values():
        expected = gaussian_terms(field, GaussianField.isotropic(y, 0.0), t).mismatch
        assert float(field.expected_mismatch(y)(t).sum()) == pytest.approx(expected, rel=1e-4)


def test_an_image_like_the_mean_keeps_the_part_of_the_noise():
    field, t = GaussianField.isotropic(torch.zeros(4, 2, 3), 0.25), 0.6
    coefficient = t * 0.25 / ((1 - t) ** 2 + t**2 * 0.25)
    torch.testing.assert_close(field.expected_mismatch(torch.zeros(4, 2, 3))(t), torch.full((2, 3), 4 * coefficient**2))


def test_the_mean_over_many_paths_comes_to_it():
    field, y = LAWS["features"]
    paths, heat = PathSettings(paths=64, times=3), HeatSettings(aggregator="mean", smoothing=0.0)
    runs = [Mismatch.collect(mismatch_steps(field, y, paths.replace(noise_seed=seed))) for seed in range(20)]
    sums = np.array([run.per_time(heat).sum((1, 2)) for run in runs])
    expected = [float(field.expected_mismatch(y)(t).sum()) for t in runs[0].times]
    assert (abs(sums.mean(0) - expected) < 4 * sums.std(0, ddof=1) / 20**0.5).all()
    assert (abs(sums.mean(0) / expected - 1) < 0.02).all()


def test_a_field_in_float64_gives_float64():
    field, y = random_gaussian(VIEW, 5).double(), LAWS["features"][1].double()
    found = field.expected_mismatch(y)(0.3)
    assert found.dtype == torch.float64
    torch.testing.assert_close(found.float(), LAWS["features"][0].expected_mismatch(y.float())(0.3), rtol=1e-4, atol=0)
