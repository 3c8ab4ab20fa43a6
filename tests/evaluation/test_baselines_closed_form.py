"""Baselines without training, against formulas and brute force."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import assert_one_sentence, blob_tensors, dense_covariance, random_gaussian

from fmcore.errors import DataError, SettingsError
from fmcore.evaluation.baselines import (
    MahalanobisDetector,
    MismatchDetector,
    NearestDetector,
    OneStepDetector,
    OneStepSettings,
    PixelGaussianDetector,
    ReconstructionDetector,
    ReconstructionSettings,
    TimeReversedDetector,
    TimeReversedSettings,
    detect,
)
from fmcore.evaluation.baselines.ode import integrate
from fmcore.evaluation.normalisation import DenoisingFloor
from fmcore.fields.empirical import EmpiricalField
from fmcore.fields.gaussian import fit_gaussian
from fmcore.mismatch.mismatch import HeatSettings, Mismatch, PathSettings, image_score, mismatch_steps, smooth
from fmcore.path import draw_noise

SHAPE = (2, 4, 4)


@pytest.fixture(scope="module")
def field():
    return random_gaussian(SHAPE, 4)


@pytest.fixture(scope="module")
def image() -> torch.Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(9)).clamp(-1, 1)


def test_integration_converges_at_its_order():
    def decay(x, t):
        return -2 * t * x

    exact = float(np.exp(-1))
    start = torch.ones(1, 1, dtype=torch.float64)
    errors = {
        method: [abs(float(integrate(decay, start, 0.0, 1.0, steps=n, method=method)) - exact) for n in (50, 100)]
        for method in ("euler", "heun")
    }
    assert errors["euler"][0] / errors["euler"][1] == pytest.approx(2, rel=0.1)
    assert errors["heun"][1] < errors["euler"][1] / 5
    back = integrate(decay, integrate(decay, start, 0.0, 0.9, steps=200), 0.9, 0.0, steps=200)
    assert float(back) == pytest.approx(1, abs=1e-4)


def test_integration_never_evaluates_at_one():
    seen = []

    def field(x, t):
        seen.append(t)
        return x

    integrate(field, torch.ones(1, 1), 0.3, 1.0, steps=7, method="heun")
    assert max(seen) < 1 and len(seen) == 13


def test_reconstruction_of_a_gaussian_field_is_its_flow(field, image):
    """The flow of a Gaussian from t to 1 scales each eigendirection by sqrt(a / ((1 - t)^2 + t^2 a))."""
    settings = ReconstructionSettings(starts=(0.6,), steps=400, method="heun", paths=3, noise_seed=2)
    detector = ReconstructionDetector(field, settings)
    x = 0.4 * draw_noise(3, SHAPE, 2) + 0.6 * image
    values, vectors = torch.linalg.eigh(dense_covariance(field))
    gain = (values / (0.4**2 + 0.6**2 * values)).sqrt()
    centred = (x - 0.6 * field.mean).flatten(1).double()
    expected = field.mean.flatten().double() + (centred @ vectors * gain) @ vectors.T
    torch.testing.assert_close(detector.reconstruct(image, 0.6).flatten(1).double(), expected, atol=2e-3, rtol=2e-3)
    error = (expected.view(3, *SHAPE) - image).square().sum(1).mean(0)
    np.testing.assert_allclose(detector.maps(image)["t0=0.6"], error, atol=0.02, rtol=0.02)
    assert detector.evaluations == 3 * 799


def test_reconstruction_with_a_finite_set_returns_its_member():
    images = blob_tensors(range(5))
    detector = ReconstructionDetector(EmpiricalField(images), ReconstructionSettings(starts=(0.9,), steps=10))
    assert detector.maps(images[2])["t0=0.9"].max() < 1e-4


@pytest.mark.parametrize("t", [0.3, 0.8])
def test_one_step_residual_is_the_scaled_mismatch(field, image, t):
    times = round(1 / 0.1) - 1
    index = round(t * 10) - 1
    steps = list(mismatch_steps(field, image, PathSettings(paths=6, times=times, noise_seed=4)))
    expected = (1 - t) ** 2 * steps[index].paths.mean(0)
    settings = OneStepSettings(times=(t,), paths=6, noise_seed=4, chunk=4)
    np.testing.assert_allclose(OneStepDetector(field, settings).maps(image)[f"t={t:g}"], expected, rtol=1e-4, atol=1e-6)


def test_mahalanobis_map_sums_to_the_squared_distance(field, image):
    maps = MahalanobisDetector(field).maps(image)
    gap = (image - field.mean).flatten().double()
    assert maps["whitened"].sum() == pytest.approx(
        float(gap @ torch.linalg.solve(dense_covariance(field), gap)), rel=1e-4
    )
    basis = field.components.double()
    rest = gap - basis.T @ (basis @ gap)
    np.testing.assert_allclose(maps["residual"], rest.view(SHAPE).square().sum(0), rtol=1e-3, atol=1e-5)


def test_time_reversed_gaussian_flow_ends_at_the_whitened_image(field, image):
    settings = TimeReversedSettings(steps=(2000,), method="heun", start=1.0)
    expected = MahalanobisDetector(field).maps(image)["whitened"]
    np.testing.assert_allclose(
        TimeReversedDetector(field, settings).maps(image)["steps=2000"], expected, rtol=0.03, atol=0.02
    )


def test_nearest_image_and_nearest_pixel_by_brute_force():
    images = blob_tensors(range(6))
    image = blob_tensors(range(20, 21))[0]
    gaps = [(other - image).square().sum(0) for other in images]
    maps = NearestDetector(images, neighbours=(1, 3), reaches=(0, 1)).maps(image)
    order = np.argsort([float(g.sum()) for g in gaps])
    np.testing.assert_allclose(maps["image 1"], gaps[order[0]], rtol=1e-5)
    mean = images[order[:3].tolist()].mean(0)
    np.testing.assert_allclose(maps["image 3"], (mean - image).square().sum(0), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(maps["pixel 0"], torch.stack(gaps).amin(0), rtol=1e-5)
    height, width = image.shape[1:]
    for row, column in ((0, 0), (5, 7), (31, 31), (0, 20)):
        around = [
            (images[:, :, r, c] - image[:, row, column]).square().sum(1).min()
            for r in range(max(0, row - 1), min(height, row + 2))
            for c in range(max(0, column - 1), min(width, column + 2))
        ]
        assert maps["pixel 1"][row, column] == pytest.approx(float(min(around)), rel=1e-5)


def test_pixel_gaussian_is_the_mahalanobis_distance_of_a_colour():
    images = blob_tensors(range(12))
    image = blob_tensors(range(30, 31))[0]
    values = PixelGaussianDetector(images, floors=(0.1,)).maps(image)["floor=0.1"]
    colours = images[:, :, 3, 9].double()
    covariance = colours.T.cov() + 0.01 * torch.eye(3, dtype=torch.float64)
    gap = image[:, 3, 9].double() - colours.mean(0)
    assert values[3, 9] == pytest.approx(float(gap @ torch.linalg.solve(covariance, gap)), rel=1e-3)


def test_mismatch_detector_gives_the_heat_maps_of_the_method(field, image):
    paths = PathSettings(paths=3, times=5, noise_seed=1)
    detector = MismatchDetector(field, paths, exponents=(2.0,))
    record = Mismatch.collect(mismatch_steps(field, image, paths))
    maps = detector.maps(image)
    assert list(maps) == ["min r=2 t>=0", "min r=2 t>=0.5", "mean r=2 t>=0", "mean r=2 t>=0.5"]
    np.testing.assert_array_equal(maps["min r=2 t>=0"], record.heatmap(HeatSettings(smoothing=0.0)))
    late = record.subset([2, 3, 4]).heatmap(HeatSettings(smoothing=0.0, aggregator="mean"))
    np.testing.assert_array_equal(maps["mean r=2 t>=0.5"], late)
    floor = DenoisingFloor.measure([record])
    divided = MismatchDetector(field, paths, exponents=(2.0,), floor=floor).maps(image)
    np.testing.assert_array_equal(divided["min r=2 t>=0"], floor.heatmap(record, HeatSettings(smoothing=0.0)))


@pytest.mark.parametrize("name", ["mismatch", "reconstruction", "one-step", "time-reversed", "nearest", "pixel"])
def test_every_detector_scores_a_defect_above_a_normal_image_and_repeats(name):
    images = blob_tensors(range(24))
    gaussian = fit_gaussian(images)
    detector = {
        "mismatch": lambda: MismatchDetector(gaussian),
        "reconstruction": lambda: ReconstructionDetector(gaussian),
        "one-step": lambda: OneStepDetector(gaussian),
        "time-reversed": lambda: TimeReversedDetector(gaussian),
        "nearest": lambda: NearestDetector(images),
        "pixel": lambda: PixelGaussianDetector(images),
    }[name]()
    good = blob_tensors(range(60, 61))[0]
    bad = good.clone()
    bad[:, 10:16, 18:24] = torch.tensor([-1.0, 1.0, 1.0])[:, None, None]
    for setting, values in detector.maps(bad).items():
        assert values.shape == (32, 32) and values.dtype == np.float32 and values.min() >= 0, setting
        found = detect(detector, bad, setting=setting, smoothing=1.0)
        assert found.score > detect(detector, good, setting=setting, smoothing=1.0).score, setting
        row, column = np.unravel_index(found.heatmap.argmax(), found.heatmap.shape)
        assert 8 <= row < 18 and 16 <= column < 26, setting
        np.testing.assert_array_equal(detector.maps(bad)[setting], values)


def test_detect_smooths_and_names_unknown_settings(field, image):
    detector = MahalanobisDetector(field)
    heatmap = smooth(detector.maps(image)["residual"], 1.0)
    found = detect(detector, image, setting="residual", smoothing=1.0)
    np.testing.assert_array_equal(found.heatmap, heatmap)
    assert found.score == image_score(heatmap)
    for setting in (None, "residuals"):
        with pytest.raises(SettingsError) as error:
            detect(detector, image, setting=setting)
        assert_one_sentence(error.value, "whitened")


def test_too_few_images_are_refused():
    for make in (
        lambda: PixelGaussianDetector(torch.zeros(1, 1, 8, 8)),
        lambda: NearestDetector(torch.zeros(0, 1, 8, 8)),
    ):
        with pytest.raises(DataError) as error:
            make()
        assert_one_sentence(error.value)
