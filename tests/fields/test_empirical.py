"""The field of a finite set against loops, a mixture of tiny variance, and its own limits in t."""

from __future__ import annotations

import math

import pytest
import torch
from conftest import assert_one_sentence, blob_tensors
from test_mixture import (
    assert_moments_by_importance,
    assert_score_is_the_gradient,
    assert_variance_is_the_jacobian,
    assert_zero_mean,
    draws_of,
    generator,
    integral_of_density,
    states,
)

from fmcore.errors import SettingsError
from fmcore.fields import EmpiricalField, MixtureField
from fmcore.path import clean_guess

SHAPES = ((1,), (2,), (3, 16, 16))
METHODS = ("forward", "score", "log_density", "posterior_variance", "posterior_covariance_trace")


def points_of(shape: tuple[int, ...], count: int = 7) -> torch.Tensor:
    if len(shape) == 3:
        return blob_tensors(range(count), size=shape[1])
    return 1.5 * torch.randn(count, *shape, generator=generator(3))


def field_of(shape: tuple[int, ...]) -> EmpiricalField:
    return EmpiricalField(points_of(shape)).double()


@pytest.mark.parametrize("t", (0.0, 0.3, 0.8, 0.97))
@pytest.mark.parametrize("shape", SHAPES)
def test_everything_equals_loops_over_the_set(shape, t):
    field = field_of(shape)
    points = points_of(shape).double().flatten(1)
    x, _, _ = states(field, t, 4, seed=1)
    for i, state in enumerate(x.flatten(1)):
        spread = (1 - t) ** 2
        logs = [-0.5 * float((state - t * y).square().sum()) / spread for y in points]
        peak = max(logs)
        weights = torch.tensor([math.exp(value - peak) for value in logs], dtype=torch.float64)
        constant = -0.5 * state.numel() * math.log(2 * math.pi * spread) - math.log(len(points))
        assert float(field.log_density(x, t)[i]) == pytest.approx(peak + math.log(weights.sum()) + constant, rel=1e-9)
        weights /= weights.sum()
        mean = sum(w * y for w, y in zip(weights, points, strict=True))
        variance = sum(w * (y - mean) ** 2 for w, y in zip(weights, points, strict=True))
        torch.testing.assert_close(field(x, t)[i].flatten(), (mean - state) / (1 - t))
        torch.testing.assert_close(field.posterior_variance(x, t)[i].flatten(), variance / spread, atol=1e-9, rtol=1e-6)


@pytest.mark.parametrize("t", (0.1, 0.5, 0.9))
@pytest.mark.parametrize("shape", SHAPES)
def test_set_is_the_limit_of_a_mixture_of_tiny_variance(shape, t):
    points, field = points_of(shape), field_of(shape)
    count = len(points)
    tiny = MixtureField.isotropic(torch.ones(count), points, torch.full((count,), 1e-8)).double()
    x, _, _ = states(field, t, 5, seed=2)
    for method in METHODS:
        torch.testing.assert_close(getattr(field, method)(x, t), getattr(tiny, method)(x, t), atol=2e-3, rtol=1e-4)


@pytest.mark.parametrize("t", (0.0, 0.1, 0.5, 0.9))
@pytest.mark.parametrize("shape", SHAPES)
def test_score_is_the_gradient_of_the_log_density(shape, t):
    field = field_of(shape)
    assert_score_is_the_gradient(field, states(field, t, 3)[0], t)


@pytest.mark.parametrize("t", (0.2, 0.5, 0.8))
def test_posterior_variance_is_the_jacobian_of_the_velocity(t):
    for field in (field_of((1,)), field_of((2,))):
        assert_variance_is_the_jacobian(field, states(field, t, 3)[0], t)


@pytest.mark.parametrize("t", (0.2, 0.5, 0.8))
def test_moments_by_importance_sampling(t):
    field = field_of((2,))
    assert_moments_by_importance(field, states(field, t, 3, seed=6)[0], t, 100_000, rtol=0.03)


@pytest.mark.parametrize("t", (0.2, 0.6, 0.9))
@pytest.mark.parametrize("shape", SHAPES)
def test_covariance_trace_is_the_mean_squared_error_of_the_exact_field(shape, t):
    field = field_of(shape)
    x, u, _ = states(field, t, draws_of(shape), seed=5)
    error = (u - field(x, t)).flatten(1)
    assert_zero_mean(error.square().sum(1) - field.posterior_covariance_trace(x, t))
    assert_zero_mean((error * x.flatten(1)).sum(1))


def test_density_integrates_to_one():
    assert integral_of_density(field_of((1,)), 0.6, -10, 10, 4000) == pytest.approx(1, abs=1e-6)
    assert integral_of_density(field_of((2,)), 0.6, -10, 10, 400) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("t", [0.0, 0.5, 0.99])
def test_one_image_is_a_point_mass(t):
    image = blob_tensors(range(1), size=16)
    field = EmpiricalField(image)
    x, u, _ = states(field, t, 3)
    torch.testing.assert_close(field(x, t), u, atol=2e-5, rtol=1e-4)
    assert field.posterior_variance(x, t).max() < 1e-9


def test_at_noise_the_posterior_is_the_whole_set_and_near_data_the_nearest_member():
    field, points = field_of((3, 16, 16)).float(), points_of((3, 16, 16))
    x = torch.randn(2, 3, 16, 16, generator=generator())
    torch.testing.assert_close(clean_guess(x, field(x, 0.0), 0.0), points.mean(0).expand_as(x))
    torch.testing.assert_close(field.posterior_variance(x, 0.0)[0], points.var(0, correction=0))
    near = states(field, 0.9999, 4)
    torch.testing.assert_close(clean_guess(near[0], field(near[0], 0.9999), 0.9999), near[2])


@pytest.mark.parametrize("t", [0.0, 1e-7, 0.999, 1 - 1e-6])
def test_float32_values_stay_finite_at_the_ends_and_far_from_the_data(t):
    field = EmpiricalField(points_of((3, 16, 16)))
    for x in (torch.zeros(2, 3, 16, 16), torch.full((2, 3, 16, 16), 300.0)):
        for method in METHODS:
            assert torch.isfinite(getattr(field, method)(x, t)).all(), method


def test_near_duplicates_share_the_posterior_in_float32():
    """Two images a hair apart: at t = 0.99 a float32 exponent would be wrong by more than their difference."""
    image = blob_tensors(range(1), size=32)[0]
    pair = torch.stack([image, image + 1e-4])
    field = EmpiricalField(pair)
    x, t = 0.99 * pair.mean(0, keepdim=True), 0.99
    expected = (pair.double().mean(0) - x[0].double()) / (1 - t)
    torch.testing.assert_close(field(x, t)[0].double(), expected, atol=2e-5, rtol=0)


def test_duplicates_count_twice():
    points = torch.tensor([[-1.0], [1.0], [1.0]])
    x = torch.zeros(1, 1)
    assert float(EmpiricalField(points)(x, 0.5)) == pytest.approx(2 / 3)


def test_a_time_per_state_equals_one_call_each():
    field, times = field_of((2,)), (0.0, 0.3, 0.9)
    x = torch.randn(3, 2, generator=generator(), dtype=torch.float64)
    for method in METHODS:
        together = getattr(field, method)(x, torch.tensor(times, dtype=torch.float64))
        for i, t in enumerate(times):
            torch.testing.assert_close(together[i], getattr(field, method)(x[i : i + 1], t)[0])


def test_samples_are_members_of_the_set_in_equal_shares():
    points = torch.arange(4.0).view(4, 1)
    draws = EmpiricalField(points).sample(8000, generator())
    assert draws.shape == (8000, 1)
    shares = torch.bincount(draws[:, 0].long(), minlength=4) / 8000
    assert (shares - 0.25).abs().max() < 4 * (0.25 * 0.75 / 8000) ** 0.5


@pytest.mark.parametrize("t", [1.0, -0.1, torch.tensor([0.5, 1.0])])
def test_a_time_without_a_law_is_refused(t):
    field, points = EmpiricalField(torch.eye(2)), torch.eye(2)
    for ask in (field, field.log_density, field.posterior_variance, field.score):
        with pytest.raises(SettingsError) as caught:
            ask(points, t)
        assert_one_sentence(caught.value, "[0, 1)")
