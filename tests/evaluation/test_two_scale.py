"""Two resolutions: what is averaged, in which units, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import assert_one_sentence, blob_tensors

from fmcore.errors import DataError, SettingsError
from fmcore.evaluation.baselines import Detector, MismatchDetector
from fmcore.evaluation.baselines.two_scale import TwoScaleDetector, halved
from fmcore.fields.gaussian import fit_gaussian
from fmcore.mismatch.mismatch import PathSettings


class Squares(Detector):
    """The map is a multiple of the squared image, under one setting."""

    def __init__(self, factor: float, setting: str = "a"):
        self.factor, self.setting = factor, setting

    def maps(self, image):
        return {self.setting: (self.factor * image.square().sum(0)).numpy()}


def test_half_an_image_is_the_mean_of_four_pixels():
    image = torch.arange(32.0).view(2, 4, 4)
    assert torch.equal(halved(image)[0], torch.tensor([[2.5, 4.5], [10.5, 12.5]]))
    assert torch.equal(halved(image[None]), halved(image)[None])
    with pytest.raises(SettingsError) as error:
        halved(torch.zeros(1, 5, 4))
    assert_one_sentence(error.value, "even")


def test_each_scale_counts_in_units_of_its_level_on_normal_images():
    held, image = torch.ones(3, 1, 4, 4), torch.full((1, 4, 4), 2.0)
    detector = TwoScaleDetector(Squares(1.0), Squares(50.0), held)
    np.testing.assert_allclose(detector.maps(image)["a"], 4.0)  # twice the normal value, squared, at both scales
    np.testing.assert_allclose(detector.maps(held[0])["a"], 1.0)


def test_a_real_field_gives_maps_of_full_size_with_the_same_settings():
    images = blob_tensors(range(12))
    paths = PathSettings(paths=1, times=2)
    full = MismatchDetector(fit_gaussian(images[:8]), paths)
    half = MismatchDetector(fit_gaussian(halved(images[:8])), paths)
    detector = TwoScaleDetector(full, half, images[8:])
    maps = detector.maps(images[8])
    assert maps.keys() == full.maps(images[8]).keys() and {m.shape for m in maps.values()} == {(32, 32)}
    assert detector.evaluations == 4 and detector.default == full.default
    mean = np.mean([detector.maps(image)[full.default].mean() for image in images[8:]])
    assert mean == pytest.approx(1, abs=0.05)  # interpolation keeps a mean nearly


def test_nothing_held_out_or_unlike_settings_are_refused():
    with pytest.raises(DataError) as error:
        TwoScaleDetector(Squares(1), Squares(1), torch.zeros(0, 1, 4, 4))
    assert_one_sentence(error.value, "held-out")
    with pytest.raises(SettingsError) as error:
        TwoScaleDetector(Squares(1), Squares(1, "b"), torch.ones(1, 1, 4, 4))
    assert_one_sentence(error.value, "same settings")
