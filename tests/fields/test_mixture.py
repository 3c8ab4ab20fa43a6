"""The mixture field against dense distributions, quadrature, automatic differentiation and sampling.

The helpers on any `ExactField` are shared with the tests of the other closed forms.
"""

from __future__ import annotations

import math

import pytest
import torch
from conftest import dense_covariance, random_gaussian
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal

from fmcore.fields import ExactField, GaussianField, MixtureField
from fmcore.path import clean_guess

TIMES = (0.1, 0.4, 0.7, 0.95)
SHAPES = ((1,), (2,), (3, 16, 16))
GAUSSIANS = {(1,): (1, 2), (2,): (1, 3), (3, 16, 16): (4, 3)}  # rank and number of components


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def components_of(shape: tuple[int, ...]) -> list[GaussianField]:
    """Components of different directions, mean and variance."""
    rank, count = GAUSSIANS[shape]
    fields = [random_gaussian(shape, rank, seed=7 + i) for i in range(count)]
    for i, field in enumerate(fields):
        field.mean += 0.8 * (i - 0.5)
        field.rest *= 1 + 3 * i
        field.variances *= 1 + i
    return fields


def mixture_of(weights: torch.Tensor, fields: list[GaussianField]) -> MixtureField:
    parts = ([getattr(field, name) for field in fields] for name in ("mean", "components", "variances", "rest"))
    return MixtureField(weights, *map(torch.stack, parts))


def mixture(shape: tuple[int, ...]) -> MixtureField:
    """A mixture in float64, so that identities can be checked closely."""
    fields = components_of(shape)
    return mixture_of(torch.arange(1.0, len(fields) + 1), fields).double()


def draws_of(shape: tuple[int, ...]) -> int:
    """Monte-Carlo draws: fewer of images, each of which is many numbers."""
    return 600 if len(shape) == 3 else 4000


def states(field: ExactField, t: float, count: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Paths to draws of the field: states ``x_t``, velocities ``u`` and data, each ``(count, *shape)``."""
    draws = generator(seed)
    x1 = field.sample(count, draws)
    x0 = torch.randn(x1.shape, generator=draws, dtype=x1.dtype)
    return (1 - t) * x0 + t * x1, x1 - x0, x1


def assert_zero_mean(values: torch.Tensor, errors: float = 3.0) -> None:
    """``values`` ``(N, ...)``: every mean over N within so many standard errors of zero."""
    z = values.mean(0) / (values.std(0) / math.sqrt(len(values)) + 1e-12)
    assert float(z.abs().max()) < errors, z


def assert_score_is_the_gradient(field: ExactField, x: torch.Tensor, t: float) -> None:
    x = x.clone().requires_grad_()
    (expected,) = torch.autograd.grad(field.log_density(x, t).sum(), x)
    # Components are orthonormal to float32 rounding only, whatever the dtype of the states.
    torch.testing.assert_close(field.score(x.detach(), t), expected, atol=1e-6, rtol=1e-5)


def assert_variance_is_the_jacobian(field: ExactField, x: torch.Tensor, t: float) -> None:
    """Tweedie of second order: ``Cov(u | x_t) = (I + (1 - t) dv/dx) / t``, one state ``(1, D)`` at a time."""
    for state in x:
        jacobian = torch.autograd.functional.jacobian(lambda s: field(s[None], t)[0], state)
        expected = (1 + (1 - t) * jacobian.diagonal()) / t
        torch.testing.assert_close(field.posterior_variance(state[None], t)[0], expected, atol=1e-7, rtol=1e-6)
        trace = field.posterior_covariance_trace(state[None], t)
        torch.testing.assert_close(trace[0], expected.sum(), atol=1e-7, rtol=1e-6)


def assert_moments_by_importance(field: ExactField, x: torch.Tensor, t: float, count: int, rtol: float) -> None:
    """Draws of the data weighted by the likelihood of each state: nothing but sampling is used of the field."""
    x1 = field.sample(count, generator(5))
    for state in x:
        weights = torch.softmax(-((state - t * x1) ** 2).sum(1) / (2 * (1 - t) ** 2), 0)
        mean = weights @ x1
        variance = weights @ (x1 - mean) ** 2 / (1 - t) ** 2
        torch.testing.assert_close(field(state[None], t)[0], (mean - state) / (1 - t), atol=rtol, rtol=rtol)
        torch.testing.assert_close(field.posterior_variance(state[None], t)[0], variance, atol=rtol, rtol=2 * rtol)


def integral_of_density(field: ExactField, t: float, low: float, high: float, points: int) -> float:
    """Midpoint rule over a square (or an interval) that holds all of ``p_t``."""
    step = (high - low) / points
    line = low + step * (torch.arange(points, dtype=torch.float64) + 0.5)
    dimension = field.sample(1, generator()).shape[1]
    grid = torch.cartesian_prod(*[line] * dimension).reshape(-1, dimension)
    return float(field.log_density(grid, t).exp().sum()) * step**dimension


@pytest.mark.parametrize("t", TIMES)
@pytest.mark.parametrize(("shape", "k"), [((1,), 0), ((2,), 1), ((3, 4, 4), 5)])
def test_mixture_of_one_is_the_gaussian_field(shape, k, t):
    gaussian = random_gaussian(shape, k)
    one = mixture_of(torch.tensor([3.0]), [gaussian])
    x = torch.randn(5, *shape, generator=generator())
    for method in ("forward", "log_density", "score", "posterior_variance", "posterior_covariance_trace"):
        torch.testing.assert_close(getattr(one, method)(x, t), getattr(gaussian, method)(x, t), atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("t", TIMES)
@pytest.mark.parametrize("shape", SHAPES)
def test_density_is_that_of_the_dense_mixture(shape, t):
    gaussians, field = components_of(shape), mixture(shape)
    dimension = math.prod(shape)
    covariances = [(1 - t) ** 2 * torch.eye(dimension) + t**2 * dense_covariance(g) for g in gaussians]
    means = torch.stack([t * g.mean.double().flatten() for g in gaussians])
    dense = MixtureSameFamily(
        Categorical(torch.arange(1.0, len(gaussians) + 1, dtype=torch.float64)),
        MultivariateNormal(means, torch.stack(covariances)),
    )
    x, _, _ = states(field, t, 6)
    expected = dense.log_prob(x.flatten(1))
    torch.testing.assert_close(field.log_density(x, t), expected, atol=1e-3, rtol=1e-5)
    first = dense.component_distribution.log_prob(x.flatten(1)[:, None])[:, 0]
    torch.testing.assert_close(gaussians[0].double().log_density(x, t), first, atol=1e-3, rtol=1e-5)


@pytest.mark.parametrize("t", (0.0, *TIMES, 0.99))
@pytest.mark.parametrize("shape", SHAPES)
def test_score_is_the_gradient_of_the_log_density(shape, t):
    field = mixture(shape)
    assert_score_is_the_gradient(field, states(field, t, 4)[0], t)
    gaussian = random_gaussian(shape, 1).double()
    assert_score_is_the_gradient(gaussian, states(gaussian, t, 4)[0], t)


@pytest.mark.parametrize("t", (0.02, 0.5, 0.99))
def test_density_integrates_to_one(t):
    assert integral_of_density(mixture((1,)), t, -16, 16, 4000) == pytest.approx(1, abs=1e-6)
    assert integral_of_density(mixture((2,)), t, -16, 16, 500) == pytest.approx(1, abs=1e-6)
    assert integral_of_density(random_gaussian((2,), 1).double(), t, -16, 16, 500) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("t", (0.2, 0.5, 0.7))
@pytest.mark.parametrize("shape", [(1,), (2,)])
def test_velocity_and_variance_are_posterior_moments_by_importance_sampling(shape, t):
    field = mixture(shape)
    assert_moments_by_importance(field, states(field, t, 4, seed=3)[0], t, 200_000, rtol=0.03)


@pytest.mark.parametrize("t", (0.1, 0.5, 0.9))
@pytest.mark.parametrize("shape", SHAPES)
def test_velocity_is_the_projection_of_the_geometric_one(shape, t):
    """``u - v(x_t)`` is uncorrelated with every function of the state, here 1, the state, and the field itself."""
    field = mixture(shape)
    x, u, _ = states(field, t, draws_of(shape), seed=2)
    error = (u - field(x, t)).flatten(1)
    assert_zero_mean(error.sum(1))
    for function in (x, field(x, t), x.tanh()):
        assert_zero_mean((error * function.flatten(1)).sum(1))


@pytest.mark.parametrize("t", (0.1, 0.5, 0.9))
@pytest.mark.parametrize("shape", SHAPES)
def test_covariance_trace_is_the_mean_squared_error_of_the_exact_field(shape, t):
    for field in (mixture(shape), random_gaussian(shape, 1).double()):
        x, u, _ = states(field, t, draws_of(shape), seed=4)
        squared = (u - field(x, t)).square()
        assert_zero_mean(squared.flatten(1).sum(1) - field.posterior_covariance_trace(x, t))
        first = field.posterior_variance(x, t).flatten(1)[:, 0]
        assert_zero_mean(squared.flatten(1)[:, 0] - first)


@pytest.mark.parametrize("t", TIMES)
def test_posterior_variance_is_the_jacobian_of_the_velocity(t):
    for field in (mixture((1,)), mixture((2,)), random_gaussian((5,), 2).double()):
        assert_variance_is_the_jacobian(field, states(field, t, 3)[0], t)


def test_mean_of_the_trace_is_the_residual_variance_of_a_gaussian():
    field = random_gaussian((3, 4, 4), 3)
    x = torch.randn(2, 3, 4, 4, generator=generator())
    trace = field.posterior_covariance_trace(x, torch.tensor([0.3, 0.8]))
    torch.testing.assert_close(trace / 48, field.residual_variance(torch.tensor([0.3, 0.8])))


def test_samples_have_the_mean_and_covariance_of_the_law():
    for field in (mixture((2,)), random_gaussian((2,), 1).double()):
        x1 = field.sample(50_000, generator(1))
        x, zero = torch.zeros(1, 2, dtype=torch.float64), 0.0
        # At t = 0 the state says nothing, so the posterior is the law itself, and u = x1 - x0 with x0 known.
        assert_zero_mean(x1 - clean_guess(x, field(x, zero), zero))
        assert_zero_mean((x1 - clean_guess(x, field(x, zero), zero)).square() - field.posterior_variance(x, zero))
    assert torch.equal(field.sample(9, generator(3)), field.sample(9, generator(3)))
    assert not torch.equal(field.sample(9, generator(3)), field.sample(9, generator(4)))


def test_isotropic_components_in_one_dimension_by_hand():
    field = MixtureField.isotropic(torch.tensor([1.0, 3.0]), torch.tensor([[-2.0], [2.0]]), torch.tensor([0.25, 1.0]))
    t, x = 0.5, 0.3
    parts = []
    for weight, mean, variance in ((0.25, -2, 0.25), (0.75, 2, 1)):
        spread = 0.25 + 0.25 * variance
        density = weight * math.exp(-((x - 0.5 * mean) ** 2) / (2 * spread)) / math.sqrt(2 * math.pi * spread)
        parts.append((density, mean + (0.5 * variance - 0.5) / spread * (x - 0.5 * mean)))
    total = sum(d for d, _ in parts)
    state = torch.tensor([[x]])
    assert float(field.log_density(state, t)) == pytest.approx(math.log(total), rel=1e-5)
    assert float(field(state, t)) == pytest.approx(sum(d * v for d, v in parts) / total, rel=1e-5)
    shares = field.by_component(state, t)[0].softmax(0)[:, 0]
    assert shares.tolist() == pytest.approx([d / total for d, _ in parts], rel=1e-5)


def test_a_time_per_state_equals_one_call_each():
    field, t = mixture((2,)), torch.tensor(TIMES, dtype=torch.float64)
    x = torch.randn(4, 2, generator=generator(), dtype=torch.float64)
    for name in ("forward", "score", "log_density", "posterior_variance"):
        together = getattr(field, name)(x, t)
        for i in range(4):
            torch.testing.assert_close(together[i], getattr(field, name)(x[i : i + 1], TIMES[i])[0])


@pytest.mark.parametrize("t", [0.0, 1e-6, 1 - 1e-6])
def test_values_stay_finite_at_the_ends_and_far_from_the_data(t):
    field = mixture((2,)).float()
    for x in (torch.zeros(2, 2), torch.full((2, 2), 1e3)):
        for name in ("forward", "score", "log_density", "posterior_variance"):
            assert torch.isfinite(getattr(field, name)(x, t)).all(), name
