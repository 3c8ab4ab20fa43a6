"""Noise of the paths: exact structure of every kind, margins, nesting, and the variance that theory promises."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from conftest import assert_one_sentence, random_gaussian
from scipy.stats import kstest, norm

from fmcore.detector.model import ModelInfo, load_model, save_model
from fmcore.errors import SettingsError
from fmcore.fields import GaussianField
from fmcore.mismatch.mismatch import HeatSettings, Mismatch, PathSettings, mismatch_steps
from fmcore.mismatch.noise import NOISE_KINDS, path_noise
from fmcore.path import draw_noise

SHAPES = {"1-D": (1,), "2-D": (2,), "image": (3, 16, 16)}
NESTED = ("independent", "antithetic", "orthogonal", "sobol")


def repeated(kind: str, count: int, shape: tuple[int, ...], repeats: int) -> torch.Tensor:
    """``(repeats, count, *shape)``, one seed each."""
    return torch.stack([path_noise(kind, count, shape, seed) for seed in range(repeats)])


def line(mean: float, variance: float) -> GaussianField:
    return GaussianField(torch.tensor([mean]), torch.zeros(0, 1), torch.zeros(0), variance)


def estimates(field, y, t: float, *, kind: str, count: int, repeats: int) -> torch.Tensor:
    """Mean over ``count`` paths of ``||v - u||^2`` at one time, for each of ``repeats`` seeds; float64."""
    x0 = repeated(kind, count, tuple(y.shape), repeats)
    gap = field(((1 - t) * x0 + t * y).flatten(0, 1), t).view_as(x0) - (y - x0)
    return gap.double().square().flatten(2).sum(2).mean(1)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("kind", NOISE_KINDS)
def test_every_place_of_every_draw_is_standard_normal(kind, shape):
    # At image size a draw has 768 places; its places are independent of each other under every kind.
    draws = repeated(kind, 5, shape, 400 if len(shape) == 1 else 4).double()
    for k in range(5):
        assert kstest(draws[:, k].flatten().numpy(), norm.cdf).pvalue > 1e-4
    assert draws.dtype == torch.float64 and bool(torch.isfinite(draws).all())


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("kind", NOISE_KINDS)
def test_same_seed_same_bits_and_the_global_generators_are_left_alone(kind, shape):
    torch.manual_seed(3)
    np.random.seed(3)
    expected, expected_numpy = torch.rand(1), np.random.rand()
    torch.manual_seed(3)
    np.random.seed(3)
    first, again, other = (path_noise(kind, 6, shape, seed) for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert first.shape == (6, *shape) and first.dtype == torch.float32
    assert torch.equal(torch.rand(1), expected) and np.random.rand() == expected_numpy


@pytest.mark.parametrize("count", [1, 2, 5, 8])
def test_antithetic_draws_are_exact_opposites_and_an_odd_one_is_left_over(count):
    noise = path_noise("antithetic", count, (3, 16, 16), 4)
    assert len(noise) == count
    for k in range(0, count - 1, 2):
        assert torch.equal(noise[k], -noise[k + 1])
    assert torch.equal(noise[::2], draw_noise((count + 1) // 2, (3, 16, 16), 4))


def test_independent_noise_is_the_plain_draw_bit_for_bit():
    assert torch.equal(path_noise("independent", 5, (3, 8, 8), 11), draw_noise(5, (3, 8, 8), 11))


@pytest.mark.parametrize("kind", NESTED)
def test_adding_paths_keeps_those_already_seen(kind):
    for shape in SHAPES.values():
        torch.testing.assert_close(path_noise(kind, 3, shape, 7), path_noise(kind, 8, shape, 7)[:3])


def test_orthogonal_draws_are_orthogonal_within_a_block_and_keep_their_lengths():
    noise, plain = path_noise("orthogonal", 8, (3, 4, 4), 2), draw_noise(8, (3, 4, 4), 2)
    rows = noise.flatten(1).double()
    gram = rows @ rows.T
    torch.testing.assert_close(gram, torch.diag(plain.flatten(1).double().square().sum(1)), atol=1e-4, rtol=1e-5)
    plane = path_noise("orthogonal", 5, (2,), 2).double()
    assert abs(float(plane[0] @ plane[1])) < 1e-6 and abs(float(plane[2] @ plane[3])) < 1e-6
    assert abs(float(plane[0] @ plane[2])) > 1e-3


@pytest.mark.parametrize(("kind", "count"), [("latin", 5), ("latin", 8), ("sobol", 8), ("sobol", 16)])
def test_each_slice_of_every_coordinate_holds_one_draw(kind, count):
    slices = (torch.special.ndtr(path_noise(kind, count, (3, 16, 16), 0).double()) * count).floor().long()
    expected = torch.arange(count)[:, None].expand(count, 768)
    assert torch.equal(slices.flatten(1).sort(0).values, expected)


def test_sobol_points_are_also_even_over_the_plane():
    cells = (torch.special.ndtr(path_noise("sobol", 16, (2,), 5).double()) * 4).floor().long()
    assert len({tuple(c) for c in cells.tolist()}) == 16


def test_sobol_beyond_its_dimensions_and_unknown_kinds_are_one_sentence():
    with pytest.raises(SettingsError) as caught:
        path_noise("sobol", 2, (3, 96, 96), 0)
    assert_one_sentence(caught.value, "27648", "latin")
    with pytest.raises(SettingsError) as caught:
        path_noise("halton", 2, (2,), 0)
    assert_one_sentence(caught.value, "halton", "antithetic")
    with pytest.raises(SettingsError) as caught:
        PathSettings.parse(noise="halton")
    assert_one_sentence(caught.value, "'noise'", "latin")


# (field, y, t): the mismatch is (a z + b)^2 along each eigendirection of variance s, with
# a = t s / c, b = (1 - t)(m - y) / c and c = (1 - t)^2 + t^2 s.
LAWS = {
    "1-D": (line(0.2, 0.5), torch.tensor([1.7]), 0.4),
    "2-D": (
        GaussianField(torch.tensor([1.0, 0.0]), torch.tensor([[0.6, 0.8]]), torch.tensor([2.0]), 0.3),
        torch.tensor([0.0, 1.5]),
        0.6,
    ),
    "image": (random_gaussian((3, 16, 16), 5), random_gaussian((3, 16, 16), 5).mean.flip(1), 0.5),
}


def moments(field: GaussianField, y: torch.Tensor, t: float) -> tuple[float, float, float]:
    """Mean of the mismatch, and the variances ``2 tr A^4`` and ``4 |A b|^2`` of its even and odd parts in z."""
    u, d = field.components.double(), field.mean.numel()
    basis = torch.cat([u, torch.linalg.svd(u, full_matrices=True)[2][len(u) :]]) if len(u) else torch.eye(d).double()
    s = torch.cat([field.variances.double(), field.rest.double().expand(d - len(u))])
    c = (1 - t) ** 2 + t**2 * s
    a = t * s / c
    b = (1 - t) * (basis @ (field.mean - y).flatten().double()) / c
    return float((a**2 + b**2).sum()), float((2 * a**4).sum()), float((4 * a**2 * b**2).sum())


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("kind", NOISE_KINDS)
def test_the_mean_over_paths_is_unbiased_under_every_kind(kind, law):
    field, y, t = LAWS[law]
    found = estimates(field, y, t, kind=kind, count=4, repeats=300)
    expected = moments(field, y, t)[0]
    error = float(found.std()) / math.sqrt(len(found))
    assert abs(float(found.mean()) - expected) < 4 * error
    assert error < 0.05 * expected  # or the check above could not fail


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("count", [4, 5])
def test_variance_of_independent_and_antithetic_estimates_is_the_closed_form(law, count):
    field, y, t = LAWS[law]
    _, even, odd = moments(field, y, t)
    # Of an odd number of paths one has no partner; a pair's mean has the even part only, undiminished.
    expected = {
        "independent": (even + odd) / count,
        "antithetic": (4 * even * (count // 2) + (count % 2) * (even + odd)) / count**2,
    }
    repeats = 1500 if law != "image" else 500
    for kind, variance in expected.items():
        found = estimates(field, y, t, kind=kind, count=count, repeats=repeats)
        squares = (found - found.mean()).square()
        assert abs(float(squares.mean()) - variance) < 4 * float(squares.std()) / math.sqrt(repeats), kind


def pixel_variance(field, y, kind: str, *, count: int = 8, seeds: int = 40) -> float:
    """Variance over seeds of the mean-aggregated mismatch, averaged over pixels."""
    settings = (PathSettings(paths=count, times=1, noise_seed=seed, noise=kind) for seed in range(seeds))
    heat = HeatSettings(aggregator="mean", smoothing=0.0)
    maps = [Mismatch.collect(mismatch_steps(field, y, each)).heatmap(heat) for each in settings]
    return float(np.stack(maps).var(0, ddof=1).mean())


def test_gain_of_each_kind_on_pixels_that_depend_on_their_own_noise_alone():
    # An isotropic law and its own mean: D = sum over channels of (a z)^2, the worst case of antithetic pairs.
    field = GaussianField(torch.zeros(3, 16, 16), torch.zeros(0, 768), torch.zeros(0), 0.5)
    base = pixel_variance(field, field.mean, "independent")
    gain = {kind: base / pixel_variance(field, field.mean, kind) for kind in NOISE_KINDS[1:]}
    # One draw in each of 8 slices: what is left is the variance of z^2 within a slice, of 2 in all.
    u = (np.arange(80_000) + 0.5) / 80_000
    within = (norm.ppf(u) ** 2).reshape(8, -1).var(1).mean() / 2
    assert gain["antithetic"] == pytest.approx(0.5, rel=0.1)
    assert gain["orthogonal"] == pytest.approx(1.0, rel=0.1)
    assert gain["latin"] == pytest.approx(1 / within, rel=0.15)
    assert gain["sobol"] == pytest.approx(1 / within, rel=0.15)
    # Far from the mean the odd part rules, and pairs cancel it: (2 a^4 + 4 a^2 b^2) / 4 a^4, b = (1 - t) m / (t s) a.
    far = torch.full((3, 16, 16), 2.0)
    gain = pixel_variance(field, far, "independent") / pixel_variance(field, far, "antithetic")
    assert gain == pytest.approx(0.5 + (2.0 / 0.5) ** 2, rel=0.1)


def test_models_written_before_the_setting_existed_still_load(gaussian_model, tmp_path):
    save_model(tmp_path, gaussian_model)
    text = (tmp_path / "model.json").read_text()
    assert '"noise": "independent"' in text
    old = text.replace('"noise": "independent"', "").replace('"noise_seed": 0,\n', '"noise_seed": 0\n')
    assert '"noise":' not in old
    (tmp_path / "model.json").write_text(old)
    found = load_model(tmp_path).info
    assert found.paths == gaussian_model.info.paths and found.thresholds == gaussian_model.info.thresholds
    assert ModelInfo.model_validate_json(old).paths.noise == "independent"
