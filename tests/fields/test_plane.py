"""Laws of the plane against geometry and quadrature, and what the method must say about points beside them."""

from __future__ import annotations

import math

import pytest
import torch
from test_mixture import (
    assert_score_is_the_gradient,
    assert_variance_is_the_jacobian,
    generator,
    integral_of_density,
    states,
)

from fmcore.decomposition.sampled import DecompositionSettings, decompose
from fmcore.fields import EmpiricalField, MixtureField, semicircle, three_clusters, two_moons
from fmcore.fields.plane import PlaneMixture

FAR = 12 * torch.randn(300, 2, generator=torch.Generator().manual_seed(0))


def correlated() -> MixtureField:
    means, rows = torch.tensor([[9.0, -1.0], [8.0, 6.0]]), torch.tensor([[[0.9, 0.4359]], [[-0.08, 0.9968]]])
    return MixtureField(torch.tensor([1.0, 3.0]), means, rows, torch.tensor([[2.4], [1.5]]), torch.tensor([0.15, 0.3]))


@pytest.mark.parametrize("law", [semicircle(), two_moons(), three_clusters(), correlated()])
@pytest.mark.parametrize("t", [0.0, 0.02, 0.5, 0.92, 0.98])
def test_equals_the_mixture(law, t):
    exact = law.double()(FAR.double(), t)
    found = PlaneMixture(law)(FAR, t)
    gap = (found - exact).norm(dim=1) / (1 + exact.norm(dim=1))
    assert found.dtype == torch.float32 and float(gap.max()) < 5e-4
    law.float()


def test_one_object_can_change_its_time():
    law = correlated()
    fast = PlaneMixture(law)
    first = fast(FAR, 0.3)
    assert not torch.allclose(fast(FAR, 0.6), first)
    torch.testing.assert_close(fast(FAR, 0.3), first, rtol=0, atol=0)


LAWS = {"semicircle": semicircle, "two_moons": two_moons, "three_clusters": three_clusters}


def weighted_mismatch(field, point: tuple[float, float], paths: int = 400) -> float:
    """``(1/T) sum_j t_j^2 E ||v - u||^2`` along paths to one point, all points with the same noise."""
    y = torch.tensor([point])
    settings = DecompositionSettings(times=12, seed=1)
    steps = list(decompose(field, EmpiricalField(y), settings, samples=y.repeat(paths, 1)))
    return sum(step.t**2 * step.mismatch.value for step in steps) / len(steps)


@pytest.mark.parametrize("name", LAWS)
@pytest.mark.parametrize("t", [0.1, 0.9])
def test_density_integrates_to_one_and_score_and_variance_fit(name, t):
    field = LAWS[name]().double()
    assert integral_of_density(field, t, -10, 14, 240 if t > 0.5 else 90) == pytest.approx(1, abs=1e-5)
    x, _, _ = states(field, t, 2)
    assert_score_is_the_gradient(field, x, t)
    assert_variance_is_the_jacobian(field, x, t)


def test_semicircle_has_the_stated_radius_noise_and_even_angles():
    draws = semicircle().sample(20_000, generator()).double() - torch.tensor([0.0, 3.0])
    radius, angle = draws.norm(dim=1), torch.atan2(draws[:, 1], draws[:, 0])
    assert float(radius.mean()) == pytest.approx(5, abs=0.01)
    assert float(radius.std()) == pytest.approx(0.1, rel=0.03)
    inner = angle[(angle > 0.2) & (angle < math.pi - 0.2)]
    counts = torch.histc(inner, 10, 0.2, math.pi - 0.2)
    assert (counts - counts.mean()).abs().max() < 4 * counts.mean().sqrt()
    assert draws[:, 1].min() > -0.5, "the ends of the arc are blurred by one stroke only"


@pytest.mark.parametrize("t", [0.3, 0.8, 0.99])
def test_semicircle_is_the_arc_integrated_over_its_angle(t):
    """The arc without strokes: Gaussian across, noise of the path along, summed over a fine grid of angles."""
    field = semicircle().double()
    angles = torch.linspace(0, math.pi, 4001, dtype=torch.float64)
    angles = (angles[1:] + angles[:-1]) / 2
    radial = torch.stack([angles.cos(), angles.sin()], 1)
    mean = t * (torch.tensor([0.0, 3.0], dtype=torch.float64) + 5 * radial)
    across, along = (1 - t) ** 2 + t**2 * 0.01, (1 - t) ** 2
    for x in ([0.0, 8.0 * t], [0.3, 7.9 * t], [-3.9 * t, 6.2 * t]):
        gap = torch.tensor(x, dtype=torch.float64) - mean
        normal = (gap * radial).sum(1).square()
        energy = normal / across + (gap.square().sum(1) - normal) / along
        expected = float(((-0.5 * energy).exp() / (2 * math.pi * math.sqrt(across * along))).mean())
        found = float(field.log_density(torch.tensor([x], dtype=torch.float64), t).exp())
        assert found == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize("t", [0.2, 0.7, 0.95])
def test_more_strokes_change_nothing(t):
    few, many = semicircle().double(), semicircle(strokes=384).double()
    x, _, _ = states(many, t, 300, seed=2)
    inside = x[(x[:, 0].abs() < 4.5 * t)]
    torch.testing.assert_close(few(inside, t), many(inside, t), atol=0.02, rtol=0.02)


def test_moons_are_mirror_images_and_clusters_sit_where_they_should():
    x = torch.tensor([[0.7, -1.2], [2.0, 0.4]])
    moons = two_moons()
    torch.testing.assert_close(moons.log_density(x, 0.9), moons.log_density(-x, 0.9), atol=1e-3, rtol=1e-3)
    draws = three_clusters().sample(6000, generator())
    top = draws[draws[:, 1] > 1.0]
    assert len(top) == pytest.approx(2000, abs=4 * 37)
    torch.testing.assert_close(top.mean(0), torch.tensor([0.0, 4.0]), atol=0.05, rtol=0)
    torch.testing.assert_close(top.std(0), torch.tensor([0.5, 0.5]), atol=0.04, rtol=0)


@pytest.mark.parametrize("angle", [0.5, math.pi / 2, 2.4])
def test_points_beside_the_arc_have_more_weighted_mismatch_than_points_on_it(angle):
    field = semicircle()

    def at(radius: float) -> float:
        return weighted_mismatch(field, (radius * math.cos(angle), 3 + radius * math.sin(angle)))

    on = at(5.0)
    assert at(5.5) > 1.5 * on and at(4.5) > 1.5 * on
    assert at(7.0) > at(5.5)
