"""Ablations: thinned records equal fresh ones, metrics are those of the scores, and bad data is said at once."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import assert_one_sentence, random_gaussian, write_blobs, write_category
from sklearn.metrics import roc_auc_score

from fmcore.data.folders import find_good_images
from fmcore.errors import DataError, SettingsError
from fmcore.evaluation.ablation import (
    Variant,
    ablate,
    ablate_resolution,
    coarser_times,
    find_labelled,
    load_labelled,
    record,
    thin,
)
from fmcore.mismatch.mismatch import HeatSettings, Mismatch, PathSettings, image_score, mismatch_steps

PATHS = PathSettings(paths=4, times=11)
HEATS = [HeatSettings(), HeatSettings(aggregator="mean", exponent=0.0, smoothing=0.0)]


def fresh(field, image, **changes) -> Mismatch:
    return Mismatch.collect(mismatch_steps(field, image, PATHS.replace(**changes)))


@pytest.fixture(scope="module")
def labelled(category_folder):
    return load_labelled(find_labelled(category_folder), size=32, channels=3)


@pytest.fixture(scope="module")
def recorded(labelled, gaussian_model):
    return [r.mismatch for r in record(gaussian_model.field(), labelled.images, PATHS)]


@pytest.mark.parametrize(("paths", "times"), [(1, 11), (3, 5), (4, 2), (2, 1), (None, 3), (2, None)])
def test_a_thinned_record_is_one_made_with_fewer_paths_and_times(paths, times):
    field, image = random_gaussian((3, 8, 8), 3), torch.zeros(3, 8, 8)
    found = thin(fresh(field, image), Variant(paths=paths, times=times))
    alone = fresh(field, image, paths=paths or 4, times=times or 11)
    np.testing.assert_allclose(found.times, alone.times, rtol=1e-12)
    np.testing.assert_allclose(found.maps, alone.maps, rtol=1e-4, atol=1e-5)


def test_grids_that_lie_on_another():
    assert coarser_times(23) == [1, 2, 3, 5, 7, 11, 23] and coarser_times(12) == [12]


def test_metrics_are_those_of_freshly_made_scores(labelled, recorded, gaussian_model):
    variants = [Variant(paths=k, times=t, heat=h) for k in (1, 4) for t in (2, 11) for h in HEATS]
    results = list(ablate(recorded, labelled, variants, paths=PATHS))
    assert [r.variant for r in results] == variants
    for result in results:
        v = result.variant
        maps = [fresh(gaussian_model.field(), y, paths=v.paths, times=v.times).heatmap(v.heat) for y in labelled.images]
        np.testing.assert_allclose(result.scores, [image_score(m) for m in maps], rtol=1e-3)
        assert result.image_auroc == pytest.approx(roc_auc_score(labelled.defective, result.scores))
        expected = roc_auc_score(labelled.masks.ravel(), np.stack(maps).ravel())
        assert result.pixel_auroc == pytest.approx(expected, abs=1e-4)


def test_what_the_record_does_not_hold_is_refused_before_any_is_scored(labelled, recorded):
    for variant, parts in (
        (Variant(paths=5), ("'paths' = 5", "4 recorded")),
        (Variant(times=4), ("'times' = 4", "1, 2, 3, 5, 11")),
    ):
        with pytest.raises(SettingsError) as caught:
            ablate(recorded, labelled, [Variant(), variant], paths=PATHS)
        assert_one_sentence(caught.value, *parts)
    with pytest.raises(SettingsError) as caught:
        ablate(recorded, labelled, [Variant(paths=2)], paths=PATHS.replace(noise="latin"))
    assert_one_sentence(caught.value, "'latin'")


def test_a_limit_keeps_both_classes_and_every_defect(tmp_path):
    root = write_category(tmp_path / "c")
    write_blobs(root / "test" / "other", range(4), defect=True)
    items = find_labelled(root, limit=2)
    assert [i.defect for i in items] == ["good", "good", "other", "square"]
    assert len(find_labelled(root)) == 12
    assert len(find_labelled(root, limit=100)) == 12


def test_defective_images_without_a_mask_do_not_count_for_pixels(tmp_path):
    root = write_category(tmp_path / "c")
    (root / "ground_truth" / "square" / "001_mask.png").unlink()
    (root / "ground_truth" / "square" / "002_mask.png").write_bytes(b"no image")
    (root / "test" / "good" / "000.png").write_bytes(b"")
    found = load_labelled(find_labelled(root), size=32, channels=3)
    assert (
        len(found.images) == 7
        and found.defective.sum() == 4
        and found.masked.tolist()
        == [True] * 4
        + [
            False,
            False,
            True,
        ]
    )
    assert [u.path.name for u in found.unreadable] == ["000.png", "002_mask.png"]
    assert not found.masks[:3].any() and found.masks[3].any()


def test_without_any_mask_pixel_metrics_are_undefined(labelled, recorded):
    unmarked = replace(labelled, masks=np.zeros_like(labelled.masks), masked=~labelled.defective)
    (result,) = ablate(recorded, unmarked, [Variant()], paths=PATHS)
    assert result.pixel_auroc is None and result.image_auroc is not None


def test_missing_folders_and_missing_classes_are_one_sentence(tmp_path):
    with pytest.raises(DataError) as caught:
        find_labelled(tmp_path / "nowhere")
    assert_one_sentence(caught.value, "nowhere")
    root = write_category(tmp_path / "c")
    for path in (root / "test" / "square").iterdir():
        path.unlink()
    with pytest.raises(DataError) as caught:
        find_labelled(root)
    assert_one_sentence(caught.value, "no defective test images", "test/<defect>")
    write_blobs(root / "test" / "square", range(1))
    for path in (root / "test" / "good").iterdir():
        path.unlink()
    with pytest.raises(DataError) as caught:
        find_labelled(root)
    assert_one_sentence(caught.value, "no good test images")


def test_files_that_cannot_be_read_may_leave_too_little(tmp_path):
    root = write_category(tmp_path / "c")
    for path in (root / "test" / "square").iterdir():
        path.write_bytes(b"")
    with pytest.raises(DataError) as caught:
        load_labelled(find_labelled(root), size=32, channels=3)
    assert_one_sentence(caught.value, "some defective")


def test_resolution_fits_a_field_at_each_size(category_folder):
    good = find_good_images(category_folder).categories["blob"]
    items = find_labelled(category_folder)
    paths, heat = PathSettings(paths=2, times=5), HeatSettings(smoothing=2.0)
    results = list(ablate_resolution(good, items, (16, 32), paths, heat))
    assert [(r.done, r.total, r.size) for r in results] == [(1, 2, 16), (2, 2, 32)]
    assert all(r.image_auroc == 1.0 and r.pixel_auroc > 0.9 and r.seconds_per_image > 0 for r in results)
    for sizes in ((), (8,), (32, 512)):
        with pytest.raises(SettingsError) as caught:
            ablate_resolution(good, items, sizes, paths, heat)
        assert_one_sentence(caught.value, "16 to 256")
