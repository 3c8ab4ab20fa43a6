"""Evaluation of a tiny MVTec layout against scikit-learn, and of real images."""

from __future__ import annotations

import dataclasses
import json
import time

import numpy as np
import pytest
from conftest import PATHS, assert_one_sentence, dataset, last_model, write_category
from sklearn.metrics import average_precision_score, roc_auc_score
from test_aupro import aupro

from fmcore.data.folders import find_good_images, find_test_items
from fmcore.data.picture import read_mask, read_picture, resize_map
from fmcore.detector.score import judge, score_steps
from fmcore.errors import DataError, ModelError, SettingsError
from fmcore.evaluation.evaluate import EvaluateSettings, evaluate, mean_of, test_categories
from fmcore.evaluation.metrics import NAMES
from fmcore.mismatch import HeatSettings, Mismatch

test_categories.__test__ = False  # a function of the package, not a test


def result_of(model, items, **settings) -> dict:
    *_, record = evaluate(model, items, EvaluateSettings.parse(**{"pixel_size": 32, **settings}))
    return record.result


def test_figures_equal_those_of_scikit_learn(gaussian_model, category_folder):
    items = find_test_items(category_folder)
    result = result_of(gaussian_model, items, pixel_size=48)
    records = [Mismatch.collect(score_steps(gaussian_model, read_picture(i.path))) for i in items]
    verdicts = [judge(gaussian_model, record) for record in records]
    truth = np.array([not i.is_good for i in items])
    scores = np.array([v.score for v in verdicts])
    empty = np.zeros((48, 48), bool)
    masks = [read_mask(i.mask, height=48, width=48) if i.mask else empty for i in items]
    maps = [resize_map(v.heatmap, height=48, width=48) for v in verdicts]
    assert result["image_auroc"] == pytest.approx(roc_auc_score(truth, scores), abs=1e-6)
    assert result["pixel_auroc"] == pytest.approx(roc_auc_score(np.ravel(masks), np.ravel(maps)), abs=2e-4)
    assert result["image_ap"] == pytest.approx(average_precision_score(truth, scores), abs=1e-6)
    expected = average_precision_score(np.ravel(masks), np.ravel(maps))
    assert result["pixel_ap"] == pytest.approx(expected, abs=1e-3)
    assert result["aupro"] == pytest.approx(aupro(maps, masks), abs=2e-4)
    assert result["images"] == [
        {"file": str(item.path), "kind": item.defect, "defective": bool(bad), "score": score}
        for item, bad, score in zip(items, truth, scores, strict=True)
    ]
    assert 0.9 < result["pixel_auroc"] < 1
    assert (result["n_good"], result["n_defective"], result["n_masks"]) == (4, 4, 4)
    limit = gaussian_model.threshold("blob").value
    assert result["threshold"]["value"] == limit
    assert result["false_alarms"] == (scores[~truth] > limit).sum()
    assert result["misses"] == (scores[truth] <= limit).sum()
    assert 0 < result["seconds_per_image"] < 5
    assert result["unreadable"] == []
    assert result["settings"]["paths"] == PATHS.model_dump() and result["settings"]["pixel_size"] == 48


def test_intervals_come_with_every_figure_and_repeat_with_the_seed(gaussian_model, category_folder):
    items = find_test_items(category_folder)
    result = result_of(gaussian_model, items, bootstrap=100)
    assert set(result["intervals"]) == set(NAMES)
    for name in NAMES:
        low, high = result["intervals"][name]
        assert 0 <= low <= result[name] + 1e-3 and result[name] - 1e-3 <= high <= 1 + 1e-9
    assert result_of(gaussian_model, items, bootstrap=100)["intervals"] == result["intervals"]
    assert result_of(gaussian_model, items, bootstrap=100, seed=1)["intervals"] != result["intervals"]
    without = result_of(gaussian_model, items, bootstrap=0)
    assert set(without["intervals"].values()) == {None} and without["pixel_ap"] == result["pixel_ap"]
    assert result["settings"]["bootstrap"] == 100
    json.dumps(result, allow_nan=False)


def test_a_model_of_numbers_that_are_not_finite_is_named_as_such(gaussian_model, category_folder, monkeypatch):
    monkeypatch.setattr(Mismatch, "heatmap", lambda *_: np.full((32, 32), np.nan))
    with pytest.raises(ModelError) as caught:
        result_of(gaussian_model, find_test_items(category_folder))
    assert_one_sentence(caught.value, "'000.png'", "not finite")


def test_progress_counts_every_item_and_ends_with_the_result(gaussian_model, category_folder):
    items = find_test_items(category_folder)
    records = list(evaluate(gaussian_model, items, EvaluateSettings(pixel_size=32)))
    assert [r.done for r in records] == [*range(1, 9), 8] and {r.total for r in records} == {8}
    assert [r.result is not None for r in records] == [False] * 8 + [True]


def test_unreadable_images_are_listed_and_left_out(gaussian_model, tmp_path):
    root = write_category(tmp_path / "blob")
    broken = root / "test" / "square" / "002.png"
    broken.write_bytes(b"no image")
    result = result_of(gaussian_model, find_test_items(root))
    assert (result["n_good"], result["n_defective"], result["n_masks"]) == (4, 3, 3)
    assert [item["file"] for item in result["unreadable"]] == [str(broken)]
    assert_one_sentence(result["unreadable"][0]["reason"], "'002.png'")


def test_image_without_a_mask_counts_only_for_the_image_figure(gaussian_model, tmp_path):
    root = write_category(tmp_path / "blob")
    whole = result_of(gaussian_model, find_test_items(root))
    items = [dataclasses.replace(i, mask=None) if i.path.stem == "000" else i for i in find_test_items(root)]
    result = result_of(gaussian_model, items)
    assert result["n_masks"] == 3 and result["n_defective"] == 4
    assert result["image_auroc"] == whole["image_auroc"] and result["pixel_auroc"] != whole["pixel_auroc"]
    kept = [i for i in find_test_items(root) if i.is_good or i.path.stem != "000"]
    assert result["pixel_auroc"] == result_of(gaussian_model, kept)["pixel_auroc"]


def test_undefined_figures_are_none(gaussian_model, category_folder):
    items = find_test_items(category_folder)
    unmasked = [dataclasses.replace(i, mask=None) for i in items]
    result = result_of(gaussian_model, unmasked)
    assert {result[name] for name in NAMES[3:]} == {result["intervals"][name] for name in NAMES[3:]} == {None}
    assert None not in {result[name] for name in NAMES[:3]}
    for good in (True, False):
        result = result_of(gaussian_model, [i for i in items if i.is_good is good])
        assert result["image_auroc"] is None


def test_threshold_does_not_apply_to_other_settings(gaussian_model, category_folder):
    items = find_test_items(category_folder)
    result = result_of(gaussian_model, items, heat=HeatSettings(aggregator="mean"))
    assert result["threshold"] is result["false_alarms"] is result["misses"] is None
    assert result["settings"]["heat"]["aggregator"] == "mean"


def test_nothing_readable_and_unknown_category(gaussian_model, tmp_path):
    root = write_category(tmp_path / "blob")
    items = find_test_items(root)
    with pytest.raises(SettingsError, match="no category 'other'"):
        result_of(gaussian_model, items, category="other")
    for item in items:
        item.path.write_bytes(b"x")
    with pytest.raises(DataError) as caught:
        result_of(gaussian_model, items)
    assert_one_sentence(caught.value, "None of the 8 test images")


def test_test_sets_are_matched_to_the_categories_of_a_model(category_folder, tmp_path):
    for number, name in enumerate(("a", "b", "z")):
        write_category(tmp_path / name, first_seed=number)
    good = sorted((category_folder / "train" / "good").iterdir())
    both, one = last_model({"a": good, "b": good}), last_model({"other": good})
    assert {k: len(v) for k, v in test_categories(tmp_path, both).items()} == {"a": 8, "b": 8}
    assert list(test_categories(tmp_path, both, "b")) == list(test_categories(tmp_path / "b", both)) == ["b"]
    assert list(test_categories(tmp_path / "z", both, "a")) == ["a"]
    assert list(test_categories(tmp_path / "z", one)) == ["other"]
    with pytest.raises(SettingsError, match="several categories"):
        test_categories(tmp_path / "z", both)
    with pytest.raises(DataError, match="named as a category of this model"):
        test_categories(tmp_path, one)
    with pytest.raises(DataError, match="none is named 'other'"):
        test_categories(tmp_path, last_model({"a": good, "other": good}), "other")


def test_mean_of_categories():
    def result(auroc, pixel):
        return {"image_auroc": auroc, "pixel_auroc": pixel, "seconds_per_image": 0.1, "n_good": 2, "n_defective": 3}

    mean = mean_of({"a": result(0.8, 0.9), "b": result(1.0, None)})
    assert set(NAMES) <= set(mean) and mean["intervals"] == dict.fromkeys(NAMES)
    assert mean["image_auroc"] == pytest.approx(0.9) and mean["pixel_auroc"] is None
    assert (mean["n_good"], mean["n_defective"]) == (4, 6) and set(mean["categories"]) == {"a", "b"}


def test_real_bottles_are_told_apart_within_seconds():
    root = dataset("mvtec/bottle")
    started = time.process_time()
    paths = {"paths": 4, "times": 12}
    good, items = find_good_images(root).categories["bottle"][::2], find_test_items(root)[::3]
    model = last_model({"bottle": good}, view={"size": 64}, paths=paths)
    assert time.process_time() - started <= 60
    result = result_of(model, items, pixel_size=64, heat=HeatSettings(), bootstrap=0)
    assert (result["n_good"], result["n_defective"], result["n_masks"]) == (7, 21, 21)
    assert result["image_auroc"] >= 0.97
    assert result["pixel_auroc"] >= 0.8 and result["aupro"] >= 0.7
