"""The running heat map has the bits of the whole one, and does each time once."""

from __future__ import annotations

import numpy as np
import pytest

from fmcore.mismatch import HeatSettings, Mismatch, MismatchStep, RunningHeatmap, heatmap

RNG = np.random.default_rng(0)
STEPS = [MismatchStep(j, (j + 1) / 8, RNG.gamma(1, 1, (5, 20, 30)).astype(np.float32)) for j in range(7)]


@pytest.mark.parametrize("aggregator", ["min", "mean", "median", "percentile"])
@pytest.mark.parametrize("smoothing", [0.0, 1.5])
def test_every_anytime_map_is_that_of_the_steps_so_far(aggregator, smoothing):
    heat = HeatSettings(aggregator=aggregator, smoothing=smoothing)
    running = RunningHeatmap(heat)
    whole = Mismatch.collect(STEPS).running(heat)
    for number, step in enumerate(STEPS, 1):
        found = running.add(step)
        assert found.dtype == np.float32 and running.count == number
        np.testing.assert_array_equal(found, Mismatch.collect(STEPS[:number]).heatmap(heat))
        np.testing.assert_array_equal(found, whole[number - 1])


def test_each_time_is_smoothed_once(monkeypatch):
    smoothed = []
    smooth = heatmap.smooth
    monkeypatch.setattr(heatmap, "smooth", lambda maps, sigma: smoothed.append(len(maps)) or smooth(maps, sigma))
    running = RunningHeatmap(HeatSettings())
    for step in STEPS:
        running.add(step)
    assert smoothed == [1] * len(STEPS)


def test_maps_given_out_do_not_change_later():
    running = RunningHeatmap(HeatSettings(smoothing=0.0))
    first = running.add(STEPS[0])
    before = first.copy()
    running.add(STEPS[1])
    np.testing.assert_array_equal(first, before)
