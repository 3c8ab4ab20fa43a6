"""The Fisher term as a heat map, and its AUROC beside the mismatch's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import SIZE, assert_one_sentence, blob_tensors, dataset

from fmcore.data.folders import find_good_images, find_test_items, read_pictures
from fmcore.errors import DataError, SettingsError
from fmcore.evaluation.metrics import auroc
from fmcore.evaluation.studies import compare_fisher, fisher_maps, read_test_set
from fmcore.fields import EmpiricalField, GaussianField
from fmcore.fields.gaussian import fit_gaussian
from fmcore.mismatch import HeatSettings, Mismatch, PathSettings, image_score, mismatch_steps

PATHS = PathSettings(paths=3, times=4)
HEAT = HeatSettings(smoothing=1.0)


def pixels(picture) -> torch.Tensor:
    return picture.resized(SIZE, SIZE, 3)


@pytest.fixture(scope="module")
def p():
    return fit_gaussian(blob_tensors(range(12)))


@pytest.fixture(scope="module")
def test_set(category_folder):
    return read_test_set(find_test_items(category_folder), pixels, pixel_size=64)


def test_mismatch_is_bit_for_bit_that_of_scoring(p, test_set):
    both = fisher_maps(p, fit_gaussian(test_set.images), test_set.images[0], PATHS)
    alone = Mismatch.collect(mismatch_steps(p, test_set.images[0], PATHS))
    np.testing.assert_array_equal(both.mismatch.maps, alone.maps)
    assert both.fisher.maps.shape == (4, 3, SIZE, SIZE)


def test_fisher_part_is_zero_for_equal_fields_and_the_mismatch_for_the_field_of_the_image(p, test_set):
    image = test_set.images[0]
    same = fisher_maps(p, p, image, PATHS)
    assert not same.fisher.maps.any() and same.mismatch.maps.any()
    own = fisher_maps(p, EmpiricalField(image[None]), image, PATHS)
    np.testing.assert_allclose(own.fisher.maps, own.mismatch.maps, rtol=1e-3, atol=1e-4)


def test_record_carries_the_aurocs_of_both_maps(p, test_set):
    q = fit_gaussian(test_set.images)
    *early, last = compare_fisher(p, q, test_set, PATHS, HEAT)
    assert [r.done for r in (*early, last)] == list(range(1, 9)) and all(r.result is None for r in early)
    scores = [image_score(r.maps.fisher.heatmap(HEAT)) for r in (*early, last)]
    assert last.result["fisher"]["image_auroc"] == auroc(np.array(scores), test_set.defective)
    for kind in ("mismatch", "fisher"):
        assert last.result[kind]["image_auroc"] == 1 and last.result[kind]["pixel_auroc"] > 0.9
    # A q that knows nothing of the test images leaves no defect in the Fisher map.
    *_, blind = compare_fisher(p, p, test_set, PATHS, HEAT)
    assert blind.result["fisher"] == {"image_auroc": 0.5, "pixel_auroc": 0.5}
    assert blind.result["mismatch"] == last.result["mismatch"]


def test_undefined_aurocs_are_none(p, test_set, category_folder):
    good = [item for item in find_test_items(category_folder) if item.is_good]
    images = read_test_set(good, pixels, pixel_size=64)
    *_, last = compare_fisher(p, p, images, PATHS, HEAT)
    assert last.result["mismatch"] == {"image_auroc": None, "pixel_auroc": None}


def test_unreadable_files_are_left_out_and_named(category_folder, tmp_path):
    items = find_test_items(category_folder)
    (tmp_path / "bad.png").write_text("no image")
    broken = type(items[0])(tmp_path / "bad.png", "good", None)
    found = read_test_set([broken, *items], pixels)
    assert len(found.images) == len(found.masks) == len(items) and len(found.unreadable) == 1
    assert_one_sentence(found.unreadable[0], "bad.png")
    with pytest.raises(DataError) as caught:
        read_test_set([broken], pixels)
    assert_one_sentence(caught.value.args[0].split(" The first")[0], "None of the 1")


def test_the_views_own_way_of_enlarging_is_used(p, test_set):
    sizes = []

    def enlarge(values, *, height, width):
        sizes.append((*values.shape, height, width))
        return np.zeros((height, width))

    *_, last = compare_fisher(p, p, test_set, PATHS, HEAT, enlarge)
    assert set(sizes) == {(SIZE, SIZE, 64, 64)} and len(sizes) == 16
    assert last.result["mismatch"] == {"image_auroc": 1, "pixel_auroc": 0.5}


def test_the_exact_mean_over_noise_is_refused(p):
    with pytest.raises(SettingsError) as caught:
        fisher_maps(p, p, p.mean, PATHS.replace(paths=0))
    assert_one_sentence(caught.value, "at least 1")


def test_feature_maps_of_any_shape_have_both_maps():
    y = torch.randn(7, 5, 9, generator=torch.Generator().manual_seed(0))
    maps = fisher_maps(GaussianField.isotropic(y + 1, 0.5), GaussianField.isotropic(y, 0.5), y, PATHS)
    assert maps.mismatch.maps.shape == maps.fisher.maps.shape == (4, 3, 5, 9)
    for t, fisher in zip(maps.fisher.times, maps.fisher.maps, strict=True):
        # v_p - v_q = (1 - t) / c at every place and channel: the means differ by 1, the covariances do not.
        expected = 7 * ((1 - t) / ((1 - t) ** 2 + t**2 / 2)) ** 2
        np.testing.assert_allclose(fisher, expected, rtol=1e-3)


def test_on_real_bottles_both_maps_find_the_defects():
    root = dataset("mvtec/bottle")
    pictures = read_pictures(find_good_images(root).categories["bottle"])
    images = torch.stack([picture.resized(32, 32, 3) for picture in pictures])
    test = read_test_set(find_test_items(root), lambda picture: picture.resized(32, 32, 3), pixel_size=64)
    paths = PathSettings(paths=2, times=6)
    *_, last = compare_fisher(fit_gaussian(images), fit_gaussian(test.images), test, paths, HEAT)
    for kind in ("mismatch", "fisher"):
        assert last.result[kind]["image_auroc"] > 0.95 and last.result[kind]["pixel_auroc"] > 0.93
    assert torch.isfinite(test.images).all()
