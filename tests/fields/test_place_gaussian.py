"""A Gaussian per place: exact velocity, score and mean mismatch, and what shrinkage does."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import assert_one_sentence

from fmcore.errors import DataError
from fmcore.fields.place_gaussian import FLOOR, PlaceGaussianField, moments
from fmcore.mismatch import PathSettings, gap, mismatch_steps

C, H, W = 5, 3, 4


def draws(count: int, seed: int = 0) -> torch.Tensor:
    """Correlated features whose law differs from place to place, ``(count, C, H, W)``."""
    generator = torch.Generator().manual_seed(seed)
    law = torch.Generator().manual_seed(7)
    mixing = torch.randn(H * W, C, C, generator=law) * torch.tensor([1.0, 0.7, 0.4, 0.2, 0.1])
    noise = torch.randn(count, H * W, C, 1, generator=generator)
    values = (mixing @ noise)[..., 0] + torch.randn(H * W, C, generator=law)
    return values.permute(0, 2, 1).reshape(count, C, H, W)


@pytest.fixture(scope="module")
def field() -> PlaceGaussianField:
    return PlaceGaussianField.fit(draws(200), shrinkage=0.2)


def dense(images: torch.Tensor, shrinkage: float, place: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of a place by NumPy, from the definition."""
    flat = images.flatten(2).double().numpy()
    own = np.cov(flat[:, :, place].T, bias=True)
    within = np.mean([np.cov(flat[:, :, p].T, bias=True) for p in range(flat.shape[2])], axis=0)
    return flat[:, :, place].mean(0), (1 - shrinkage) * own + shrinkage * within + FLOOR * np.eye(C)


@pytest.mark.parametrize("shrinkage", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("t", [0.1, 0.5, 0.95])
def test_velocity_is_the_conditional_mean_of_each_place(shrinkage, t):
    images = draws(50)
    field = PlaceGaussianField.fit(images, shrinkage=shrinkage)
    x = torch.randn(2, C, H, W, generator=torch.Generator().manual_seed(1))
    v = field(x, t).flatten(2).numpy()
    for place in (0, 5, 11):
        mean, covariance = dense(images, shrinkage, place)
        state = (1 - t) ** 2 * np.eye(C) + t**2 * covariance
        centred = x.flatten(2)[:, :, place].numpy() - t * mean
        expected = mean + np.linalg.solve(state, centred.T).T @ (t * covariance - (1 - t) * np.eye(C))
        np.testing.assert_allclose(v[:, :, place], expected, rtol=2e-2, atol=2e-2)


def test_score_is_the_gradient_of_the_log_density(field):
    x = torch.randn(1, C, H, W, generator=torch.Generator().manual_seed(2)).double().requires_grad_()
    field = PlaceGaussianField.fit(draws(200), shrinkage=0.2).double()
    field.log_density(x, 0.6).sum().backward()
    assert torch.allclose(x.grad, field.score(x.detach(), 0.6), rtol=1e-2, atol=1e-2)


def test_mean_mismatch_is_the_average_over_many_draws(field):
    y = draws(1, seed=3)[0] + 0.5
    x0 = torch.randn(20_000, C, H, W, generator=torch.Generator().manual_seed(4))
    exact = field.expected_mismatch(y)
    for t in (0.2, 0.8):
        sampled = gap(field, y, x0, t).square().sum(1).mean(0)
        assert torch.allclose(exact(t), sampled, rtol=0.05), (exact(t), sampled)


def test_zero_paths_record_the_mean_over_all_noise(field):
    y = draws(1, seed=3)[0]
    steps = list(mismatch_steps(field, y, PathSettings(paths=0, times=3)))
    assert [s.paths.shape for s in steps] == [(1, H, W)] * 3
    assert np.array_equal(steps[1].paths[0], field.expected_mismatch(y)(0.5).numpy())


def test_posterior_variance_and_sample_agree_with_the_law(field):
    images = field.sample(40_000, torch.Generator().manual_seed(5))
    mean, covariance = dense(draws(200), 0.2, 5)
    np.testing.assert_allclose(images.flatten(2)[:, :, 5].mean(0), mean, atol=0.05)
    np.testing.assert_allclose(np.cov(images.flatten(2)[:, :, 5].T.numpy()), covariance, rtol=0.1, atol=0.05)
    t = 0.6
    expected = np.diag(covariance @ np.linalg.inv((1 - t) ** 2 * np.eye(C) + t**2 * covariance))
    found = field.posterior_variance(images[:2], t).flatten(2)[0, :, 5]
    np.testing.assert_allclose(found, expected, rtol=1e-2, atol=1e-2)
    np.testing.assert_allclose(
        field.residual_variance(torch.tensor([t])), field.posterior_variance(images[:1], t).mean(), rtol=1e-2
    )


def test_one_pass_in_any_batching_gives_the_same_moments():
    images = draws(37)
    count, total, outer, shape = moments(iter(images))
    flat = images.flatten(2).permute(2, 0, 1)
    assert count == 37 and shape == (C, H, W)
    assert torch.allclose(total, flat.sum(1), atol=1e-4)
    assert torch.allclose(outer, flat.mT @ flat, atol=1e-3)


def test_two_images_are_enough_and_one_is_not():
    assert torch.isfinite(PlaceGaussianField.fit(draws(2))(draws(1), 0.5)).all()
    with pytest.raises(DataError) as caught:
        PlaceGaussianField.fit(draws(1))
    assert_one_sentence(caught.value, "at least 2 images")


def test_an_image_scores_alike_alone_and_in_a_batch_of_paths(field):
    x = torch.randn(3, C, H, W, generator=torch.Generator().manual_seed(6))
    assert torch.allclose(field(x, torch.tensor([0.1, 0.5, 0.9]))[1], field(x[1:2], 0.5)[0], atol=1e-5)
