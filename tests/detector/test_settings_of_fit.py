"""What fit settings say before anything is fitted."""

import pytest

from fmcore.detector.settings import FitSettings


@pytest.mark.parametrize(
    ("given", "count", "said"),
    [
        ({}, 57, ()),
        ({}, 56, ("56 good images", "rate of 5% takes 57", "enough for false_alarm_rate 0.06.")),
        ({}, 4, ("4 good images", "takes 57.")),
        ({"field": "gaussian"}, 19, ()),
        ({"field": "gaussian"}, 18, ("18 good images", "takes 19", "enough for false_alarm_rate 0.06.")),
        ({"calibration_images": 18}, 300, ("calibration_images 18", "takes 19.")),
        ({"calibration_images": 5}, 30, ("calibration_images 5", "takes 19.")),
        ({"calibration_images": 19}, 300, ()),
        ({"calibration_images": 9, "false_alarm_rate": 0.1}, 300, ()),
        ({"false_alarm_rate": 0.01}, 297, ()),
    ],
)
def test_what_keeps_images_from_giving_a_threshold(given, count, said):
    why = FitSettings.parse(**given).why_no_threshold(count)
    assert bool(why) == bool(said) and all(part in why for part in said)


@pytest.mark.parametrize("field", ["gaussian", "unet"])
@pytest.mark.parametrize("rate", [0.02, 0.05, 0.2])
def test_a_rate_that_is_advised_is_one_that_works(field, rate):
    for count in range(2, 60):
        why = FitSettings.parse(field=field, false_alarm_rate=rate).why_no_threshold(count)
        _, advised, better = why.rstrip(".").partition("false_alarm_rate ")
        if advised:
            assert not FitSettings.parse(field=field, false_alarm_rate=float(better)).why_no_threshold(count)
