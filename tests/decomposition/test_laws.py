"""Test laws of a picture and of a mix, their terms in closed form, and the checks of the identities."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from conftest import SIZE, assert_one_sentence, blob_tensors, dense_covariance, random_gaussian

from fmcore.decomposition.laws import (
    check_identities,
    decompose_law,
    differentiated_score,
    empirical_law,
    exact_terms,
    gaussian_law,
    gaussian_terms,
    image_law,
    network_law,
    path_count,
    score_from_velocity_gap,
)
from fmcore.decomposition.sampled import NAMES, DecompositionSettings, Terms, decompose
from fmcore.errors import DataError, SettingsError
from fmcore.fields import EmpiricalField, ExactField, GaussianField, MixtureField, semicircle, three_clusters
from fmcore.fields.gaussian import fit_gaussian
from fmcore.fields.unet import VelocityUNet
from fmcore.training import TrainSettings

SETTINGS = DecompositionSettings(samples=200, times=4)
IMAGE = (3, 16, 16)
SHAPES = {"1-D": ((1,), 0, 0), "2-D": ((2,), 1, 1), "image": (IMAGE, 4, 6)}


@pytest.fixture(scope="module")
def mix() -> torch.Tensor:
    return blob_tensors(range(40, 46), size=16)


@pytest.fixture(scope="module")
def p() -> GaussianField:
    return fit_gaussian(blob_tensors(range(12), size=16))


@pytest.mark.parametrize("name", SHAPES)
def test_closed_form_of_two_gaussians_is_what_sampling_estimates(name):
    shape, k, l = SHAPES[name]  # noqa: E741
    p, q = random_gaussian(shape, k), random_gaussian(shape, l, seed=1)
    p.rest.mul_(3)  # or the 1-D laws differ in nothing but their means
    for step in decompose(p, q, DecompositionSettings(samples=3000, times=4)):
        exact = gaussian_terms(p, q, step.t)
        for term in ("mismatch", "denoising", "fisher"):
            estimate = getattr(step, term)
            assert abs(getattr(exact, term) - estimate.value) < 3 * estimate.error
        assert exact.mismatch == pytest.approx(exact.denoising + exact.fisher)
        assert exact.denoising == pytest.approx(step.posterior.value, rel=1e-4)


def test_closed_form_agrees_with_dense_matrices():
    p, q, t = random_gaussian((2, 5), 3), random_gaussian((2, 5), 2, seed=1), 0.7
    eye = torch.eye(10, dtype=torch.float64)
    c, d = ((1 - t) ** 2 * eye + t**2 * dense_covariance(field) for field in (p, q))
    shift = (q.mean - p.mean).double().flatten()
    gap = c.inverse() - d.inverse()
    divergence = t**2 * (c.inverse() @ shift).square().sum() + (gap @ d @ gap).trace()
    exact = gaussian_terms(p, q, t)
    assert exact.fisher_divergence == pytest.approx(float(divergence), rel=1e-6)
    assert exact.fisher == pytest.approx(((1 - t) / t) ** 2 * float(divergence), rel=1e-6)
    assert exact.denoising == pytest.approx(float((dense_covariance(q) @ d.inverse()).trace()), rel=1e-6)


def test_one_picture_alone_has_only_a_fisher_term_equal_to_the_closed_form(p, mix):
    law = image_law(mix[0])
    steps = list(decompose_law(p, law, SETTINGS))
    exact = exact_terms(p, law, [step.t for step in steps])
    for step, terms in zip(steps, exact, strict=True):
        assert step.denoising.value < 1e-6 and terms.denoising == 0
        assert step.fisher.value == pytest.approx(step.mismatch.value, rel=1e-4)
        assert abs(step.mismatch.value - terms.fisher) < 3 * step.mismatch.error


@pytest.mark.parametrize("noise", [0.05, 0.4])
def test_sensor_noise_has_the_denoising_term_of_its_formula(p, mix, noise):
    law = image_law(mix[0], noise)
    steps = list(decompose_law(p, law, SETTINGS))
    for step, terms in zip(steps, exact_terms(p, law, [s.t for s in steps]), strict=True):
        expected = mix[0].numel() * noise**2 / ((1 - step.t) ** 2 + (step.t * noise) ** 2)
        assert terms.denoising == pytest.approx(expected) == pytest.approx(step.posterior.value, rel=1e-5)
        assert abs(step.denoising.value - expected) < 3 * step.denoising.error
        assert abs(step.fisher.value - terms.fisher) < 3 * step.fisher.error
        assert abs(step.cross.value) < 3 * step.cross.error


@pytest.mark.parametrize(("size", "collapsed"), [(16, 0.78), (64, 0.48)])
def test_empirical_denoising_term_collapses_the_earlier_the_more_pixels(size, collapsed):
    p, mix = fit_gaussian(blob_tensors(range(12), size=size)), blob_tensors(range(40, 46), size=size)
    steps = list(decompose_law(p, empirical_law(mix), DecompositionSettings(samples=60, times=19)))
    shares = [step.denoising.value / step.mismatch.value for step in steps]
    assert shares[0] > 0.5  # t = 0.05: the members are not told apart yet
    assert all(share < 1e-2 for share, step in zip(shares, steps, strict=True) if step.t > collapsed)


def test_cross_term_of_one_picture_vanishes_only_on_average_over_the_mix(p, mix):
    law, settings = empirical_law(mix), DecompositionSettings(samples=400, times=9)
    singles = [next(decompose_law(p, law, settings, image=image)) for image in mix]
    assert max(abs(step.cross.value) / step.cross.error for step in singles) > 4
    mean = sum(step.cross.value for step in singles) / len(mix)
    assert abs(mean) < 3 * math.hypot(*(step.cross.error for step in singles)) / len(mix)
    assert all(step.posterior is None for step in singles)


@pytest.mark.parametrize("shape", [(1,), (2,), (5, 6, 4)])
def test_cross_term_of_a_group_of_the_mix_is_not_zero_and_that_of_the_whole_mix_is(shape):
    """Exact fields throughout. The identity needs paths to draws of the law that v_q is of: the groups of a mix are
    not, and their cross terms, far from zero, only cancel."""
    still = torch.zeros(shape)
    good, defective = GaussianField.isotropic(still, 0.3), GaussianField.isotropic(still + 1.5, 0.3)
    mix = MixtureField.isotropic(torch.ones(2), torch.stack([still, still + 1.5]), torch.full((2,), 0.3))
    draws, settings = torch.Generator().manual_seed(1), DecompositionSettings(samples=3000, times=4)
    groups = [field.sample(3000, draws) for field in (good, defective)]
    of_good, of_defective, of_mix = (
        next(decompose(good, mix, settings, samples=x)) for x in (*groups, torch.cat(groups))
    )
    assert of_mix.t == 0.2
    assert of_good.cross.value < -8 * of_good.cross.error and of_defective.cross.value > 8 * of_defective.cross.error
    assert abs(of_mix.cross.value) < 3 * of_mix.cross.error
    # Nor is the denoising term of a group the posterior variance of the mix: that, too, is a mean over both.
    assert abs(of_mix.denoising.value - of_mix.posterior.value) < 3 * of_mix.denoising.error
    # And so the Fisher term of good images can exceed their mismatch less what they must have at least.
    assert of_good.denoising.value + of_good.fisher.value > of_good.mismatch.value + 8 * of_good.cross.error


def test_learned_laws_report_the_cross_term_and_no_posterior(blobs):
    p, mix = fit_gaussian(blobs), blob_tensors(range(40, 46))
    network = VelocityUNet.new(None, (3, SIZE, SIZE), 1, widths=(16,), blocks=1, seed=0)
    before = network(mix[:1], 0.5)
    *_, (record, learned) = network_law(mix, network, TrainSettings(steps=2, batch=2))
    assert record.step == 2 and not torch.equal(learned.field(mix[:1], 0.5), before) and not network.training
    for law in (gaussian_law(mix), learned):
        assert not law.exact
        for step in decompose_law(p, law, SETTINGS.replace(samples=12)):
            total = step.denoising.value + step.fisher.value + step.cross.value
            assert step.mismatch.value == pytest.approx(total, rel=1e-4) and step.posterior is None
            assert abs(step.cross.value) > 1e-3 * step.mismatch.value
        assert exact_terms(p, law, [0.5]) is None


def test_every_picture_of_a_mix_gets_as_many_paths(mix):
    seen = []

    def field(x, t):
        seen.append(x)
        return torch.zeros_like(x)

    settings = DecompositionSettings(samples=8, times=1)
    law = empirical_law(mix)
    next(decompose_law(field, law, settings))
    assert sum(map(len, seen)) == path_count(law, settings) == 12
    assert path_count(law, settings, image=mix[0]) == path_count(image_law(mix[0], 0.1), settings) == 8


def test_weighted_and_averaged_maps_keep_the_identity(p, mix):
    terms = Terms.collect(decompose_law(p, gaussian_law(mix), SETTINGS.replace(samples=12)))
    assert terms.times.shape == (4,) and terms.maps["fisher"].shape == (4, 16, 16)
    for maps in (terms.weighted(2.0), terms.averaged(2.0)):
        total = sum(maps[name] for name in NAMES[1:])
        np.testing.assert_allclose(total, maps["mismatch"], rtol=1e-3, atol=1e-4 * maps["mismatch"].max())
    by_hand = sum(t**2 * values for t, values in zip(terms.times, terms.maps["cross"], strict=True)) / 4
    np.testing.assert_allclose(terms.averaged(2.0)["cross"], by_hand, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(terms.averaged(0.0)["fisher"], terms.maps["fisher"].mean(0), rtol=1e-5)
    assert terms.scale(2.0, least=1e9) == 1e9
    reached = np.abs(np.stack(list(terms.averaged(2.0).values())))
    assert np.mean(reached > terms.scale(2.0)) == pytest.approx(0.01, abs=0.005)


def test_a_gaussian_law_of_one_picture_is_refused(mix):
    with pytest.raises(DataError) as caught:
        gaussian_law(mix[:1])
    assert_one_sentence(caught.value, "at least 2")


CASES = {
    "1-D": (
        lambda: random_gaussian((1,), 0),
        lambda: GaussianField(torch.ones(1), torch.zeros(0, 1), torch.zeros(0), 0.8),
    ),
    "2-D": (semicircle, three_clusters),
    "image": (lambda: random_gaussian(IMAGE, 4), lambda: EmpiricalField(blob_tensors(range(5), size=16))),
}


@pytest.fixture(params=CASES)
def fields(request) -> tuple[ExactField, ExactField]:
    return tuple(make() for make in CASES[request.param])


def test_all_identities_hold_within_three_standard_errors(fields):
    samples = 300 if fields[0].sample(1, torch.Generator()).numel() > 2 else 1500
    checks = list(check_identities(*fields, DecompositionSettings(samples=samples, times=4)))
    assert [c.name for c in checks[:4]] == ["cross", "denoising", "fisher", "mismatch"] and len(checks) == 16
    assert max(abs(check.deviation) for check in checks) < 3


@pytest.mark.parametrize("power", [0.0, 1.0, -2.0])
def test_a_wrong_factor_is_found_out_in_the_two_identities_that_hold_it(fields, power):
    checks = list(check_identities(*fields, SETTINGS.replace(samples=300), power=power))
    worst = {
        name: max(abs(c.deviation) for c in checks if c.name == name)
        for name in ("cross", "denoising", "fisher", "mismatch")
    }
    assert worst["cross"] < 4 and worst["denoising"] < 4
    assert worst["fisher"] > 6 and worst["mismatch"] > 6


def test_differentiated_score_is_that_of_a_standard_normal():
    field = GaussianField(torch.zeros(3), torch.zeros(0, 3), torch.zeros(0), 1.0)
    x = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():  # as inside a loop that scores
        score = differentiated_score(field, x, 0.5)
    torch.testing.assert_close(score, -x / 0.5)


def test_score_velocity_relation_holds_and_a_wrong_velocity_is_found_out(fields):
    for field in fields:
        x = field.sample(8, torch.Generator().manual_seed(1))
        x = x + 0.3 * torch.randn(x.shape, generator=torch.Generator().manual_seed(2))
        assert score_from_velocity_gap(field, x, 0.6) < 1e-3

    class Wrong(GaussianField):
        def forward(self, x, t):
            return 1.1 * super().forward(x, t)

    wrong = Wrong(torch.ones(2), torch.zeros(0, 2), torch.zeros(0), 0.5)
    assert score_from_velocity_gap(wrong, torch.ones(1, 2), 0.6) > 0.01


@pytest.mark.parametrize("noise", [-0.1, 2.1, float("nan")])
def test_noise_out_of_range_is_refused(mix, noise):
    with pytest.raises(SettingsError) as caught:
        image_law(mix[0], noise)
    assert_one_sentence(caught.value, "Noise")
