"""The structural mismatch: against SSIM of scikit-image, and what it is meant to see."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from conftest import assert_one_sentence, blob_tensors, dataset, last_model, random_gaussian
from scipy.ndimage import gaussian_filter
from skimage.metrics import structural_similarity

from fmcore.data.folders import find_good_images, find_test_sets, load_images, split_loaded
from fmcore.decomposition.fisher_map import fisher_steps
from fmcore.errors import SettingsError
from fmcore.evaluation.baselines.methods import MethodSettings, Workshop
from fmcore.evaluation.evaluate import EvaluateSettings, evaluate
from fmcore.evaluation.metrics import auroc
from fmcore.fields.stationary import fit_stationary
from fmcore.mismatch.mismatch import HeatSettings, Mismatch, PathSettings, mismatch_steps
from fmcore.mismatch.noise import path_noise
from fmcore.mismatch.structure import CONSTANT, RADIUS, StructuralMismatch, local_mean
from fmcore.path import interior_times, interpolate


def pictures(count: int, shape=(3, 24, 20), seed: int = 0) -> torch.Tensor:
    return torch.rand(count, *shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


@pytest.mark.parametrize("t", [0.1, 0.5, 0.9])
def test_it_is_the_contrast_structure_part_of_ssim_in_units_of_velocity(t):
    image, other = pictures(2)
    found = StructuralMismatch(image)(((other - image) / (1 - t))[None], t)[0].numpy()
    expected = 0.0
    for a, b in zip(image.double().numpy(), other.double().numpy(), strict=True):
        options = {"data_range": 2, "gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
        _, both = structural_similarity(a, b, full=True, **options)
        mean_a, mean_b = (gaussian_filter(x, 1.5, truncate=3.5) for x in (a, b))
        c1 = (0.01 * 2) ** 2
        luminance = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
        expected = expected + (1 - both / luminance) / (1 - t) ** 2
    inner = (slice(RADIUS, -RADIUS),) * 2  # edges are reflected in another way
    np.testing.assert_allclose(found[inner], expected[inner], rtol=1e-3, atol=1e-3)


def test_the_window_is_a_normalised_gaussian():
    spot = torch.zeros(1, 1, 21, 21)
    spot[..., 10, 10] = 1
    found = local_mean(spot)[0, 0]
    assert found.sum() == pytest.approx(1, abs=1e-6)
    assert found[10, 10 + 3] / found[10, 10] == pytest.approx(math.exp(-0.5 * (3 / 1.5) ** 2), rel=1e-5)
    assert found[10, 10 + RADIUS] > 0 == found[10, 10 + RADIUS + 1]
    assert torch.equal(local_mean(spot.mT), local_mean(spot).mT)
    torch.testing.assert_close(local_mean(torch.ones(2, 3, 9, 7)), torch.ones(2, 3, 9, 7))


def test_what_has_no_structure_has_no_structural_mismatch():
    image = pictures(1)[0]
    structural = StructuralMismatch(image)
    assert structural(torch.zeros(2, *image.shape), 0.5).abs().max() == 0
    assert structural(torch.full((2, *image.shape), 0.3), 0.5).max() < 1e-3


def test_a_flat_change_of_colour_has_it_at_its_edges_only():
    image, gap = 0.1 * pictures(1)[0], torch.zeros(1, 3, 24, 20)
    gap[..., 10:] = 0.5
    found = StructuralMismatch(image)(gap, 0.5)[0]
    assert found[:, 9:11].min() > 0.1 and found[:, : 10 - RADIUS].max() == 0 and found[:, 10 + RADIUS :].max() < 1e-3


def test_the_same_gap_counts_more_on_a_plain_surface():
    gap = 0.1 * pictures(1, seed=1)
    plain, busy = torch.zeros(3, 24, 20), pictures(1)[0]
    assert StructuralMismatch(plain)(gap, 0.5).median() > 10 * StructuralMismatch(busy)(gap, 0.5).median()


@pytest.mark.parametrize("t", [0.2, 0.8])
def test_it_is_bounded_whatever_the_gap(t):
    image = pictures(1)[0]
    for scale in (1e-3, 1.0, 1e3):
        found = StructuralMismatch(image)(scale * pictures(4, seed=2), t)
        assert found.min() >= 0 and found.max() <= 2 * 3 / (1 - t) ** 2 * (1 + 1e-4)


def test_it_does_not_depend_on_contrast_where_there_is_enough():
    image, gap = pictures(1)[0], pictures(2, seed=3)
    once, more = StructuralMismatch(image)(gap, 0.5), StructuralMismatch(10 * image)(10 * gap, 0.5)
    torch.testing.assert_close(once, more, rtol=20 * CONSTANT, atol=0)


def test_gray_as_rgb_counts_three_times_as_the_squared_gap_does():
    gray, gap = pictures(1, (1, 16, 16))[0], pictures(2, (1, 16, 16), seed=4)
    once = StructuralMismatch(gray)(gap, 0.5)
    thrice = StructuralMismatch(gray.repeat(3, 1, 1))(gap.repeat(1, 3, 1, 1), 0.5)
    torch.testing.assert_close(thrice, 3 * once)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 1.0])
def test_the_mismatch_is_the_geometric_mean_with_that_share(share):
    field, image = random_gaussian((3, 12, 10), 3), pictures(1, (3, 12, 10))[0]
    steps = list(mismatch_steps(field, image, PathSettings(paths=5, times=3, structure=share), chunk=2))
    noise = path_noise("independent", 5, tuple(image.shape), 0)
    for step, t in zip(steps, interior_times(3), strict=True):
        gap = field(interpolate(noise, image, t), t) - (image - noise)
        expected = gap.square().sum(1) ** (1 - share) * StructuralMismatch(image)(gap, t) ** share
        np.testing.assert_allclose(step.paths, expected.numpy(), rtol=1e-3, atol=1e-5)


def test_a_patch_smoother_than_its_texture_is_found():
    generator = torch.Generator().manual_seed(5)
    noise = torch.randn(80, 1, 32, 32, generator=generator)
    texture = (noise + noise.roll(1, -1) + noise.roll(1, -2)).div(6).clamp(-1, 1)
    field, mask = fit_stationary(texture[:70]), np.zeros((32, 32), dtype=bool)
    mask[10:22, 10:22] = True
    found = {}
    for share in (0.0, 0.5, 0.8):
        maps = []
        for image in texture[70:]:
            smooth = image.clone()
            smooth[:, mask] *= 0.2
            record = mismatch_steps(field, smooth, PathSettings(paths=2, times=8, structure=share))
            maps.append(Mismatch.collect(record).heatmap(HeatSettings(smoothing=1.0)))
        found[share] = auroc(np.stack(maps), np.stack([mask] * 10))
    assert found[0.0] < 0.4 and found[0.0] + 0.1 < found[0.5] < found[0.8]


def test_the_benchmark_puts_it_on_any_field():
    good, held = blob_tensors(range(10)), blob_tensors(range(10, 12))
    shop = Workshop("blob", good, held, MethodSettings(paths=2, times=3))
    *_, plain = shop.build("mismatch:gaussian")
    *_, structural = shop.build("structural:gaussian")
    assert structural.field is plain.field and structural.default == plain.default
    record = Mismatch.collect(mismatch_steps(plain.field, held[0], PathSettings.recommended(paths=2, times=3)))
    expected = record.heatmap(HeatSettings(smoothing=0.0))
    np.testing.assert_array_equal(structural.maps(held[0])[structural.default], expected)
    assert not np.array_equal(plain.maps(held[0])[plain.default], expected)


def test_on_real_bottles_it_marks_what_the_squared_gap_misses():
    folder = dataset("mvtec/bottle")
    good = [path for found in find_good_images(folder).categories.values() for path in found]
    images, _ = split_loaded(list(load_images(good, size=64, channels=3)))
    model = last_model({"bottle": images}, field="gaussian", size=64, paths=PathSettings.recommended())
    (items,) = find_test_sets(folder).values()
    found = {}
    for share in (0.0, 0.5):
        options = EvaluateSettings(bootstrap=0, paths=model.info.paths.replace(structure=share))
        *_, last = evaluate(model, items, options)
        found[share] = last.result
    assert found[0.5]["image_auroc"] > 0.995 > found[0.0]["image_auroc"]
    assert found[0.5]["pixel_auroc"] > 0.97 > found[0.0]["pixel_auroc"]
    assert found[0.5]["aupro"] > 0.91 and found[0.0]["aupro"] < 0.89


def test_bad_input_is_refused_in_one_sentence():
    with pytest.raises(SettingsError) as error:
        next(mismatch_steps(random_gaussian((1, 5, 8), 2), torch.zeros(1, 5, 8), PathSettings(structure=0.5)))
    assert_one_sentence(error.value, "8 x 5", "structure = 0")
    field, image = random_gaussian((3, 8, 8), 2), torch.zeros(3, 8, 8)
    with pytest.raises(SettingsError) as error:
        next(fisher_steps(field, field, image, PathSettings(structure=0.5)))
    assert_one_sentence(error.value, "structure = 0")
    with pytest.raises(SettingsError) as error:
        PathSettings.parse(structure=-1.0)
    assert_one_sentence(error.value, "structure")
