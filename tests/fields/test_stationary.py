"""The stationary field against the dense circulant formula."""

from __future__ import annotations

import pytest
import torch

from fmcore.errors import DataError
from fmcore.fields.stationary import StationaryField, fit_stationary

SHAPE = (2, 4, 6)


@pytest.fixture(scope="module")
def field() -> StationaryField:
    images = torch.randn(3, *SHAPE, generator=torch.Generator().manual_seed(0)).cumsum(-1) * 0.4 + 0.3
    return fit_stationary(images).double()


@pytest.fixture(scope="module")
def dense(field) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean ``(D,)`` and covariance ``(D, D)``: the field's root applied to unit vectors."""
    units = torch.eye(48, dtype=torch.float64).view(48, *SHAPE)
    root = field._scale(units, 0.0, lambda variance, time: variance.sqrt()).flatten(1)
    return field._colour().expand(SHAPE).flatten(), root.T @ root


def test_covariance_depends_on_the_offset_alone(dense):
    covariance = dense[1].view(*SHAPE, *SHAPE)
    moved = covariance.roll((1, 2), (1, 2)).roll((1, 2), (4, 5))
    torch.testing.assert_close(moved, covariance)


@pytest.mark.parametrize("t", [0.1, 0.5, 0.95])
def test_velocity_density_and_variance_equal_the_dense_formulas(field, dense, t):
    mean, covariance = dense
    x = torch.randn(3, *SHAPE, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    eye = torch.eye(48, dtype=torch.float64)
    state = (1 - t) ** 2 * eye + t**2 * covariance
    centred = x.flatten(1) - t * mean
    velocity = mean + centred @ torch.linalg.inv(state) @ (t * covariance - (1 - t) * eye)
    torch.testing.assert_close(field(x, t).flatten(1), velocity, atol=1e-5, rtol=1e-5)
    law = torch.distributions.MultivariateNormal(t * mean, state)
    torch.testing.assert_close(field.log_density(x, t), law.log_prob(x.flatten(1)), atol=1e-4, rtol=1e-6)
    posterior = covariance @ torch.linalg.inv(state)
    torch.testing.assert_close(field.posterior_variance(x, t)[0].flatten(), posterior.diagonal(), atol=1e-5, rtol=1e-5)


def test_times_may_differ_within_a_batch(field):
    x = torch.randn(2, *SHAPE, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    both = field(x, torch.tensor([0.2, 0.7]))
    torch.testing.assert_close(both, torch.cat([field(x[:1], 0.2), field(x[1:], 0.7)]))
    variance = field.posterior_variance(x, torch.tensor([0.2, 0.7]))
    torch.testing.assert_close(variance[1:], field.posterior_variance(x[1:], 0.7))


def test_samples_have_the_law(field, dense):
    drawn = field.sample(20_000, torch.Generator().manual_seed(3)).flatten(1)
    torch.testing.assert_close(drawn.mean(0), dense[0], atol=0.1, rtol=0)
    torch.testing.assert_close(drawn.T.cov(), dense[1], atol=0.15, rtol=0.1)


def test_fit_finds_the_spectrum_of_a_stationary_texture(field, dense):
    drawn = field.sample(2000, torch.Generator().manual_seed(4))
    again = fit_stationary(drawn.float(), blur=0.0).double()
    x = field.sample(8, torch.Generator().manual_seed(5))
    torch.testing.assert_close(again(x, 0.6), field(x, 0.6), atol=0.15, rtol=0.1)
    with pytest.raises(DataError, match="at least one image"):
        fit_stationary(torch.zeros(0, 1, 4, 4))
