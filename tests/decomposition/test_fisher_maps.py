"""The Fisher term as a heat map, beside the mismatch of scoring."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import SIZE, assert_one_sentence, blob_tensors

from fmcore.decomposition.sampled import fisher_maps
from fmcore.errors import SettingsError
from fmcore.fields import EmpiricalField, GaussianField
from fmcore.fields.gaussian import fit_gaussian
from fmcore.mismatch import Mismatch, PathSettings, mismatch_steps

PATHS = PathSettings(paths=3, times=4)
IMAGES = blob_tensors(range(12))
P = fit_gaussian(IMAGES)


def test_mismatch_is_bit_for_bit_that_of_scoring():
    both = fisher_maps(P, fit_gaussian(IMAGES[:5]), IMAGES[0], PATHS)
    alone = Mismatch.collect(mismatch_steps(P, IMAGES[0], PATHS))
    np.testing.assert_array_equal(both.mismatch.maps, alone.maps)
    assert both.fisher.maps.shape == (4, 3, SIZE, SIZE)


def test_fisher_part_is_zero_for_equal_fields_and_the_mismatch_for_the_field_of_the_image():
    image = IMAGES[0]
    same = fisher_maps(P, P, image, PATHS)
    assert not same.fisher.maps.any() and same.mismatch.maps.any()
    own = fisher_maps(P, EmpiricalField(image[None]), image, PATHS)
    np.testing.assert_allclose(own.fisher.maps, own.mismatch.maps, rtol=1e-3, atol=1e-4)


def test_the_exact_mean_over_noise_is_refused():
    with pytest.raises(SettingsError) as caught:
        fisher_maps(P, P, P.mean, PATHS.replace(paths=0))
    assert_one_sentence(caught.value, "at least 1")


def test_feature_maps_of_any_shape_have_both_maps():
    y = torch.randn(7, 5, 9, generator=torch.Generator().manual_seed(0))
    maps = fisher_maps(GaussianField.isotropic(y + 1, 0.5), GaussianField.isotropic(y, 0.5), y, PATHS)
    assert maps.mismatch.maps.shape == maps.fisher.maps.shape == (4, 3, 5, 9)
    for t, fisher in zip(maps.fisher.times, maps.fisher.maps, strict=True):
        # v_p - v_q = (1 - t) / c at every place and channel: the means differ by 1, the covariances do not.
        expected = 7 * ((1 - t) / ((1 - t) ** 2 + t**2 / 2)) ** 2
        np.testing.assert_allclose(fisher, expected, rtol=1e-3)
