"""Rivals on a velocity field, against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import blob_tensors, dense_covariance, random_gaussian

from fmcore.evaluation.baselines import TIME, integrate, mahalanobis, one_step, reconstruction, time_reversed
from fmcore.fields.empirical import EmpiricalField
from fmcore.mismatch import PathSettings, mismatch_steps
from fmcore.path import draw_noise

SHAPE = (2, 4, 5)


@pytest.fixture(scope="module")
def field():
    return random_gaussian(SHAPE, 4)


@pytest.fixture(scope="module")
def image() -> torch.Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(9)).clamp(-1, 1)


def test_integration_converges_at_its_order_in_both_directions():
    def decay(x, t):
        return -2 * t * x

    exact, start = float(np.exp(-1)), torch.ones(1, 1, dtype=torch.float64)
    errors = [abs(float(integrate(decay, start, 0.0, 1.0, n)) - exact) for n in (50, 100)]
    assert errors[0] / errors[1] == pytest.approx(2, rel=0.1)
    back = integrate(decay, integrate(decay, start, 0.0, 0.9, 2000), 0.9, 0.0, 2000)
    assert float(back) == pytest.approx(1, abs=2e-3)


def test_integration_never_calls_the_field_at_its_end():
    seen = []

    def field(x, t):
        seen.append(t)
        return x

    integrate(field, torch.ones(1, 1), 0.3, 1.0, 7)
    assert seen == pytest.approx(np.linspace(0.3, 1.0, 8)[:-1])


def test_reconstruction_of_a_gaussian_field_is_its_flow(field, image):
    """The flow of a Gaussian from t to 1 scales each eigendirection by sqrt(a / ((1 - t)^2 + t^2 a))."""
    found = reconstruction(field, image, start=0.6, steps=4000, paths=3, seed=2)
    x = 0.4 * draw_noise(3, SHAPE, 2) + 0.6 * image
    values, vectors = torch.linalg.eigh(dense_covariance(field))
    gain = (values / (0.4**2 + 0.6**2 * values)).sqrt()
    centred = (x - 0.6 * field.mean).flatten(1).double()
    expected = field.mean.flatten().double() + (centred @ vectors * gain) @ vectors.T
    error = (expected.view(3, *SHAPE) - image).square().sum(1).mean(0)
    np.testing.assert_allclose(found, error, atol=0.01, rtol=0.01)


def test_reconstruction_with_a_finite_set_returns_its_member():
    images = blob_tensors(range(5))
    assert reconstruction(EmpiricalField(images), images[2], start=0.9, steps=10).max() < 1e-4


def test_one_step_residual_is_the_scaled_mismatch(field, image):
    assert TIME == 0.75
    steps = list(mismatch_steps(field, image, PathSettings(paths=20, times=3, noise_seed=4)))
    expected = (1 - TIME) ** 2 * steps[2].paths.mean(0)
    np.testing.assert_allclose(one_step(field, image, paths=20, seed=4), expected, rtol=1e-4, atol=1e-6)


def test_time_reversed_gaussian_flow_ends_at_the_whitened_image(field, image):
    found = time_reversed(field, image, steps=8000, start=1.0)
    np.testing.assert_allclose(found, mahalanobis(field)(image), rtol=0.01, atol=0.01)
