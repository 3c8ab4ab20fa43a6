"""What is held out for the threshold."""

import numpy as np
import pytest

from fmcore.detector.calibration import conformal_threshold
from fmcore.detector.held_out import fewest_held_out, fewest_images, held_out_count, least_rate


@pytest.mark.parametrize(
    ("count", "rate", "expected"),
    [(2, 0.05, 1), (12, 0.05, 1), (56, 0.05, 6), (57, 0.05, 19), (300, 0.05, 30), (27, 0.1, 9)],
)
def test_share_of_images_a_network_does_not_see(count, rate, expected):
    assert held_out_count(count, rate) == expected


@pytest.mark.parametrize("rate", [0.01, 0.03, 0.05, 0.1, 0.2, 0.5])
def test_fewest_held_out_scores_are_the_first_that_have_a_threshold(rate):
    fewest = fewest_held_out(rate)
    assert conformal_threshold(np.arange(fewest), rate)[0] is not None
    if fewest > 1:
        assert conformal_threshold(np.arange(fewest - 1), rate)[0] is None


@pytest.mark.parametrize("rate", [0.01, 0.05, 0.1, 0.2])
def test_fewest_images_of_a_network_hold_out_enough(rate):
    fewest = fewest_images("unet", rate)
    assert held_out_count(fewest, rate) >= fewest_held_out(rate) > held_out_count(fewest - 1, rate)
    assert fewest_images("gaussian", rate) == fewest_held_out(rate)


@pytest.mark.parametrize(
    ("field", "count", "expected"),
    [("unet", 57, 0.05), ("unet", 31, 0.10), ("unet", 12, 0.20), ("unet", 2, None), ("gaussian", 19, 0.05)],
)
def test_least_rate_that_some_images_can_have(field, count, expected):
    assert least_rate(field, count) == expected
