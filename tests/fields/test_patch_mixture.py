"""Patch mixtures against the exact fields they contain, and against a sum over patches written out."""

from __future__ import annotations

import pytest
import torch
from conftest import assert_denoises, assert_one_sentence, blob_tensors

from fmcore.errors import DataError, SettingsError
from fmcore.fields.empirical import EmpiricalField
from fmcore.fields.mixture import MixtureField
from fmcore.fields.patch_mixture import PatchMixtureField


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.randn(5, 2, 4, 4, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def states(images) -> torch.Tensor:
    noise = torch.randn(3, 2, 4, 4, generator=torch.Generator().manual_seed(1))
    return 0.5 * noise + 0.5 * images[:3]


@pytest.mark.parametrize("t", [0.1, 0.5, 0.9])
def test_one_patch_that_covers_all_is_the_empirical_field(images, states, t):
    field = PatchMixtureField(images, patch=4, stride=4, reach=0, width=0.0)
    torch.testing.assert_close(field(states, t), EmpiricalField(images)(states, t), atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("t", [0.1, 0.5, 0.9])
def test_with_a_width_it_is_a_gaussian_mixture(images, states, t):
    field = PatchMixtureField(images, patch=4, stride=4, reach=0, width=0.3)
    nothing = torch.zeros(5, 0, 32)
    mixture = MixtureField(torch.ones(5), images, nothing, torch.zeros(5, 0), torch.full((5,), 0.09))
    torch.testing.assert_close(field(states, t), mixture(states, t), atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(field.denoise(states, t), mixture.denoise(states, t), atol=1e-4, rtol=1e-3)


def test_a_pixel_is_the_mean_over_its_patches_and_reach_adds_shifted_ones(images, states):
    field = PatchMixtureField(images, patch=2, stride=1, reach=1, width=0.2)
    padded = torch.nn.functional.pad(images, [1] * 4, mode="reflect")
    total, counts = torch.zeros_like(states), torch.zeros_like(states)
    t, spread = 0.7, 0.3**2 + (0.7 * 0.2) ** 2
    for top in range(3):
        for left in range(3):
            shifted = [padded[:, :, top + y : top + y + 2, left + x : left + x + 2] for y in range(3) for x in range(3)]
            known = torch.cat(shifted).flatten(1)
            state = states[:, :, top : top + 2, left : left + 2].flatten(1)
            weights = (-torch.cdist(state, t * known).square() / (2 * spread)).softmax(1)
            mean = weights @ known
            posterior = (mean + t * 0.04 / spread * (state - t * mean)).view(3, 2, 2, 2)
            total[:, :, top : top + 2, left : left + 2] += posterior
            counts[:, :, top : top + 2, left : left + 2] += 1
    torch.testing.assert_close(field.denoise(states, t), total / counts, atol=1e-4, rtol=1e-4)


def test_times_may_differ_within_a_batch(images, states):
    field = PatchMixtureField(images, patch=2, reach=0)
    both = field(states[:2], torch.tensor([0.3, 0.8]))
    torch.testing.assert_close(both, torch.cat([field(states[:1], 0.3), field(states[1:2], 0.8)]))


def test_it_denoises_unseen_images_better_than_nothing():
    field = PatchMixtureField(blob_tensors(range(24)), patch=4)
    assert_denoises(field)
    assert torch.isfinite(field(blob_tensors(range(50, 54)), 1.0)).all()


def test_bad_input_is_refused_in_one_sentence(images):
    with pytest.raises(DataError) as error:
        PatchMixtureField(images[:0])
    assert_one_sentence(error.value)
    for options in ({"patch": 8}, {"patch": 3, "stride": 2}, {"stride": 5}, {"reach": -1}, {"width": -0.1}):
        with pytest.raises(SettingsError) as error:
            PatchMixtureField(images, **options)
        assert_one_sentence(error.value)
