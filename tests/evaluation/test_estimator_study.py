"""The estimator study against closed forms: bias, variance and gains of known laws in 1-D, 2-D and on images."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import assert_one_sentence, random_gaussian
from scipy.stats import norm

from fmcore.errors import DataError, SettingsError
from fmcore.evaluation.estimator_study import (
    Estimate,
    StudySettings,
    best_per_budget,
    budget_paths,
    repeat_seeds,
    study,
    variance_gain,
)
from fmcore.fields import GaussianField, MixtureField, semicircle
from fmcore.mismatch.expected import ExpectedSettings, expected_mismatch
from fmcore.mismatch.mismatch import HeatSettings, PathSettings
from fmcore.mismatch.noise import NOISE_KINDS

MEAN = HeatSettings(aggregator="mean", smoothing=0.0)
LINE = GaussianField(torch.tensor([0.2]), torch.zeros(0, 1), torch.zeros(0), 0.5)
PLANE = GaussianField(torch.tensor([1.0, 0.0]), torch.tensor([[0.6, 0.8]]), torch.tensor([2.0]), 0.3)
IMAGES = random_gaussian((3, 16, 16), 4)
LAWS = {
    "1-D": (LINE, torch.tensor([[1.7], [0.1]])),
    "2-D": (PLANE, torch.tensor([[0.0, 1.5], [1.0, 0.2]])),
    "images": (IMAGES, IMAGES.mean + torch.linspace(0, 1, 2)[:, None, None, None]),
}


def run(field, images, paths, heats=(MEAN,), **settings) -> list[Estimate]:
    records = list(study(field, images, paths, heats, StudySettings.parse(**settings)))
    assert [r.done for r in records] == list(range(1, records[-1].total + 1))
    return [estimate for record in records for estimate in record.estimates]


def chosen(estimates: list[Estimate], **wanted) -> Estimate:
    (found,) = [e for e in estimates if all(getattr(e.paths, k) == v for k, v in wanted.items())]
    return found


def grid_score(field, image, times: int) -> float:
    """Expected heat value of a point on the grid of T times, doubled as `image_score` does for a single pixel."""
    t = np.arange(1, times + 1) / (times + 1)
    return 2 * float(np.mean([s**2 * expected_mismatch(field, image, s).item() for s in t]))


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("kind", NOISE_KINDS)
def test_with_a_fine_grid_the_mean_is_unbiased_under_every_kind_of_noise(law, kind):
    field, images = LAWS[law]
    (found,) = run(field, images, [PathSettings(paths=4, times=100, noise=kind)], repeats=24 if law != "images" else 8)
    # A grid of 100 times is off by about 1/(2 T) of what the ends differ: stated here as at most 3 % of the score.
    assert found.exact_error.max() == 0
    # The squared distance of a mean from its expectation, 16 of its variance being four standard errors.
    assert abs(found.map_bias) < 0.03**2 + 16 * found.map_variance / len(found.scores)
    if law != "images":
        error = math.sqrt(found.score_variance / len(found.scores))
        assert abs(found.score_bias) < 0.03 + 4 * error


@pytest.mark.parametrize("law", ["1-D", "2-D"])
@pytest.mark.parametrize("times", [1, 3, 6])
def test_bias_of_the_mean_is_exactly_that_of_the_time_grid(law, times):
    field, images = LAWS[law]
    (found,) = run(field, images, [PathSettings(paths=32, times=times, noise="sobol")], repeats=40)
    for i, image in enumerate(images):
        expected = grid_score(field, image, times)
        error = found.scores[:, i].std(ddof=1) / math.sqrt(40)
        assert error < 0.02 * expected and abs(found.scores[:, i].mean() - expected) < 4 * error
    expected = np.mean([grid_score(field, y, times) / e for y, e in zip(images, found.exact, strict=True)]) - 1
    assert found.score_bias == pytest.approx(expected, abs=0.04)


@pytest.mark.parametrize("law", LAWS)
def test_variance_falls_as_one_over_k_and_the_antithetic_gain_is_that_of_theory(law):
    field, images = LAWS[law]
    images, t = images[:1], 0.5  # one time, so that variances are those of one squared gap
    kinds = [PathSettings(paths=k, times=1, noise=n) for k in (4, 16) for n in ("independent", "antithetic")]
    found = run(field, images, kinds, repeats=400 if law != "images" else 150)
    few, many = (chosen(found, paths=k, noise="independent") for k in (4, 16))
    gain = variance_gain(few, many)
    assert abs(gain.ratio - 4) < 4 * gain.error and gain.error < 0.8
    # Along each eigendirection (a z + b)^2: pairs leave 4 a^4 / K of (2 a^4 + 4 a^2 b^2) / K. Summed over the
    # channels of a pixel, or the dimensions of a point, with A and b in pixel coordinates.
    a = dense(field, t, lambda s, c: t * s / c)
    b = dense(field, t, lambda s, c: (1 - t) / c) @ (field.mean - images[0]).flatten().double()
    even, odd = 0.0, 0.0
    for rows in torch.arange(len(a)).view(field.mean.shape[0], -1).T if law == "images" else [torch.arange(len(a))]:
        block = a[rows] @ a[rows].T
        even += 2 * float((block @ block).trace())
        odd += 4 * float(b[rows] @ block @ b[rows])
    for k in (4, 16):
        gain = variance_gain(*(chosen(found, paths=k, noise=n) for n in ("independent", "antithetic")))
        assert abs(gain.ratio - (even + odd) / (2 * even)) < 4 * gain.error, (k, gain)
        assert gain.error < 0.4 * gain.ratio


def dense(field: GaussianField, t: float, factor) -> torch.Tensor:
    """``f(S)`` as a ``(D, D)`` matrix, by its own eigendecomposition."""
    u, d = field.components.double(), field.mean.numel()
    s = u.T @ torch.diag(field.variances.double() - field.rest.double()) @ u + field.rest.double() * torch.eye(d)
    values, vectors = torch.linalg.eigh(s)
    return vectors @ torch.diag(factor(values, (1 - t) ** 2 + t**2 * values)) @ vectors.T


def test_jackknife_error_of_a_gain_is_the_spread_of_repeated_gains():
    kinds = [PathSettings(paths=4, times=1, noise=n) for n in ("independent", "antithetic")]
    gains = [
        variance_gain(*(chosen(e, noise=n) for n in ("independent", "antithetic")))
        for e in (run(LINE, LAWS["1-D"][1][:1], kinds, repeats=60, seed=seed) for seed in range(30))
    ]
    spread = np.std([g.ratio for g in gains], ddof=1)
    assert np.mean([g.error for g in gains]) == pytest.approx(spread, rel=0.5)


def test_minimum_of_a_gaussian_falls_towards_zero_and_the_mean_does_not():
    low = HeatSettings(aggregator="min", smoothing=0.0)
    paths = [PathSettings(paths=k, times=12) for k in (1, 8, 64)]
    found = run(LINE, LAWS["1-D"][1], paths, [MEAN, low], repeats=30)
    least = [next(e for e in found if e.heat == low and e.paths.paths == k).score_bias for k in (1, 8, 64)]
    mean = [next(e for e in found if e.heat == MEAN and e.paths.paths == k).score_bias for k in (1, 8, 64)]
    assert least[0] == pytest.approx(mean[0]) and least[0] > least[1] + 0.5 > least[2] + 0.55 and least[2] < -0.9
    assert np.ptp(mean) < 0.15


def test_error_terms_fit_together():
    field, images = LAWS["2-D"]
    (found,) = run(field, images, [PathSettings(paths=3, times=4)], repeats=10)
    ratio = found.scores / found.exact
    variance, bias = found.score_variance * 9 / 10, np.square(ratio.mean(0) - 1).mean()
    assert found.score_mse == pytest.approx(variance + bias)
    assert found.score_scatter == pytest.approx(ratio.var() / ratio.mean() ** 2)
    scaled = replace(found, scores=3 * found.scores)
    assert scaled.score_scatter == pytest.approx(found.score_scatter) and scaled.score_mse > 1
    assert found.map_mse == pytest.approx(found.map_variance + found.map_bias)
    assert found.evaluations == 12


def test_paths_that_share_a_run_equal_those_run_alone():
    field, images = LAWS["2-D"]
    paths = [PathSettings(paths=k, times=3, noise=n) for n in ("antithetic", "latin") for k in (2, 5)]
    together = run(field, images, paths, repeats=4)
    for p in paths:
        (alone,) = run(field, images, [p], repeats=4)
        np.testing.assert_allclose(chosen(together, paths=p.paths, noise=p.noise).scores, alone.scores, rtol=1e-4)


def test_fields_without_closed_form_have_a_target_with_an_error():
    y = torch.tensor([[0.0, 8.5]])
    settings = {"expected": ExpectedSettings(draws=400, nodes=24), "repeats": 12}
    (found,) = run(semicircle(), y, [PathSettings(paths=16, times=60)], **settings)
    assert 0 < found.exact_error.item() < 0.2 * found.exact.item()
    error = math.hypot(found.exact_error.item() / found.exact.item(), math.sqrt(found.score_variance / 12))
    assert abs(found.score_bias) < 0.03 + 4 * error
    single = MixtureField.of(torch.ones(1), [PLANE])
    (mixture,) = run(single, LAWS["2-D"][1], [PathSettings(paths=2, times=3)], **settings)
    (gaussian,) = run(PLANE, LAWS["2-D"][1], [PathSettings(paths=2, times=3)], **settings)
    np.testing.assert_allclose(mixture.scores, gaussian.scores, rtol=1e-4)
    assert (np.abs(mixture.exact - gaussian.exact) < 4 * mixture.exact_error).all()


def test_auroc_of_shifted_normal_scores():
    rng = np.random.default_rng(0)
    labels = np.arange(400) % 2 == 1
    scores = 10 + rng.standard_normal((8, 400)) + labels
    estimate = Estimate(PathSettings(), MEAN, scores, np.ones(400), np.zeros(400), np.ones(8), 0.0)
    value, error = estimate.auroc(labels)
    assert 0 < error < 0.02 and abs(value - norm.cdf(1 / math.sqrt(2))) < 5 * error
    assert estimate.auroc(np.zeros(400, dtype=bool)) == (None, None)


def test_budgets_are_all_products_within_the_limits():
    found = budget_paths((12, 192))
    assert {(p.paths, p.times) for p in found[:6]} == {(12, 1), (6, 2), (4, 3), (3, 4), (2, 6), (1, 12)}
    assert all(p.paths * p.times == 192 and p.paths <= 64 and p.times <= 100 for p in found[6:])
    assert [(p.paths, p.times, p.noise) for p in budget_paths([24], noise="latin", times=[6, 7])] == [(4, 6, "latin")]
    for budget in (0, 101 * 103):
        with pytest.raises(SettingsError) as caught:
            budget_paths([budget])
        assert_one_sentence(caught.value, str(budget))


def test_best_per_budget_is_the_least_error_of_each():
    found = run(*LAWS["2-D"], budget_paths((4, 12)), repeats=4)
    best = best_per_budget(found, lambda e: e.map_mse)
    assert list(best) == [4, 12]
    for budget, estimate in best.items():
        assert estimate.map_mse == min(e.map_mse for e in found if e.evaluations == budget)


def test_repeats_of_two_seeds_do_not_overlap_and_same_seed_same_bits():
    assert not set(repeat_seeds(0, 100)) & set(repeat_seeds(1, 100))
    assert repeat_seeds(3, 5) == repeat_seeds(3, 8)[:5] and all(0 <= s < 2**31 for s in repeat_seeds(0, 1000))
    first, again = (run(*LAWS["1-D"], [PathSettings(paths=2, times=2)], repeats=3)[0].scores for _ in range(2))
    np.testing.assert_array_equal(first, again)


def test_bad_input_is_one_sentence_before_anything_runs():
    def untouched(x, t):
        raise AssertionError

    settings = StudySettings()
    for images in (torch.zeros(0, 2), torch.zeros(2, 3, 4), torch.full((1, 2), math.nan)):
        with pytest.raises(DataError) as caught:
            study(untouched, images, [PathSettings()], [MEAN], settings)
        assert_one_sentence(caught.value, "(N, C, H, W)")
    with pytest.raises(SettingsError) as caught:
        study(untouched, torch.zeros(1, 2), [], [MEAN], settings)
    assert_one_sentence(caught.value, "at least one")
    found = [run(*LAWS["1-D"], [PathSettings(paths=1, times=1)], repeats=r)[0] for r in (3, 4)]
    with pytest.raises(SettingsError, match="'repeats' = 2"):
        StudySettings.parse(repeats=2)
    with pytest.raises(DataError, match="same number of repeats"):
        variance_gain(*found)
