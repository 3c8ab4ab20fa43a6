"""Patch Gaussians against the dense formula: exact per patch, an average over patches per pixel."""

from __future__ import annotations

import pytest
import torch
from conftest import assert_denoises, assert_one_sentence, blob_tensors, random_gaussian

from fmcore.errors import DataError, SettingsError
from fmcore.fields.patch_gaussian import PatchGaussianField, fit_patch_gaussian


def dense_velocity(mean, covariance, x, t):
    """Velocity of ``N(mean, covariance)`` at rows ``x``, by a dense inverse in float64."""
    eye = torch.eye(len(mean), dtype=torch.float64)
    state = (1 - t) ** 2 * eye + t**2 * covariance
    return mean + (x - t * mean) @ torch.linalg.inv(state) @ (t * covariance - (1 - t) * eye)


def random_patches(shape, patch, stride, seed=0):
    """A field with random means and covariances, and these in float64."""
    generator = torch.Generator().manual_seed(seed)
    places = ((shape[1] - patch) // stride + 1) * ((shape[2] - patch) // stride + 1)
    dimension = shape[0] * patch**2
    root = torch.randn(places, dimension, dimension, generator=generator, dtype=torch.float64) / dimension**0.5
    covariances = root @ root.mT + 0.05 * torch.eye(dimension, dtype=torch.float64)
    means = torch.randn(places, dimension, generator=generator, dtype=torch.float64)
    variances, bases = torch.linalg.eigh(covariances)
    return PatchGaussianField(means, bases, variances, shape, patch, stride), means, covariances


@pytest.mark.parametrize("t", [0.1, 0.5, 0.95])
def test_one_patch_that_covers_all_is_the_gaussian_field(t):
    gaussian = random_gaussian((2, 4, 4), 5)
    u, d = gaussian.components.double(), gaussian.mean.numel()
    rest = gaussian.rest.double()
    dense = u.T @ torch.diag(gaussian.variances.double() - rest) @ u + rest * torch.eye(d, dtype=torch.float64)
    variances, bases = torch.linalg.eigh(dense)
    field = PatchGaussianField(gaussian.mean.flatten()[None], bases[None], variances[None], (2, 4, 4), 4, 4)
    x = torch.randn(3, 2, 4, 4, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(field(x, t), gaussian(x, t), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(field.denoise(x, t), gaussian.denoise(x, t), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("t", [0.2, 0.9])
def test_a_pixel_is_the_mean_over_the_patches_that_hold_it(t):
    field, means, covariances = random_patches((1, 4, 6), 2, 2 // 2)
    x = torch.randn(2, 1, 4, 6, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    total, counts = torch.zeros_like(x), torch.zeros_like(x)
    place = 0
    for top in range(3):
        for left in range(5):
            part = x[:, :, top : top + 2, left : left + 2].reshape(2, -1)
            velocity = dense_velocity(means[place], covariances[place], part, t).reshape(2, 1, 2, 2)
            total[:, :, top : top + 2, left : left + 2] += velocity
            counts[:, :, top : top + 2, left : left + 2] += 1
            place += 1
    torch.testing.assert_close(field(x.float(), t).double(), total / counts, atol=1e-4, rtol=1e-4)


def test_times_may_differ_within_a_batch():
    field, *_ = random_patches((1, 4, 4), 2, 2)
    x = torch.randn(2, 1, 4, 4, generator=torch.Generator().manual_seed(3))
    both = field(x, torch.tensor([0.3, 0.8]))
    torch.testing.assert_close(both[:1], field(x[:1], 0.3))
    torch.testing.assert_close(both[1:], field(x[1:], 0.8))


def test_fit_recovers_the_moments_of_many_images():
    generator = torch.Generator().manual_seed(4)
    root = torch.randn(4, 4, generator=generator)
    images = (torch.randn(20_000, 4, generator=generator) @ root).view(-1, 1, 2, 2) + 1
    field = fit_patch_gaussian(images, patch=2, stride=2, reach=0, prior=0.0)
    covariance = field.bases[0] @ torch.diag(field.variances[0]) @ field.bases[0].T
    torch.testing.assert_close(covariance, root.T @ root, atol=0.15, rtol=0.05)
    torch.testing.assert_close(field.means[0], torch.ones(4), atol=0.05, rtol=0)


def test_a_strong_prior_gives_all_places_one_covariance_and_their_own_means():
    images = blob_tensors(range(10), channels=1)
    field = fit_patch_gaussian(images, patch=8, prior=1e6)
    spread = field.bases @ (field.variances[..., None] * field.bases.mT)
    torch.testing.assert_close(spread, spread[:1].expand_as(spread), atol=1e-4, rtol=1e-3)
    assert field.means.std(0).max() > 0.1


def test_it_denoises_unseen_images_better_than_nothing():
    field = fit_patch_gaussian(blob_tensors(range(24)), patch=8)
    assert_denoises(field)


def test_bad_input_is_refused_in_one_sentence():
    with pytest.raises(DataError) as error:
        fit_patch_gaussian(torch.zeros(1, 1, 8, 8))
    assert_one_sentence(error.value, "at least 2 images")
    for options in ({"patch": 16}, {"patch": 4, "stride": 3}, {"patch": 4, "stride": 5}):
        with pytest.raises(SettingsError) as error:
            fit_patch_gaussian(torch.zeros(3, 1, 8, 8), **options)
        assert_one_sentence(error.value)
    with pytest.raises(SettingsError):
        PatchGaussianField(torch.zeros(2, 4), torch.zeros(2, 4, 4), torch.ones(2, 4), (1, 4, 4), 2, 2)
