"""The Gaussian field against the dense formula, Monte Carlo, and known spectra."""

from __future__ import annotations

import pytest
import torch
from conftest import blob_tensors, dense_covariance, random_gaussian

from fmcore.errors import DataError
from fmcore.fields.gaussian import fit_gaussian
from fmcore.path import clean_guess

TIMES = (0.05, 0.3, 0.7, 0.95)


def dense_state_covariance(s: torch.Tensor, t: float) -> torch.Tensor:
    return (1 - t) ** 2 * torch.eye(len(s), dtype=torch.float64) + t**2 * s


def sample(field, count: int, seed: int = 1) -> torch.Tensor:
    """Draws of ``N(m, S)`` by a Cholesky factor of the dense covariance, float64 ``(count, D)``."""
    noise = torch.randn(count, field.mean.numel(), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return field.mean.double().flatten() + noise @ torch.linalg.cholesky(dense_covariance(field)).T


@pytest.mark.parametrize("k", [0, 1, 5])
@pytest.mark.parametrize("t", TIMES)
def test_velocity_equals_the_dense_formula(k, t):
    field = random_gaussian((1, 3, 4), k)
    s, m = dense_covariance(field), field.mean.double().flatten()
    x = torch.randn(6, 1, 3, 4, dtype=torch.float64)
    eye = torch.eye(12, dtype=torch.float64)
    gain = (t * s - (1 - t) * eye) @ torch.linalg.inv(dense_state_covariance(s, t))
    expected = m + (x.flatten(1) - t * m) @ gain.T
    torch.testing.assert_close(field(x.float(), t).flatten(1).double(), expected, atol=3e-5, rtol=1e-4)


@pytest.mark.parametrize("t", TIMES)
def test_velocity_is_the_conditional_mean_found_by_regression(t):
    field = random_gaussian((2,), 1, seed=3)
    count = 200_000
    x1 = sample(field, count)
    x0 = torch.randn(count, 2, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    x, u = (1 - t) * x0 + t * x1, x1 - x0
    design = torch.cat([x, torch.ones(count, 1, dtype=torch.float64)], 1)
    solution = torch.linalg.lstsq(design, u).solution
    probe = (t * field.mean.double()) + torch.tensor([[0.5, 0.5], [-1.0, 0.3], [0.0, 0.0]], dtype=torch.float64)
    found = torch.cat([probe, torch.ones(3, 1, dtype=torch.float64)], 1) @ solution
    torch.testing.assert_close(field(probe.float(), t).double(), found, atol=0.05, rtol=0.02)


@pytest.mark.parametrize("t", [0.3, 0.7])
def test_velocity_is_the_conditional_mean_by_importance_weighting(t):
    """Data drawn from the prior, weighted by the likelihood of the state: nothing Gaussian about S is used."""
    field = random_gaussian((2,), 1, seed=4)
    x = (t * field.mean + torch.tensor([0.4, -0.3])).double()
    x1 = sample(field, 400_000)
    weights = torch.softmax(-((x - t * x1) ** 2).sum(1) / (2 * (1 - t) ** 2), 0)
    expected_data = weights @ x1
    expected = (expected_data - x) / (1 - t)
    torch.testing.assert_close(field(x.float()[None], t)[0].double(), expected, atol=0.04, rtol=0.02)


@pytest.mark.parametrize("t", TIMES)
def test_guess_of_the_data_is_the_dense_posterior_mean(t):
    field = random_gaussian((1, 3, 4), 3)
    s, m = dense_covariance(field), field.mean.double().flatten()
    x = torch.randn(5, 1, 3, 4)
    gain = t * s @ torch.linalg.inv(dense_state_covariance(s, t))
    expected = m + (x.double().flatten(1) - t * m) @ gain.T
    torch.testing.assert_close(clean_guess(x, field(x, t), t).flatten(1).double(), expected, atol=3e-5, rtol=1e-4)


@pytest.mark.parametrize("t", TIMES)
def test_whitened_states_have_unit_covariance(t):
    field = random_gaussian((6,), 2)
    x0 = torch.randn(100_000, 6, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    white = field.whiten(((1 - t) * x0 + t * sample(field, 100_000)).float(), t)
    # Five standard errors of a variance estimate.
    torch.testing.assert_close(white.T.cov(), torch.eye(6), atol=5 * (2 / 100_000) ** 0.5, rtol=0)
    assert white.mean(0).abs().max() < 5 / 100_000**0.5


def test_residual_variance_is_the_fields_own_mean_squared_error():
    field = random_gaussian((1, 2, 3), 2)
    times = torch.tensor(TIMES)
    predicted = field.residual_variance(times)
    x1 = sample(field, 100_000).view(-1, 1, 2, 3)
    x0 = torch.randn(x1.shape, generator=torch.Generator().manual_seed(8), dtype=torch.float64)
    for t, value in zip(TIMES, predicted, strict=True):
        error = field(((1 - t) * x0 + t * x1).float(), t) - (x1 - x0).float()
        assert float(error.square().mean()) == pytest.approx(float(value), rel=0.02)
    assert field.residual_variance(torch.tensor(0.3)).shape == ()


def test_a_time_per_state_equals_one_call_each():
    field, x, t = random_gaussian((1, 3, 4), 3), torch.randn(4, 1, 3, 4), torch.tensor(TIMES)
    for method in (field, field.whiten):
        together = method(x, t)
        for i in range(4):
            torch.testing.assert_close(together[i], method(x[i : i + 1], TIMES[i])[0], atol=1e-5, rtol=1e-4)


def test_fit_recovers_a_known_spectrum_from_many_samples():
    truth = random_gaussian((1, 4, 5), 4, seed=5)
    fitted = fit_gaussian(sample(truth, 800).float().view(-1, 1, 4, 5), components=4)
    assert len(fitted.variances) == 4
    torch.testing.assert_close(fitted.variances, truth.variances, rtol=0.12, atol=0)
    assert float(fitted.rest) == pytest.approx(0.1, rel=0.05)
    torch.testing.assert_close(fitted.components @ fitted.components.T, torch.eye(4), atol=1e-4, rtol=0)
    torch.testing.assert_close(fitted.mean, truth.mean, atol=4 * (3 / 800) ** 0.5, rtol=0)
    error = dense_covariance(fitted) - dense_covariance(truth)
    assert error.norm() < 0.15 * dense_covariance(truth).norm()


def test_few_samples_get_held_out_variances_below_those_of_the_samples_themselves():
    """Twelve draws of white noise in 300 dimensions: in-sample components look twenty times too strong."""
    data = torch.randn(12, 300, generator=torch.Generator().manual_seed(0))
    data[:, 0] *= 8
    field = fit_gaussian(data.view(12, 1, 15, 20))
    centred = data - data.mean(0)
    in_sample = (torch.linalg.svdvals(centred) ** 2 / 12)[: len(field.variances)]
    assert 1 <= len(field.variances) <= 3
    assert (field.variances < in_sample).all()
    assert float(field.rest) == pytest.approx(1.0, rel=0.25)


def test_two_images_are_enough_and_one_is_not():
    images = blob_tensors(range(2))
    field = fit_gaussian(images)
    torch.testing.assert_close(field.mean, images.mean(0))
    assert torch.isfinite(field(images, 0.5)).all()
    with pytest.raises(DataError, match="at least 2 images, but 1"):
        fit_gaussian(images[:1])


@pytest.mark.parametrize("copies", [2, 7])
def test_copies_of_one_image_give_a_finite_field(copies):
    image = blob_tensors(range(1))
    field = fit_gaussian(image.repeat(copies, 1, 1, 1))
    assert all(torch.isfinite(value).all() for value in field.state_dict().values())
    for t in TIMES:
        assert torch.isfinite(field(torch.randn(2, *image.shape[1:]), t)).all()


def test_pairs_of_duplicates_give_finite_orthonormal_components():
    images = blob_tensors(range(6)).repeat(2, 1, 1, 1)
    field = fit_gaussian(images)
    assert all(torch.isfinite(value).all() for value in field.state_dict().values())
    k = len(field.variances)
    torch.testing.assert_close(field.components @ field.components.T, torch.eye(k), atol=1e-3, rtol=0)


def test_limit_on_components_is_kept(blobs):
    assert len(fit_gaussian(blobs, components=2).variances) <= 2
    assert len(fit_gaussian(blobs, components=0).variances) == 0
