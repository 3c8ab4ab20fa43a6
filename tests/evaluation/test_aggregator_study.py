"""Path aggregators at one time, against order statistics of a known law."""

from __future__ import annotations

import math

import pytest
import torch
from conftest import assert_one_sentence, random_gaussian
from scipy.stats import norm

from fmcore.errors import DataError, SettingsError
from fmcore.evaluation.aggregator_study import AggregatorSettings, AggregatorStep, study_aggregators
from fmcore.fields import GaussianField, semicircle

LINE = GaussianField(torch.tensor([0.2]), torch.zeros(0, 1), torch.zeros(0), 0.5)
AT_MEAN = torch.tensor([0.2])  # here the mismatch is a^2 times a chi-square of one degree of freedom


def run(field, image, **settings) -> list[AggregatorStep]:
    return list(study_aggregators(field, image, AggregatorSettings.parse(**settings)))


def point(step: AggregatorStep, name: str, paths: int):
    (found,) = [p for p in step.points if (p.aggregator, p.paths) == (name, paths)]
    return found


@pytest.mark.parametrize("t", [0.2, 0.5, 0.8])
def test_chi_square_has_its_mean_median_quantile_and_least_value(t):
    (step,) = run(LINE, AT_MEAN, times=(t,), paths=(1, 16), repeats=300, reference=20_000)
    scale = (t * 0.5 / ((1 - t) ** 2 + t**2 * 0.5)) ** 2
    assert step.expected == pytest.approx(scale, rel=1e-5) and step.expected_error == 0
    assert step.limits["min"] == 0
    # The quantiles of z^2 follow from those of |z|; 20,000 draws place them within about 3 %.
    assert step.limits["median"] == pytest.approx(scale * norm.ppf(0.75) ** 2, rel=0.08)
    assert step.limits["percentile"] == pytest.approx(scale * norm.ppf(0.625) ** 2, rel=0.12)
    for count in (1, 16):
        mean = point(step, "mean", count)
        assert abs(mean.bias) < 4 * mean.error and mean.variance == pytest.approx(2 * scale**2 / count, rel=0.5)
    # E min of 16: the survival function of z^2 to the 16th power, integrated.
    z = torch.linspace(0, 6, 60_001, dtype=torch.float64)
    survival = (2 * torch.special.ndtr(-z)) ** 16
    least = point(step, "min", 16)
    expected = scale * float(torch.trapezoid(survival * 2 * z, z))
    assert abs(least.mean - expected) < 4 * least.error
    assert least.bias == pytest.approx(least.mean - scale) and least.bias_from_limit == pytest.approx(least.mean)


def test_with_one_path_all_aggregators_are_the_same():
    (step,) = run(random_gaussian((3, 16, 16), 4), torch.zeros(3, 16, 16), times=(0.5,), paths=(1,), repeats=4)
    assert len({(p.mean, p.error, p.variance) for p in step.points}) == 1


def test_images_are_averaged_over_pixels_and_the_mean_is_unbiased_at_every_time():
    field = random_gaussian((3, 16, 16), 4)
    steps = run(field, field.mean.flip(1), paths=(2, 8), repeats=60, times=(0.1, 0.5, 0.9), reference=64)
    assert [s.t for s in steps] == [0.1, 0.5, 0.9]
    for step in steps:
        for count in (2, 8):
            mean = point(step, "mean", count)
            assert abs(mean.bias) < 4 * mean.error < 0.1 * step.expected
        assert point(step, "min", 8).mean < point(step, "min", 2).mean < point(step, "mean", 2).mean


def test_fields_without_closed_form_state_an_error():
    (step,) = run(semicircle(), torch.tensor([0.0, 8.5]), times=(0.5,), paths=(8,), repeats=50, reference=2000)
    mean = point(step, "mean", 8)
    assert 0 < step.expected_error < 0.2 * step.expected
    assert abs(mean.bias) < 4 * math.hypot(mean.error, step.expected_error)
    # Unlike a Gaussian, a curved law keeps some mismatch whatever the noise.
    assert 0.05 * step.expected < step.limits["min"] < step.limits["percentile"] < step.expected


def test_weights_scale_values_and_variances():
    (step,) = run(LINE, AT_MEAN, times=(0.5,), paths=(4,), repeats=5)
    weighted = step.weighted(2.0)
    assert weighted.expected == step.expected / 4 and weighted.limits["median"] == step.limits["median"] / 4
    for before, after in zip(step.points, weighted.points, strict=True):
        assert (after.mean, after.error, after.bias) == (before.mean / 4, before.error / 4, before.bias / 4)
        assert after.bias_from_limit == before.bias_from_limit / 4 and after.variance == before.variance / 16


def test_same_seed_same_bits():
    first, again, other = (run(LINE, AT_MEAN, times=(0.5,), paths=(4,), repeats=5, seed=s) for s in (0, 0, 1))
    assert first == again and first != other


def test_bad_input_is_one_sentence():
    with pytest.raises(DataError) as caught:
        run(LINE, torch.zeros(1, 2))
    assert_one_sentence(caught.value, "(C, H, W)")
    for settings in ({"times": (0.0,)}, {"times": (1.0,)}, {"paths": (0,)}):
        with pytest.raises(SettingsError) as caught:
            run(LINE, AT_MEAN, **settings)
        assert_one_sentence(caught.value, "between 0 and 1")
