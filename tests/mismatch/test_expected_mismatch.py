"""The exact mismatch against Monte Carlo, against a field that is the same law in another form, and in time."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import random_gaussian
from scipy.integrate import quad

from fmcore.fields import EmpiricalField, GaussianField, MixtureField, semicircle
from fmcore.mismatch.expected import ExpectedSettings, expected_maps, expected_mismatch
from fmcore.path import interpolate

LAWS = {
    "1-D": (GaussianField(torch.tensor([0.2]), torch.zeros(0, 1), torch.zeros(0), 0.5), torch.tensor([1.7])),
    "2-D": (
        GaussianField(torch.tensor([1.0, 0.0]), torch.tensor([[0.6, 0.8]]), torch.tensor([2.0]), 0.3),
        torch.tensor([0.0, 1.5]),
    ),
    "image": (random_gaussian((3, 16, 16), 5), random_gaussian((3, 16, 16), 5, seed=1).mean),
}


def simulated(field, image, t: float, draws: int = 3000) -> tuple[np.ndarray, np.ndarray]:
    x0 = torch.randn(draws, *image.shape, generator=torch.Generator().manual_seed(5))
    squares = (field(interpolate(x0, image, t), t) - (image - x0)).double().square().sum(1)
    squares = squares.numpy().reshape(draws, *(image.shape[1:] or (1, 1)))
    return squares.mean(0), squares.std(0) / np.sqrt(draws)


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("t", [0.1, 0.5, 0.9])
def test_closed_form_is_the_mean_over_noise_at_every_pixel(law, t):
    field, image = LAWS[law]
    mean, error = simulated(field, image, t)
    found = expected_mismatch(field, image, t)
    assert found.shape == mean.shape and found.dtype == np.float64
    # 256 pixels, dependent through 5 components: none beyond 5 standard errors, and a mean square of about 1.
    z = (found - mean) / error
    assert np.abs(z).max() < 5 and np.square(z).mean() < (2.5 if z.size > 1 else 16)


def test_a_mixture_of_one_gives_the_closed_form_within_its_stated_error():
    field, image = LAWS["2-D"]
    single = MixtureField.of(torch.ones(1), [field])
    settings = ExpectedSettings(draws=4000, nodes=24)
    exact = expected_maps(field, image, (0.0, 2.0), settings)
    averaged = expected_maps(single, image, (0.0, 2.0), settings)
    for r in (0.0, 2.0):
        assert exact[r].error.item() == 0
        assert 0 < averaged[r].error.item() < 0.05 * exact[r].values.item()
        assert abs(averaged[r].values - exact[r].values).item() < 4 * averaged[r].error.item()


def test_stated_error_is_the_spread_of_repeated_averages():
    field, image = semicircle(), torch.tensor([0.0, 8.5])
    found = [
        expected_maps(field, image, (2.0,), ExpectedSettings(draws=100, nodes=12, seed=seed))[2.0] for seed in range(40)
    ]
    spread = np.std([f.values.item() for f in found], ddof=1)
    # A standard deviation from 40 values is known to about 11 %.
    assert np.mean([f.error.item() for f in found]) == pytest.approx(spread, rel=0.4)


@pytest.mark.parametrize("exponent", [0.0, 1.0, 2.0])
def test_time_integral_is_that_of_an_adaptive_quadrature(exponent):
    field, image = LAWS["1-D"]
    expected, _ = quad(lambda t: t**exponent * expected_mismatch(field, image, t).item(), 0, 1)
    found = expected_maps(field, image, (exponent,), ExpectedSettings())[exponent]
    assert found.values.item() == pytest.approx(expected, rel=1e-6)


def test_point_mass_has_its_closed_form_and_no_error():
    # v - u = (m - y) / (1 - t) on every path: the integral of t^2 / (1 - t)^2 diverges, so one node is compared.
    points = torch.tensor([[1.0, 2.0]])
    y = torch.tensor([0.5, 0.0])
    settings = ExpectedSettings(draws=8, nodes=2)
    found = expected_maps(EmpiricalField(points), y, (0.0,), settings)[0.0]
    nodes = (np.polynomial.legendre.leggauss(2)[0] + 1) / 2
    gap = float((points[0] - y).square().sum())
    assert found.values.item() == pytest.approx(gap * np.mean(1 / (1 - nodes) ** 2), rel=1e-5)
    assert found.error.item() < 1e-5 * found.values.item()
