"""The Fisher term as a heat map, and its AUROC beside the mismatch's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import SIZE, assert_one_sentence, blob_tensors, dataset

from fmcore.data.folders import find_good_images, find_test_items, load_images, split_loaded
from fmcore.decomposition.fisher_map import FisherMaps, FisherSettings, compare_fisher, fisher_steps, read_test_set
from fmcore.errors import DataError, SettingsError
from fmcore.evaluation.metrics import auroc
from fmcore.fields import EmpiricalField
from fmcore.fields.gaussian import fit_gaussian
from fmcore.fields.source import SourceField
from fmcore.mismatch.mismatch import HeatSettings, Mismatch, PathSettings, image_score, mismatch_steps

PATHS = PathSettings(paths=3, times=4)
SETTINGS = FisherSettings(paths=PATHS, pixel_size=64, heat=HeatSettings(smoothing=1.0))


@pytest.fixture(scope="module")
def p():
    return fit_gaussian(blob_tensors(range(12)))


@pytest.fixture(scope="module")
def test_set(category_folder):
    return read_test_set(find_test_items(category_folder), size=SIZE, channels=3, pixel_size=64)


def test_mismatch_is_bit_for_bit_that_of_scoring(p, test_set):
    both = FisherMaps.collect(fisher_steps(p, fit_gaussian(test_set.images), test_set.images[0], PATHS))
    alone = Mismatch.collect(mismatch_steps(p, test_set.images[0], PATHS))
    np.testing.assert_array_equal(both.mismatch.maps, alone.maps)
    assert both.fisher.maps.shape == (4, 3, SIZE, SIZE)


def test_fisher_part_is_zero_for_equal_fields_and_the_mismatch_for_the_field_of_the_image(p, test_set):
    image = test_set.images[0]
    same = FisherMaps.collect(fisher_steps(p, p, image, PATHS))
    assert not same.fisher.maps.any() and same.mismatch.maps.any()
    own = FisherMaps.collect(fisher_steps(p, EmpiricalField(image[None]), image, PATHS))
    np.testing.assert_allclose(own.fisher.maps, own.mismatch.maps, rtol=1e-3, atol=1e-4)


def test_record_carries_the_aurocs_of_both_maps(p, test_set):
    q = fit_gaussian(test_set.images)
    *early, last = compare_fisher(p, q, test_set, SETTINGS)
    assert [r.done for r in (*early, last)] == list(range(1, 9)) and all(r.result is None for r in early)
    scores = [image_score(r.maps.fisher.heatmap(SETTINGS.heat)) for r in (*early, last)]
    assert last.result["fisher"]["image_auroc"] == auroc(np.array(scores), test_set.defective)
    for kind in ("mismatch", "fisher"):
        assert last.result[kind]["image_auroc"] == 1 and last.result[kind]["pixel_auroc"] > 0.9
    # A q that knows nothing of the test images leaves no defect in the Fisher map.
    *_, blind = compare_fisher(p, p, test_set, SETTINGS)
    assert blind.result["fisher"] == {"image_auroc": 0.5, "pixel_auroc": 0.5}
    assert blind.result["mismatch"] == last.result["mismatch"]


def test_undefined_aurocs_are_none(p, test_set, category_folder):
    good = [item for item in find_test_items(category_folder) if item.is_good]
    images = read_test_set(good, size=SIZE, channels=3, pixel_size=64)
    *_, last = compare_fisher(p, p, images, SETTINGS)
    assert last.result["mismatch"] == {"image_auroc": None, "pixel_auroc": None}


def test_unreadable_files_are_left_out_and_named(category_folder, tmp_path):
    items = find_test_items(category_folder)
    (tmp_path / "bad.png").write_text("no image")
    broken = type(items[0])(tmp_path / "bad.png", "good", None)
    found = read_test_set([broken, *items], size=SIZE, channels=3)
    assert len(found.images) == len(found.masks) == len(items) and len(found.unreadable) == 1
    assert_one_sentence(found.unreadable[0], "bad.png")
    with pytest.raises(DataError) as caught:
        read_test_set([broken], size=SIZE, channels=3)
    assert_one_sentence(caught.value.args[0].split(" The first")[0], "None of the 1")


def test_masks_of_another_size_are_refused(p, test_set):
    with pytest.raises(DataError) as caught:
        next(compare_fisher(p, p, test_set, SETTINGS.replace(pixel_size=128)))
    assert_one_sentence(caught.value, "pixel_size")


def test_on_real_bottles_both_maps_find_the_defects():
    root = dataset("mvtec/bottle")
    images, _ = split_loaded(list(load_images(find_good_images(root).categories["bottle"], size=32, channels=3)))
    test = read_test_set(find_test_items(root), size=32, channels=3, pixel_size=64)
    settings = SETTINGS.replace(paths=PathSettings(paths=2, times=6))
    *_, last = compare_fisher(fit_gaussian(images), fit_gaussian(test.images), test, settings)
    for kind in ("mismatch", "fisher"):
        assert last.result[kind]["image_auroc"] > 0.95 and last.result[kind]["pixel_auroc"] > 0.93
    assert torch.isfinite(test.images).all()


def test_fields_of_unlike_sources_share_no_paths():
    field = fit_gaussian(blob_tensors(range(6)))
    other, image = SourceField(field, "natural"), blob_tensors(range(1))[0]
    steps = fisher_steps(field, other, image, PathSettings(paths=1, times=1))
    with pytest.raises(SettingsError, match="same source"):
        next(steps)
