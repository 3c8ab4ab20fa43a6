"""Settings: every wrong value is one sentence that names it."""

from __future__ import annotations

import pytest
from conftest import assert_one_sentence

from fmcore.detector.settings import FitSettings
from fmcore.errors import SettingsError
from fmcore.mismatch import HeatSettings, PathSettings
from fmcore.training import TrainSettings


@pytest.mark.parametrize(
    ("cls", "values", "parts"),
    [
        (PathSettings, {"path": 3}, ("'path'", "did you mean 'paths'?")),
        (TrainSettings, {"learning_rat": 1e-3}, ("did you mean 'learning_rate'?",)),
        (PathSettings, {"zzz": 3}, ("'zzz'", "paths, times, noise_seed")),
        (PathSettings, {"paths": "4"}, ("'paths' = '4'", "integer")),
        (PathSettings, {"paths": 3.7}, ("'paths' = 3.7",)),
        (PathSettings, {"paths": True}, ("'paths' = True",)),
        (PathSettings, {"paths": -1}, ("'paths' = -1", "greater than or equal to 0")),
        (PathSettings, {"times": 101}, ("'times' = 101",)),
        (PathSettings, {"noise_seed": -1}, ("'noise_seed' = -1",)),
        (HeatSettings, {"aggregator": "max"}, ("'aggregator' = 'max'", "median")),
        (HeatSettings, {"aggregator": "percentile", "alpha": 0.0}, ("'alpha' = 0.0", "0.01 to 1")),
        (HeatSettings, {"aggregator": "min", "alpha": 0.5}, ("'alpha' = 0.5", "has no parameter")),
        (HeatSettings, {"exponent": float("nan")}, ("'exponent' = nan",)),
        (HeatSettings, {"smoothing": float("inf")}, ("'smoothing' = inf",)),
        (FitSettings, {"false_alarm_rate": 1.0}, ("'false_alarm_rate' = 1.0",)),
        (TrainSettings, {"steps": 0}, ("'steps' = 0",)),
    ],
)
def test_a_wrong_setting_is_named_in_one_sentence(cls, values, parts):
    with pytest.raises(SettingsError) as caught:
        cls.parse(**values)
    assert_one_sentence(caught.value, *parts)


def test_replace_checks_like_parse_and_keeps_the_rest():
    base = PathSettings(paths=7)
    changed = base.replace(times=5)
    assert (changed.paths, changed.times, base.times) == (7, 5, 12)
    with pytest.raises(SettingsError, match="did you mean 'times'"):
        base.replace(time=5)


def test_nested_settings_survive_replace():
    fit = FitSettings.parse(training=TrainSettings(steps=2)).replace(seed=64)
    assert fit.training == TrainSettings(steps=2) and fit.seed == 64


def test_json_round_trip_gives_an_equal_object():
    fit = FitSettings.parse(training=TrainSettings(steps=4), heat={"aggregator": "median"})
    assert FitSettings.model_validate_json(fit.model_dump_json()) == fit


def test_settings_cannot_be_changed_in_place():
    with pytest.raises(ValueError, match="frozen"):
        PathSettings().paths = 3
