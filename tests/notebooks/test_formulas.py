"""Every formula that a notebook displays, and those of the docstrings behind it, against sums over a fine grid.

The truth is computed here in float64 numpy, from densities alone: nothing of fmcore's algebra takes part in it.
"""

from __future__ import annotations

import re
from pathlib import Path

import notebook_helpers  # noqa: F401  (makes the notebooks' packages importable)
import numpy as np
import pytest
import torch
from conftest import ROOT

from fmcore.decomposition.landscape import PlaneGrid, bias_variance, landscape
from fmcore.decomposition.laws import gaussian_terms
from fmcore.fields import EmpiricalField, GaussianField, MixtureField, three_clusters
from fmcore.fields.plane import STROKE
from fmcore.mismatch import HeatSettings, Mismatch, PathSettings, mismatch_steps
from fmcore.path import draw_noise
from runner.book import all_notebooks

TIMES = (0.2, 0.5, 0.8)
GRID = np.linspace(-9, 9, 1201)  # data, states, noise: far beyond every law here
STEP = GRID[1] - GRID[0]
STATES = np.linspace(-3, 3, 13)


def normal(x, mean, variance):
    return np.exp(-((x - mean) ** 2) / (2 * variance)) / np.sqrt(2 * np.pi * variance)


class Law:
    """A mixture of Gaussians on a line, known by its density on the grid alone."""

    def __init__(self, weights, means, variances):
        self.parts = [torch.tensor(part, dtype=torch.float64) for part in (weights, means, variances)]
        self.density = sum(w * normal(GRID, m, v) for w, m, v in zip(weights, means, variances, strict=True))

    def field(self) -> MixtureField:
        weights, means, variances = self.parts
        return MixtureField.isotropic(weights, means[:, None], variances).double()

    def joint(self, x, t):
        """Density of (datum, state), ``(states, data)``."""
        return self.density * normal(np.asarray(x)[:, None], t * GRID, (1 - t) ** 2)

    def log_density(self, x, t):
        return np.log(self.joint(x, t).sum(1) * STEP)

    def given(self, x, t, values):
        """Mean over data, given the state, of ``values`` (states, data)."""
        joint = self.joint(x, t)
        return (joint * values).sum(1) / joint.sum(1)

    def velocity(self, x, t):
        """The mean of ``u = (x1 - x) / (1 - t)`` given ``x_t = x``, and its variance."""
        u = (GRID - np.asarray(x)[:, None]) / (1 - t)
        mean = self.given(x, t, u)
        return mean, self.given(x, t, u**2) - mean**2

    def score(self, x, t, d=1e-4):
        return (self.log_density(x + d, t) - self.log_density(x - d, t)) / (2 * d)


P = Law([0.3, 0.7], [-1.0, 1.5], [0.2, 0.5])
Q = Law([0.6, 0.4], [-0.5, 2.0], [0.3, 0.1])


def call(function, x, t):
    return function(torch.tensor(x)[:, None], t).numpy().reshape(-1)


@pytest.mark.parametrize("t", TIMES)
@pytest.mark.parametrize("law", [P, Q])
def test_velocity_score_denoised_estimate_and_variance_are_those_of_the_density(law, t):
    field, (velocity, variance) = law.field(), law.velocity(STATES, t)
    np.testing.assert_allclose(call(field, STATES, t), velocity, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(call(field.posterior_variance, STATES, t), variance, rtol=1e-4)
    np.testing.assert_allclose(call(field.log_density, STATES, t), law.log_density(STATES, t), rtol=1e-5, atol=1e-6)
    estimate = law.given(STATES, t, GRID[None])
    np.testing.assert_allclose(STATES + (1 - t) * velocity, estimate, rtol=1e-6, atol=1e-9)  # 02: the denoised estimate
    score = law.score(STATES, t)
    np.testing.assert_allclose((STATES + (1 - t) * score) / t, velocity, rtol=1e-4, atol=1e-5)  # 04: (*)
    np.testing.assert_allclose((STATES + (1 - t) ** 2 * score) / t, estimate, rtol=1e-4, atol=1e-5)  # 04: Tweedie
    np.testing.assert_allclose(call(field.score, STATES, t), score, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("t", TIMES)
def test_no_field_has_a_smaller_error_than_the_conditional_mean(t):
    """Eq. 1, whose least value is the mean variance of ``u`` given the state."""
    velocity, variance = P.velocity(GRID, t)
    states = P.joint(GRID, t).sum(1) * STEP**2

    def loss(v):
        return (states * (variance + (v - velocity) ** 2)).sum()

    joint, u = P.joint(GRID[::4], t), (GRID - GRID[::4, None]) / (1 - t)
    found = (joint * (velocity[::4, None] - u) ** 2).sum() * STEP * 4 * STEP
    np.testing.assert_allclose(found, loss(velocity), rtol=1e-3)
    assert loss(velocity) > 0.01 and loss(velocity + 0.1 * np.sin(GRID)) > loss(velocity) < loss(0.9 * velocity)


@pytest.mark.parametrize("t", TIMES)
def test_the_mismatch_splits_into_a_denoising_and_a_fisher_term_and_the_cross_term_is_zero(t):
    x = GRID[::4]
    joint, u, cell = Q.joint(x, t), (GRID - x[:, None]) / (1 - t), 4 * STEP**2
    from_p, from_q = (law.velocity(x, t)[0][:, None] for law in (P, Q))

    def mean(values):
        return (joint * values).sum() * cell

    mismatch, denoising, fisher = mean((from_p - u) ** 2), mean((from_q - u) ** 2), mean((from_p - from_q) ** 2)
    assert abs(mean(2 * (from_p - from_q) * (from_q - u))) < 1e-6
    np.testing.assert_allclose(mismatch, denoising + fisher, rtol=1e-6)
    np.testing.assert_allclose(denoising, mean(Q.velocity(x, t)[1][:, None]), rtol=1e-6)
    gap = P.score(x, t) - Q.score(x, t)
    np.testing.assert_allclose(fisher, ((1 - t) / t) ** 2 * mean(gap[:, None] ** 2), rtol=1e-3)
    np.testing.assert_allclose(t**2 * fisher, (1 - t) ** 2 * mean(gap[:, None] ** 2), rtol=1e-3)
    # A field that errs: its error's square is in the denoising term, its projection on the gap in the cross term.
    error = 0.2 + 0.3 * np.sin(2 * x)[:, None]
    learned = from_q + error
    np.testing.assert_allclose(mean((learned - u) ** 2), denoising + mean(error**2), rtol=1e-6)
    cross = mean(2 * (from_p - learned) * (learned - u))
    np.testing.assert_allclose(cross, mean(2 * (from_p - learned) * error), rtol=1e-6)


def spd(random, size=3):
    root = random.normal(size=(size, size))
    return root @ root.T / size + 0.1 * np.eye(size)


def dense_field(mean, covariance) -> GaussianField:
    values, vectors = np.linalg.eigh(covariance)
    parts = (torch.tensor(part) for part in (mean, vectors.T.copy(), values))
    return GaussianField(*parts, 1.0).double()


@pytest.mark.parametrize("t", TIMES)
def test_gaussian_formulas_are_those_of_dense_matrices(t):
    """02: the affine field. 04: both terms of a noisy picture, and which reading of the trace is meant. 05: the gap."""
    random = np.random.default_rng(0)
    m, covariance, y, x0, s = random.normal(size=3), spd(random), random.normal(size=3), random.normal(size=3), 0.3
    eye, state = np.eye(3), (1 - t) ** 2 * np.eye(3) + t**2 * covariance
    p, x = dense_field(m, covariance), (1 - t) * x0 + t * y
    velocity = m + (t * covariance - (1 - t) * eye) @ np.linalg.inv(state) @ (x - t * m)
    np.testing.assert_allclose(p(torch.tensor(x)[None], t)[0].numpy(), velocity, rtol=1e-5, atol=1e-6)
    trace = np.trace(covariance @ np.linalg.inv(state)) / 3
    np.testing.assert_allclose(p.residual_variance(torch.tensor([t])).item(), trace, rtol=1e-5)
    values, vectors = np.linalg.eigh(covariance)
    c = (1 - t) ** 2 + t**2 * values
    along = t * values / c * (vectors.T @ x0) + (1 - t) / c * (vectors.T @ (m - y))
    np.testing.assert_allclose(vectors @ along, velocity - (y - x0), rtol=1e-6)
    d, inverse = (1 - t) ** 2 + t**2 * s**2, np.linalg.inv(state)
    difference = inverse - eye / d
    fisher = ((1 - t) / t) ** 2 * (t**2 * np.sum((inverse @ (y - m)) ** 2) + d * np.trace(difference @ difference))
    terms = gaussian_terms(p, GaussianField.isotropic(torch.tensor(y), s**2).double(), t)
    np.testing.assert_allclose((terms.denoising, terms.fisher), (3 * s**2 / d, fisher), rtol=1e-5)
    assert abs(np.trace(difference) ** 2 / np.trace(difference @ difference) - 1) > 0.01  # the other reading
    draws = np.random.default_rng(1).normal(size=(2, 200_000, 3))
    ends = y + s * draws[0]
    states = (1 - t) * draws[1] + t * ends
    found = p(torch.tensor(states), t).numpy() - (ends - draws[1])
    np.testing.assert_allclose((found**2).sum(1).mean(), terms.mismatch, rtol=0.03)


@pytest.mark.parametrize("t", TIMES)
def test_the_mismatch_of_one_picture_is_a_scaled_denoising_residual_whose_mean_over_noise_is_known(t):
    y, x0 = 0.7, GRID[400:801:10]
    x, law = (1 - t) * x0 + t * y, Law([1.0], [0.4], [0.3])
    gap = law.velocity(x, t)[0] - (y - x0)
    np.testing.assert_allclose(gap, (law.given(x, t, GRID[None]) - y) / (1 - t), rtol=1e-6, atol=1e-9)
    field = GaussianField.isotropic(torch.tensor([[[0.4]]]), 0.3)
    [step] = [s for s in mismatch_steps(field, torch.tensor([[[y]]]), PathSettings(paths=0, times=4)) if s.index == 2]
    every = (1 - step.t) * GRID + step.t * y
    squares = (law.velocity(every[200:1001], step.t)[0] - (y - GRID[200:1001])) ** 2
    mean = (normal(GRID[200:1001], 0, 1) * squares).sum() * STEP
    np.testing.assert_allclose(step.paths.item(), mean, rtol=1e-4)


@pytest.mark.parametrize("variance", [0.05, 1.0, 4.0])
def test_a_direction_of_variance_a_weighs_as_notebook_03_says(variance):
    """By how much the mean mismatch grows with the squared distance from the mean."""
    field = GaussianField.isotropic(torch.zeros(1, 1, 1), variance)
    at = [
        [s.paths.item() for s in mismatch_steps(field, torch.full((1, 1, 1), y), PathSettings(paths=0))] for y in (1, 3)
    ]
    times = np.arange(1, 13) / 13
    weight = ((1 - times) / ((1 - times) ** 2 + times**2 * variance)) ** 2
    np.testing.assert_allclose(np.subtract(at[1], at[0]) / (3**2 - 1**2), weight, rtol=1e-4)


@pytest.mark.parametrize("t", TIMES)
def test_the_field_of_a_finite_set_is_a_softmax_over_it(t):
    points = np.array([-1.0, 0.2, 0.9, 2.0])
    weights = normal(STATES[:, None], t * points, (1 - t) ** 2)
    estimate = (weights * points).sum(1) / weights.sum(1)
    field = EmpiricalField(torch.tensor(points)[:, None])
    np.testing.assert_allclose(call(field, STATES, t), (estimate - STATES) / (1 - t), rtol=1e-6)


def test_the_heat_map_is_the_weighted_mean_over_times_of_the_aggregated_squares():
    """Eqs. 2 to 4 written out with loops, for the field of the mixture; two channels of one row of two pixels."""
    random = np.random.default_rng(0)
    means = random.normal(size=(2, 2, 1, 2))
    law = MixtureField.isotropic(torch.ones(2), torch.tensor(means).float(), torch.full((2,), 0.4))
    y, settings = torch.tensor(random.normal(size=(2, 1, 2))).float(), PathSettings(paths=3, times=4)
    steps = list(mismatch_steps(law, y, settings))
    noise = torch.stack(
        [torch.randn(2, 1, 2, generator=g) for g in [torch.Generator().manual_seed(0)] for _ in range(3)]
    )
    for aggregate, name in ((np.min, "min"), (np.mean, "mean")):
        heat = np.zeros((1, 2))
        for j, step in enumerate(steps, 1):
            t = j / 5
            x = ((1 - t) * noise + t * y).numpy()
            logs = -((x[:, None] - t * means) ** 2).sum((2, 3, 4)) / (2 * ((1 - t) ** 2 + t**2 * 0.4))
            share = np.exp(logs) / np.exp(logs).sum(1, keepdims=True)
            gain = (t * 0.4 - (1 - t)) / ((1 - t) ** 2 + t**2 * 0.4)
            each = means + gain * (x[:, None] - t * means)
            gap = (share[..., None, None, None] * each).sum(1) - (y - noise).numpy()
            squares = (gap**2).sum(1)
            np.testing.assert_allclose(step.paths, squares, rtol=1e-4)
            heat += t**1.5 * aggregate(squares, axis=0) / 4
        found = Mismatch.collect(steps).heatmap(HeatSettings(aggregator=name, exponent=1.5))
        np.testing.assert_allclose(found, heat, rtol=1e-4)


def test_basin_and_spread_are_what_the_docstring_of_the_landscape_says():
    """The share of the plane below what 95 % of normal points stay below; deviation over mean of repeated scores."""
    field, grid, settings = three_clusters(), PlaneGrid(side=6), PathSettings(paths=2, times=3)
    heat, normal = HeatSettings(exponent=1.0), three_clusters().sample(30, torch.Generator().manual_seed(5))

    def score(point, starts, upto=None):
        """At each time alone, or the weighted mean up to it, for one point."""
        alone = []
        for t in (0.25, 0.5, 0.75):
            x = (1 - t) * starts + t * point
            alone.append(float((field(x, t) - (point - starts)).square().sum(1).min()))
        weighted = np.array([0.25, 0.5, 0.75]) * alone
        return np.array(alone) if upto is None else np.cumsum(weighted) / np.arange(1, 4)

    found = bias_variance(field, landscape(field, grid, settings), normal, settings, heat, repeats=3, repeated_points=4)
    starts, again = draw_noise(2, (2,), 0), draw_noise(6, (2,), 1).split(2)
    for upto, basin, spread in ((None, found.basin, found.spread), (1, found.running_basin, found.running_spread)):
        level = np.quantile([score(p, starts, upto) for p in normal], 0.95, axis=0)
        plane = np.array([score(p, starts, upto) for p in grid.points().flatten(0, 1)])
        np.testing.assert_allclose(basin, (plane <= level).mean(0), atol=1e-6)
        repeated = np.array([[score(p, x0, upto) for x0 in again] for p in normal[:4]])  # (points, repeats, times)
        ratio = repeated.std(1, ddof=1) / repeated.mean(1)
        np.testing.assert_allclose(spread, np.sqrt((ratio**2).mean(0)), rtol=1e-3)


def test_strokes_of_six_tenths_of_their_spacing_add_up_to_an_even_line_within_two_parts_in_a_thousand():
    places = np.linspace(0, 1, 101)
    line = sum(normal(places, k, STROKE**2) for k in range(-20, 21))
    assert 1e-4 < abs(line - 1).max() < 0.002


# Each displayed formula by a piece of it, and the test that checks it (of this file, or of the file named).
MEAN = "test_velocity_score_denoised_estimate_and_variance_are_those_of_the_density"
SPLIT = "test_the_mismatch_splits_into_a_denoising_and_a_fisher_term_and_the_cross_term_is_zero"
HEAT = "test_the_heat_map_is_the_weighted_mean_over_times_of_the_aggregated_squares"
DENSE = "test_gaussian_formulas_are_those_of_dense_matrices"
POINT = "test_the_mismatch_of_one_picture_is_a_scaled_denoising_residual_whose_mean_over_noise_is_known"
FORMULAS = {
    r"x_t = (1 - t)\,x_0 + t\,": HEAT,
    r"\mathbb{E}\,[\,x_1 - x_0 \mid x_t = x\,]": MEAN,
    r"E_p[u \mid x_t = x]": MEAN,
    r"\frac{E[x_1 \mid x_t = x] - x}{1 - t}": MEAN,
    r"\hat{x}_1(x_t, t)": MEAN,
    r"\quad\Longrightarrow\quad E[x_1": MEAN,
    r"\nabla \log p_t(x)}{t} \qquad (\ast)": MEAN,
    r"\mathcal{L}(\theta)": "test_no_field_has_a_smaller_error_than_the_conditional_mean",
    r"\underbrace{E\|v_q - u\|^2}": SPLIT,
    r"\mathbb{E}\|v_p - u\|^2 = \mathbb{E}\|v_q - u\|^2": SPLIT,
    r"E\langle v_p - v_q, v_q - u\rangle = E\big": SPLIT,
    r"\frac{1-t}{t}\big(\nabla \log p_t": SPLIT,
    r"t^2 \cdot \text{Fisher}": SPLIT,
    r"E\|\hat v_q - u\|^2": SPLIT,
    r"v_G(x, t) = m +": DENSE,
    r"\text{denoising} = \frac{D\,s^2}{d}": DENSE,
    r"v - u = \frac{t s}{c}\,x_0": DENSE,
    r"\frac{\big\|E_p[x_1 \mid x_t] - y\big\|^2}{(1-t)^2}": POINT,
    r"D^k_t = \lVert v(x^k_t, t)": HEAT,
    r"D_{kj} = \left\| v(x_{t_j}^k, t_j)": HEAT,
    r"\mathrm{blur}\Big(\frac1T": HEAT,
    r"D^k = \sum_{c}": HEAT,
    r"D = \min_k D^k": HEAT,
    r"\mathrm{heat} = \frac1T \sum_{j=1}^{T}": HEAT,
    r"F_{kj} = \big\| v_p": "test_fisher_part_is_zero_for_equal_fields_and_the_mismatch_for_the_field_of_the_image",
}


def test_every_displayed_formula_has_its_check():
    shown = [
        (book.name, formula)
        for book in all_notebooks()
        for formula in re.findall(r"\$\$(.+?)\$\$", "\n".join(c.source for c in book.node.cells), re.DOTALL)
    ]
    tests = "".join(Path(path).read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    for name, formula in shown:
        found = [test for piece, test in FORMULAS.items() if piece in formula]
        assert found, f"{name}: {formula}"
        assert all(f"def {test}(" in tests for test in found)
    assert all(any(piece in formula for _, formula in shown) for piece in FORMULAS)
