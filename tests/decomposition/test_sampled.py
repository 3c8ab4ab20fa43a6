"""Every identity of the decomposition, in one and two dimensions and on images, within Monte-Carlo error."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from conftest import assert_one_sentence, blob_tensors, random_gaussian
from test_mixture import generator, mixture

from fmcore.decomposition import sampled
from fmcore.decomposition.sampled import DecompositionSettings, DecompositionStep, decompose
from fmcore.errors import SettingsError
from fmcore.fields import EmpiricalField, ExactField, GaussianField, MixtureField, semicircle, three_clusters
from fmcore.path import clean_guess, interior_times, interpolate

SETTINGS = DecompositionSettings(samples=4000, times=4)
IMAGE = (3, 16, 16)
TERMS = ("mismatch", "denoising", "fisher", "cross")


def image_mixture() -> MixtureField:
    return MixtureField.isotropic(torch.ones(3), blob_tensors(range(3), size=16), torch.tensor([0.02, 0.05, 0.1]))


def line(mean: float, variance: float) -> GaussianField:
    return GaussianField(torch.tensor([mean]), torch.zeros(0, 1), torch.zeros(0), variance)


CASES = {
    "1-D Gaussians": (lambda: line(0.0, 1.0), lambda: line(1.0, 0.3), SETTINGS),
    "1-D mixtures": (lambda: mixture((1,)), lambda: line(1.5, 0.2).double(), SETTINGS),
    "2-D curve": (semicircle, three_clusters, SETTINGS),
    "2-D finite set": (three_clusters, lambda: EmpiricalField(semicircle().sample(40, generator())), SETTINGS),
    "images, Gaussian": (
        lambda: random_gaussian(IMAGE, 4),
        lambda: random_gaussian(IMAGE, 6, seed=1),
        SETTINGS.replace(samples=600),
    ),
    "images, mixture and set": (
        image_mixture,
        lambda: EmpiricalField(blob_tensors(range(20, 30), size=16)),
        SETTINGS.replace(samples=600),
    ),
}


@pytest.fixture(scope="module", params=CASES)
def case(request) -> tuple[ExactField, ExactField, list[DecompositionStep], DecompositionSettings]:
    make_p, make_q, settings = CASES[request.param]
    p, q = make_p(), make_q()
    return p, q, list(decompose(p, q, settings)), settings


def independent_states(q: ExactField, t: float, count: int) -> torch.Tensor:
    draws = generator(77)
    x1 = q.sample(count, draws)
    return interpolate(torch.randn(x1.shape, generator=draws, dtype=x1.dtype), x1, t)


def score_gaps(p: ExactField, q: ExactField, x: torch.Tensor, t: float) -> torch.Tensor:
    """``||grad log p_t - grad log q_t||^2`` at each state, ``(N,)``."""
    return (p.score(x, t) - q.score(x, t)).double().square().flatten(1).sum(1)


def standard_error(values: torch.Tensor) -> float:
    return float(values.std()) / math.sqrt(len(values))


def test_times_are_interior_and_ascending(case):
    _, _, steps, settings = case
    assert [s.t for s in steps] == interior_times(settings.times)


def test_terms_add_up_on_the_same_draws(case):
    for step in case[2]:
        total = step.denoising.value + step.fisher.value + step.cross.value
        assert step.mismatch.value == pytest.approx(total, rel=1e-4)
        maps = step.denoising.map + step.fisher.map + step.cross.map
        np.testing.assert_allclose(step.mismatch.map, maps, rtol=1e-3, atol=1e-3 * step.mismatch.map.max())


def test_cross_term_of_the_exact_field_is_zero_within_its_error(case):
    for step in case[2]:
        assert abs(step.cross.value) < 3 * step.cross.error


def test_denoising_term_is_the_mean_trace_of_the_posterior_covariance(case):
    for step in case[2]:
        error = math.hypot(step.denoising.error, step.posterior.error)
        assert abs(step.denoising.value - step.posterior.value) < 3 * error
        assert step.posterior.error < 1.05 * step.denoising.error


def identity_gap(case, step: DecompositionStep, factor: float) -> float:
    """Mismatch less the two terms of the theory, these on other draws and through scores, in standard errors."""
    p, q, _, settings = case
    x = independent_states(q, step.t, settings.samples)
    theory = q.posterior_covariance_trace(x, step.t).double() + factor * score_gaps(p, q, x, step.t)
    return (step.mismatch.value - float(theory.mean())) / math.hypot(step.mismatch.error, standard_error(theory))


def test_mismatch_is_the_denoising_plus_the_fisher_term_of_the_theory(case):
    for step in case[2]:
        assert abs(identity_gap(case, step, ((1 - step.t) / step.t) ** 2)) < 3


def test_a_wrong_factor_of_the_fisher_term_is_found_out(case):
    """Without ((1 - t)/t)^2, or with it unsquared, the identity fails wherever the factor is not one."""
    for wrong in (lambda ratio: 1.0, lambda ratio: ratio, lambda ratio: 1 / ratio**2):
        gaps = [abs(identity_gap(case, s, wrong((1 - s.t) / s.t))) for s in case[2] if abs(s.t - 0.5) > 0.05]
        assert max(gaps) > 6


def test_fisher_term_is_the_scaled_gap_of_the_scores(case):
    p, q, steps, settings = case
    for step in steps:
        gaps = score_gaps(p, q, independent_states(q, step.t, settings.samples), step.t)
        scale = (step.t / (1 - step.t)) ** 2
        error = math.hypot(standard_error(gaps), scale * step.fisher.error)
        assert abs(scale * step.fisher.value - float(gaps.mean())) < 3 * error


def test_equal_laws_leave_the_denoising_term_alone():
    for field in (random_gaussian(IMAGE, 3), semicircle()):
        for step in decompose(field, field, SETTINGS.replace(samples=200)):
            assert step.fisher.value == step.cross.value == 0
            assert step.mismatch.value == step.denoising.value
            np.testing.assert_array_equal(step.mismatch.map, step.denoising.map)


def test_terms_of_two_gaussians_on_a_line_are_their_closed_forms():
    (m, a), (n, b) = (0.5, 2.0), (-1.0, 0.4)
    for step in decompose(line(m, a), line(n, b), SETTINGS.replace(samples=20_000)):
        t, spread = step.t, (1 - step.t) ** 2
        c, d = spread + t**2 * a, spread + t**2 * b  # variances of x_t
        # Scores are affine: -(x - t m)/c + (x - t n)/d with x ~ N(t n, d).
        gap = (t * (n - m) / c) ** 2 + (1 / d - 1 / c) ** 2 * d
        fisher, denoising = spread / t**2 * gap, b / d
        assert abs(step.fisher.value - fisher) < 3 * step.fisher.error
        assert abs(step.denoising.value - denoising) < 3 * step.denoising.error
        assert abs(step.mismatch.value - fisher - denoising) < 3 * step.mismatch.error
        assert step.posterior.value == pytest.approx(denoising, rel=1e-5) and step.posterior.error < 1e-5


@pytest.mark.parametrize("shape", [(1,), (2,), IMAGE])
def test_single_image_has_no_denoising_term_and_its_mismatch_is_a_denoising_residual(shape):
    p = image_mixture() if shape == IMAGE else mixture(shape).float()
    y = blob_tensors(range(9, 10), size=16)[0] if shape == IMAGE else torch.full(shape, 0.7)
    samples = y.expand(50, *shape).contiguous()
    settings = DecompositionSettings(times=4, seed=3)
    noise = torch.randn(samples.shape, generator=generator(3))
    for step in decompose(p, EmpiricalField(y[None]), settings, samples=samples):
        assert step.denoising.value < 1e-8 * max(1, step.mismatch.value)
        assert step.posterior.value < 1e-9
        assert abs(step.cross.value) < 1e-3 * step.mismatch.value
        assert step.fisher.value == pytest.approx(step.mismatch.value, rel=1e-3)
        x = interpolate(noise, samples, step.t)
        residual = clean_guess(x, p(x, step.t), step.t) - y
        expected = float(residual.square().flatten(1).sum(1).mean()) / (1 - step.t) ** 2
        assert step.mismatch.value == pytest.approx(expected, rel=1e-3)


def test_an_inexact_test_field_shows_up_in_the_cross_term():
    """A "learned" field off by a constant c: the cross term is 2 c (E[v_p - v_q] - c), and far from zero."""
    p, q, c = line(0.0, 1.0), line(1.0, 0.3), 0.4
    samples = q.sample(4000, generator(8))
    exact = decompose(p, q, SETTINGS, samples=samples)
    for step, best in zip(decompose(p, lambda x, t: q(x, t) + c, SETTINGS, samples=samples), exact, strict=True):
        t = step.t
        mean_gap = (2 * t - 1) / ((1 - t) ** 2 + t**2) * t - 1  # v_p is affine, and E[X_t] = t, E[v_q] = 1
        assert step.posterior is None
        # The error is not all in the cross term: its square is in the denoising term.
        assert abs(step.denoising.value - best.denoising.value - c**2) < 3 * step.denoising.error
        assert step.denoising.value > best.posterior.value + c**2 / 2
        assert abs(step.cross.value - 2 * c * (mean_gap - c)) < 3 * step.cross.error
        assert abs(step.cross.value) > 6 * step.cross.error
        total = step.denoising.value + step.fisher.value + step.cross.value
        assert step.mismatch.value == pytest.approx(total, rel=1e-4)


def test_errors_are_those_of_repeated_runs():
    """The spread of the estimates over seeds is what each run says of itself."""
    p, q = line(0.0, 1.0), line(1.0, 0.3)
    runs = [list(decompose(p, q, DecompositionSettings(samples=200, times=2, seed=s))) for s in range(150)]
    for name in (*TERMS, "posterior"):
        for index in range(2):
            terms = [getattr(run[index], name) for run in runs]
            spread = np.std([term.value for term in terms])
            assert spread == pytest.approx(np.mean([term.error for term in terms]), rel=0.25, abs=1e-6)


def test_data_and_noise_are_independent_draws():
    """A standard normal q draws with the same generator as the noise: the variance of u shows they differ."""
    q = line(0.0, 1.0)
    step = next(decompose(lambda x, t: torch.zeros_like(x), q, DecompositionSettings(samples=4000, times=1)))
    assert abs(step.mismatch.value - 2) < 3 * step.mismatch.error


@pytest.mark.parametrize("chunk", [1, 7])
def test_chunks_do_not_change_the_terms(chunk, monkeypatch):
    p, q = random_gaussian(IMAGE, 3), EmpiricalField(blob_tensors(range(4), size=16))
    settings = DecompositionSettings(samples=20, times=2)
    whole = list(decompose(p, q, settings))
    monkeypatch.setattr(sampled, "PAIRS", chunk)
    parts = list(decompose(p, q, settings))
    for one, other in zip(whole, parts, strict=True):
        for name in (*TERMS, "posterior"):
            a, b = getattr(one, name), getattr(other, name)
            # The cross term sums numbers of both signs, so it is measured against the mismatch.
            scale = 1e-5 * one.mismatch.value
            assert b.value == pytest.approx(a.value, abs=scale) and b.error == pytest.approx(a.error, abs=scale)
            np.testing.assert_allclose(b.map, a.map, atol=scale)


def test_maps_are_of_image_size_or_of_the_points_shape_and_sum_to_the_value():
    cases = [
        (random_gaussian(IMAGE, 3), random_gaussian(IMAGE, 1, seed=4), (16, 16)),
        (semicircle(), three_clusters(), (2,)),
        (random_gaussian((4, 5), 2), random_gaussian((4, 5), 1, seed=4), (4, 5)),
    ]
    for p, q, shape in cases:
        for step in decompose(p, q, SETTINGS.replace(samples=30, times=2)):
            for name in (*TERMS, "posterior"):
                term = getattr(step, name)
                assert term.map.shape == shape and term.map.dtype == np.float32
                assert float(term.map.sum()) == pytest.approx(term.value, rel=1e-3, abs=1e-3 * step.mismatch.value)


def test_a_local_change_of_the_law_shows_in_the_fisher_map_there():
    p = random_gaussian(IMAGE, 3)
    moved = GaussianField(p.mean.clone(), p.components, p.variances, p.rest)
    moved.mean[:, 4:8, 4:8] += 1.0
    inside = np.zeros((16, 16), dtype=bool)
    inside[4:8, 4:8] = True
    for step in decompose(p, moved, SETTINGS.replace(samples=50)):
        assert step.fisher.map[inside].min() > 5 * step.fisher.map[~inside].max()
        assert abs(step.denoising.map[inside].mean() / step.denoising.map[~inside].mean() - 1) < 0.2


def test_same_seed_gives_the_same_numbers_and_another_seed_others():
    p, q = line(0.0, 1.0), line(1.0, 0.3)
    first, again, other = (next(decompose(p, q, SETTINGS.replace(seed=s))) for s in (4, 4, 5))
    assert first.mismatch.value == again.mismatch.value != other.mismatch.value


def test_fields_are_called_as_steps_are_asked_for_and_inference_mode_does_not_leak(monkeypatch):
    monkeypatch.setattr(sampled, "PAIRS", 2)
    calls = []

    def field(x, t):
        calls.append(len(x))
        return torch.zeros_like(x)

    steps = decompose(field, line(0.0, 1.0), DecompositionSettings(samples=5, times=3))
    assert not calls
    next(steps)
    assert calls == [2, 2, 1] and not torch.is_inference_mode_enabled()


def test_bad_arguments_are_refused_in_one_sentence():
    for wrong, word in (({"sample": 3}, "did you mean 'samples'"), ({"samples": 1}, "samples")):
        with pytest.raises(SettingsError) as caught:
            DecompositionSettings.parse(**wrong)
        assert_one_sentence(caught.value, word)
