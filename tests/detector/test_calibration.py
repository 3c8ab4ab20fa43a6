"""Threshold and normal range against their definitions and a simulation."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import assert_one_sentence

from fmcore.detector.calibration import (
    RANGE_GRID,
    NormalRange,
    calibrate,
    conformal_threshold,
    fewest_held_out,
    find_outliers,
    held_out_count,
    why_no_threshold,
)
from fmcore.mismatch import HeatSettings, Mismatch, image_score

HEAT = HeatSettings(aggregator="mean", exponent=1.0, smoothing=1.0)


def random_mismatches(count: int, height: int, width: int) -> list[Mismatch]:
    rng = np.random.default_rng(0)
    return [Mismatch(np.array([0.25, 0.75]), rng.random((2, 3, height, width), dtype=np.float32)) for _ in range(count)]


@pytest.mark.parametrize(
    ("count", "rate", "rank"), [(19, 0.05, 19), (20, 0.05, 20), (39, 0.05, 38), (9, 0.1, 9), (99, 0.1, 90), (3, 0.5, 2)]
)
def test_threshold_is_the_conformal_order_statistic(count, rate, rank):
    scores = np.random.default_rng(count).random(count)
    threshold, reason = conformal_threshold(scores, rate)
    assert threshold.value == sorted(scores)[rank - 1] and reason == ""
    assert (threshold.held_out, threshold.false_alarm_rate) == (count, rate)


@pytest.mark.parametrize(("count", "rate", "needed"), [(18, 0.05, 19), (0, 0.05, 19), (8, 0.1, 9), (98, 0.01, 99)])
def test_too_few_images_give_no_threshold_and_say_how_many_it_takes(count, rate, needed):
    threshold, reason = conformal_threshold(np.arange(float(count)), rate)
    assert threshold is None
    assert_one_sentence(reason, f"{count} held-out", f"it takes {needed}.")
    assert conformal_threshold(np.arange(float(needed)), rate)[0] is not None


def test_a_small_rate_is_not_rounded_away():
    assert "rate of 0.5%; it takes 199." in conformal_threshold(np.arange(50.0), 0.005)[1]


@pytest.mark.parametrize(("count", "rate"), [(19, 0.05), (30, 0.1), (50, 0.1)])
def test_simulated_false_alarm_rate_is_at_most_the_promised_one(count, rate):
    runs = 8000
    draws = np.random.default_rng(1).lognormal(size=(runs, count + 1))
    alarms = np.mean([row[-1] > conformal_threshold(row[:-1], rate)[0].value for row in draws])
    noise = 4 * (rate * (1 - rate) / runs) ** 0.5
    assert rate - 1 / (count + 1) - noise <= alarms <= rate + noise


def test_scores_are_those_of_the_heat_maps():
    mismatches = random_mismatches(4, 12, 10)
    scores, outliers, _ = calibrate(mismatches, HEAT)
    assert scores.tolist() == [image_score(m.heatmap(HEAT)) for m in mismatches] and outliers == ()


def test_range_of_small_maps_is_the_quantile_of_each_pixel_over_images():
    mismatches = random_mismatches(7, 5, 40)  # the grid is then 5 x 32: one row, one or two columns per cell
    found = calibrate(mismatches, HEAT)[2]
    per_time = np.stack([m.maps.mean(1) for m in mismatches])  # unweighted, unsmoothed
    assert found.lower.shape == found.upper.shape == (2, 5, 32) and found.times.tolist() == [0.25, 0.75]
    cell = per_time[:, :, 2, 2:4].transpose(1, 0, 2).reshape(2, -1)  # columns 0-1, 2-3, ..., 14-15, 16, 17, ...
    np.testing.assert_allclose(found.lower[:, 2, 1], np.quantile(cell, 0.05, axis=1), rtol=1e-5)
    np.testing.assert_allclose(found.upper[:, 2, 1], np.quantile(cell, 0.95, axis=1), rtol=1e-5)
    np.testing.assert_allclose(found.upper[:, 4, 31], np.quantile(per_time[:, :, 4, 39], 0.95, axis=0), rtol=1e-5)


def test_range_of_large_maps_pools_the_pixels_of_a_cell():
    mismatches = random_mismatches(3, 64, 64)
    found = calibrate(mismatches, HEAT)[2]
    assert RANGE_GRID == 32 and found.upper.shape == (2, 32, 32)
    cells = np.stack([m.maps.mean(1) for m in mismatches]).reshape(3, 2, 32, 2, 32, 2)
    cells = cells.transpose(1, 2, 4, 0, 3, 5).reshape(2, 32, 32, -1)
    np.testing.assert_allclose(found.lower, np.quantile(cells, 0.05, axis=-1), rtol=1e-5)
    np.testing.assert_allclose(found.upper, np.quantile(cells, 0.95, axis=-1), rtol=1e-5)


@pytest.mark.parametrize("exponent", [0.0, 2.0])
def test_scale_is_three_times_the_upper_heat_of_nine_places_in_ten(exponent):
    times, upper = np.array([0.2, 0.5, 0.8]), np.random.default_rng(2).random((3, 4, 4), dtype=np.float32)
    heats = [sum(t**exponent * upper[j, r, c] for j, t in enumerate(times)) / 3 for r in range(4) for c in range(4)]
    assert NormalRange(times, 0 * upper, upper).scale(exponent) == pytest.approx(3 * np.quantile(heats, 0.9), rel=1e-5)


def test_one_bad_part_among_good_ones_is_found_and_does_not_move_the_threshold():
    good = random_mismatches(30, 12, 10)
    bad = Mismatch(good[0].times, good[0].maps * 30)
    scores, outliers, normal_range = calibrate(good, HEAT)
    spoilt_scores, spoilt_outliers, spoilt_range = calibrate([*good[:7], bad, *good[7:]], HEAT)
    assert spoilt_outliers == (7,) and outliers == ()
    assert conformal_threshold(spoilt_scores, 0.05) == conformal_threshold(scores, 0.05)
    np.testing.assert_array_equal(spoilt_range.upper, normal_range.upper)


@pytest.mark.parametrize("sigma", [0.05, 0.3, 0.8])
def test_ordinary_scores_are_no_outliers(sigma):
    draws = np.random.default_rng(3).lognormal(sigma=sigma, size=(500, 40))
    assert np.mean([len(find_outliers(row)) for row in draws]) < 0.01


@pytest.mark.parametrize("rate", [0.02, 0.05, 0.1, 0.3])
def test_what_is_held_out_is_enough_for_a_threshold_where_it_can_be(rate):
    needed = fewest_held_out(rate)
    for count in range(3, 400):
        held = held_out_count(count, rate)
        assert 1 <= held <= count - 2 and (held >= needed) == (count >= 3 * needed or round(count / 10) >= needed)


@pytest.mark.parametrize("trained", [False, True])
def test_a_rate_that_is_advised_is_one_that_works(trained):
    assert why_no_threshold(57, 0.05, True) == why_no_threshold(19, 0.05, False) == ""
    assert_one_sentence(why_no_threshold(18, 0.05, False), "18 good images", "5% takes 19", "--false-alarm-rate 0.06.")
    for count in range(3, 60):
        _, advised, better = why_no_threshold(count, 0.05, trained).rstrip(".").partition("--false-alarm-rate ")
        if advised:
            assert why_no_threshold(count, float(better), trained) == ""
