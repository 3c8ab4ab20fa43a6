"""Mismatch, aggregation, running heat map and score against the closed form of a single training image."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from conftest import random_gaussian
from scipy.ndimage import gaussian_filter

from fmcore import mismatch
from fmcore.mismatch import (
    HeatSettings,
    Mismatch,
    MismatchStep,
    PathSettings,
    RunningHeatmap,
    image_score,
    mismatch_steps,
    smooth,
)
from fmcore.path import draw_noise, interior_times

RAW = HeatSettings(smoothing=0.0)
NORMAL, TEST = torch.rand(2, 3, 8, 10, generator=torch.Generator().manual_seed(0)) * 2 - 1


def point_mass(x, t):
    """Exact field of data that are always the image `NORMAL`."""
    return (NORMAL - x) / (1 - t)


def collect(field, image, **settings) -> Mismatch:
    return Mismatch.collect(mismatch_steps(field, image, PathSettings(**settings)))


def random_mismatch(times: int = 4, paths: int = 5) -> Mismatch:
    maps = np.random.default_rng(1).random((times, paths, 9, 7), dtype=np.float32)
    return Mismatch(np.array(interior_times(times)), maps)


def test_mismatch_of_a_point_mass_is_its_closed_form_on_every_path():
    record = collect(point_mass, TEST, paths=3, times=4)
    gap = (NORMAL - TEST).square().sum(0).numpy()
    assert record.maps.shape == (4, 3, 8, 10)
    for t, maps in zip(record.times, record.maps, strict=True):
        np.testing.assert_allclose(maps, np.broadcast_to(gap / (1 - t) ** 2, maps.shape), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("aggregator", ["min", "mean", "median", "percentile"])
@pytest.mark.parametrize("exponent", [0.0, 2.0, 3.5])
def test_heatmap_of_a_point_mass_is_its_closed_form(aggregator, exponent):
    record = collect(point_mass, TEST, paths=3, times=5)
    gap = (NORMAL - TEST).square().sum(0).numpy()
    factor = np.mean([t**exponent / (1 - t) ** 2 for t in interior_times(5)])
    found = record.heatmap(HeatSettings(aggregator=aggregator, exponent=exponent, smoothing=0.0))
    np.testing.assert_allclose(found, factor * gap, rtol=1e-3, atol=1e-4)


def test_normal_image_of_a_point_mass_has_no_mismatch():
    assert collect(point_mass, NORMAL, paths=2, times=6).maps.max() < 1e-8


def test_mismatch_is_the_squared_gap_written_out_for_one_pixel():
    field = random_gaussian((3, 4, 5), 3)
    image = torch.rand(3, 4, 5)
    record = collect(field, image, paths=2, times=3, noise_seed=7)
    noise = draw_noise(2, (3, 4, 5), 7)
    for j, t in enumerate([0.25, 0.5, 0.75]):
        for k in range(2):
            velocity = field(((1 - t) * noise[k] + t * image)[None], t)[0]
            expected = sum(float(velocity[c, 1, 2] - image[c, 1, 2] + noise[k, c, 1, 2]) ** 2 for c in range(3))
            assert record.maps[j, k, 1, 2] == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_times_are_interior_ascending_and_numbered():
    steps = list(mismatch_steps(point_mass, TEST, PathSettings(paths=1, times=9)))
    assert [s.index for s in steps] == list(range(9))
    assert [s.t for s in steps] == pytest.approx([j / 10 for j in range(1, 10)])


@pytest.mark.parametrize(
    ("alpha", "count", "rank"),
    [(0.1, 10, 1), (0.25, 4, 1), (0.26, 4, 2), (0.3, 10, 3), (0.5, 5, 3), (0.01, 4, 1), (1.0, 6, 6), (0.7, 10, 7)],
)
def test_percentile_is_an_order_statistic(alpha, count, rank):
    maps = np.random.default_rng(2).random((2, count, 3, 4), dtype=np.float32)
    found = Mismatch(np.array([0.3, 0.6]), maps).per_time(HeatSettings(aggregator="percentile", alpha=alpha))
    np.testing.assert_array_equal(found, np.sort(maps, axis=1)[:, rank - 1])


def test_min_mean_and_median_of_an_even_number_of_paths():
    maps = np.array([4.0, 1.0, 3.0, 10.0], dtype=np.float32).reshape(1, 4, 1, 1)
    one = Mismatch(np.array([0.5]), maps)
    found = {a: one.per_time(HeatSettings(aggregator=a)).item() for a in ("min", "mean", "median")}
    assert found == {"min": 1.0, "mean": 4.5, "median": 3.5}


def test_more_paths_keep_those_already_seen():
    few, many = (collect(random_gaussian((3, 8, 10), 2), TEST, paths=k, times=2) for k in (2, 5))
    np.testing.assert_allclose(few.maps, many.maps[:, :2], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("chunk", [1, 2])
def test_chunks_do_not_change_the_mismatch(chunk, monkeypatch):
    field, settings = random_gaussian((3, 8, 10), 2), PathSettings(paths=5, times=3)
    whole = Mismatch.collect(mismatch_steps(field, TEST, settings))
    monkeypatch.setattr(mismatch, "CHUNK", chunk)
    parts = Mismatch.collect(mismatch_steps(field, TEST, settings))
    np.testing.assert_allclose(parts.maps, whole.maps, rtol=1e-4, atol=1e-5)


def test_chunk_bounds_the_states_of_one_call(monkeypatch):
    monkeypatch.setattr(mismatch, "CHUNK", 2)
    sizes = []

    def field(x, t):
        sizes.append(len(x))
        return point_mass(x, t)

    list(mismatch_steps(field, TEST, PathSettings(paths=5, times=1)))
    assert sizes == [2, 2, 1]


def test_same_seed_gives_the_same_bits_and_another_seed_others():
    field = random_gaussian((3, 8, 10), 2)
    first, again, other = (collect(field, TEST, paths=2, times=3, noise_seed=s) for s in (4, 4, 5))
    np.testing.assert_array_equal(first.maps, again.maps)
    assert not np.allclose(first.maps, other.maps)


def test_inference_mode_does_not_leak_out_of_a_waiting_generator():
    steps = mismatch_steps(point_mass, TEST, PathSettings(paths=1, times=2))
    next(steps)
    assert not torch.is_inference_mode_enabled()


@pytest.mark.parametrize("sigma", [0.0, 1.5])
def test_last_running_map_is_the_heatmap_and_the_first_is_one_time_alone(sigma):
    record, heat = random_mismatch(), HeatSettings(smoothing=sigma)
    running = record.running(heat)
    np.testing.assert_array_equal(running[-1], record.heatmap(heat))
    for j in range(4):
        expected = (record.times[: j + 1, None, None] ** 2 * record.maps[: j + 1].min(1)).mean(0)
        expected = gaussian_filter(expected, sigma, mode="reflect") if sigma else expected
        np.testing.assert_allclose(running[j], expected, rtol=1e-4)


def test_subset_of_times_averages_over_that_subset():
    record = random_mismatch()
    part = record.subset([1, 3])
    expected = (0.4**2 * record.maps[1].min(0) + 0.8**2 * record.maps[3].min(0)) / 2
    np.testing.assert_allclose(part.heatmap(RAW), expected, rtol=1e-5)
    np.testing.assert_array_equal(record.subset(slice(0, 2)).heatmap(RAW), record.running(RAW)[1])


def test_smoothing_keeps_the_mean_and_never_mixes_times():
    maps = np.zeros((2, 16, 16), dtype=np.float32)
    maps[0, 0, 3] = 1
    blurred = smooth(maps, 2.0)
    assert blurred[0].sum() == pytest.approx(1, rel=1e-4) and blurred[0].max() < 0.2
    assert not blurred[1].any()
    assert smooth(maps, 0.0) is maps


@pytest.mark.parametrize(("height", "width"), [(10, 10), (13, 17), (3, 5), (1, 1)])
def test_image_score_is_the_maximum_plus_the_mean_of_the_top_percent(height, width):
    values = np.random.default_rng(3).random((height, width)).astype(np.float32)
    ordered = sorted(values.ravel().tolist(), reverse=True)
    top = ordered[: max(1, math.ceil(height * width / 100))]
    assert image_score(values) == pytest.approx(ordered[0] + sum(top) / len(top), rel=1e-6)


def test_image_score_of_known_maps():
    heat = np.zeros((20, 20), dtype=np.float32)  # the top 1 % are 4 pixels
    heat[3, 4] = 8
    assert image_score(heat) == pytest.approx(8 + 8 / 4)
    assert image_score(np.full((20, 20), 3, dtype=np.float32)) == 6


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
    monkeypatch.setattr(mismatch, "smooth", lambda maps, sigma: smoothed.append(len(maps)) or smooth(maps, sigma))
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
