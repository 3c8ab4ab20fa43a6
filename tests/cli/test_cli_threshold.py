"""`threshold`: what it shows, and the three ways to set it."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
from conftest import assert_one_sentence, blob_pictures, last_model, write_blobs, write_category
from PIL import Image

from fmcore.detector.model import load_model


def info_of(folder):
    return load_model(folder).info.categories["blob"]


def test_without_options_it_says_where_the_threshold_comes_from(call, model_folder):
    before = (model_folder / "model.json").read_bytes()
    value = info_of(model_folder).threshold.value
    code, out, err = call("threshold", model_folder)
    assert code == 0 and err == "" and (model_folder / "model.json").read_bytes() == before
    assert_one_sentence(out, f"blob: threshold {value:.6g}", "held out in the fit", "at most about 20%", "12 good")


def test_another_rate_uses_the_scores_that_the_fit_held_out(call, model_folder):
    before = info_of(model_folder)
    ranked = np.sort(before.scores)
    assert len(ranked) == 12 == before.threshold.held_out and before.threshold.value == ranked[10]
    code, out, _ = call("threshold", model_folder, "--false-alarm-rate", 0.4)
    after = info_of(model_folder)
    # The ceil(13 * 0.6) = 8th smallest of twelve.
    assert code == 0 and after.threshold.value == ranked[7] and after.threshold.false_alarm_rate == 0.4
    assert f"threshold {ranked[7]:.6g}" in out and after.scores == before.scores
    assert call("threshold", model_folder, "--false-alarm-rate", 0.2)[0] == 0
    assert info_of(model_folder) == before


def test_a_value_is_taken_and_its_rate_read_off_the_held_out_scores(call, model_folder, category_folder, tmp_path):
    ranked = np.sort(info_of(model_folder).scores)
    value = float(ranked[9:11].mean())  # two of twelve are above it
    code, out, _ = call("threshold", model_folder, "--value", repr(value))
    found = info_of(model_folder).threshold
    assert code == 0 and found.value == value and found.false_alarm_rate == pytest.approx(3 / 13)
    assert_one_sentence(out, "set by hand", "23.1%")
    model, image = load_model(model_folder), category_folder / "train" / "good" / "000.png"
    result = model.score(image)
    assert result.threshold == value and result.anomalous == (result.score > value)
    assert sorted(p.name for p in model_folder.iterdir()) == ["model.json", "weights-00.safetensors"]


def test_after_a_value_other_good_images_are_judged_by_the_rate_of_a_fit(call, model_folder, tmp_path):
    write_blobs(tmp_path / "fresh", range(700, 720))
    assert call("threshold", model_folder, "--value", 3)[0] == 0
    code, _, err = call("threshold", model_folder, "--from", tmp_path / "fresh")
    found = info_of(model_folder)
    assert code == 0 and found.threshold.false_alarm_rate == 0.05 and found.unlike == (), err


def test_other_good_images_give_a_threshold_and_outliers_do_not_count(call, model_folder, tmp_path):
    paths = write_blobs(tmp_path / "fresh", range(700, 712))
    write_blobs(tmp_path / "odd", range(1), defect=True)[0].rename(tmp_path / "fresh" / "zz.png")
    (tmp_path / "fresh" / "broken.png").write_bytes(b"x")
    code, out, err = call("threshold", model_folder, "--from", tmp_path / "fresh", "--false-alarm-rate", 0.25)
    model = load_model(model_folder)
    scores = np.sort([model.score(path).score for path in paths])
    threshold = model.threshold()
    # The ceil(13 * 0.75) = 10th smallest of the twelve; the defective one would have made it the 11th of 13.
    assert code == 1 and threshold.value == scores[9] and threshold.held_out == 12
    assert "Skipped: 'broken.png'" in err and "Unlike the other good images" in err and "'zz.png'" in err
    assert_one_sentence(out, f"from the good images in '{tmp_path / 'fresh'}'", "25%")
    assert len(info_of(model_folder).scores) == 12  # those of the fit, from which a rate can be set again


def test_a_folder_whose_name_is_not_utf8_leaves_a_model_that_can_be_read(call, model_folder, tmp_path):
    folder = tmp_path / os.fsdecode(b"g\xe9ood")
    write_blobs(folder, range(700, 712))
    assert call("threshold", model_folder, "--from", folder)[0] == 0
    assert "g\\xe9ood" in info_of(model_folder).threshold.origin


def test_without_a_rate_other_images_keep_that_of_the_model(call, model_folder, tmp_path):
    write_blobs(tmp_path / "fresh", range(700, 712))
    assert call("threshold", model_folder, "--from", tmp_path / "fresh")[0] == 0
    assert info_of(model_folder).threshold.false_alarm_rate == 0.2


def test_several_categories_share_a_rate_but_not_a_value(call, tmp_path):
    pictures = {"a": blob_pictures(range(12)), "b": blob_pictures(range(12, 24))}
    last_model(pictures, false_alarm_rate=0.2).save(tmp_path / "model")
    code, out, _ = call("threshold", tmp_path / "model", "--false-alarm-rate", 0.3)
    assert code == 0 and [line.split(":")[0] for line in out.splitlines()] == ["a", "b"]
    assert {load_model(tmp_path / "model").threshold(name).false_alarm_rate for name in "ab"} == {0.3}
    code, _, err = call("threshold", tmp_path / "model", "--value", 3)
    assert code == 2
    assert_one_sentence(err, "several categories", "a, b")
    assert call("threshold", tmp_path / "model", "--value", 3, "--category", "b")[0] == 0
    assert [load_model(tmp_path / "model").threshold(name).value == 3 for name in "ab"] == [False, True]
    write_category(tmp_path / "data" / "a"), write_category(tmp_path / "data" / "c")
    assert call("threshold", tmp_path / "model", "--from", tmp_path / "data", "--category", "a")[0] == 0
    code, _, err = call("threshold", tmp_path / "model", "--from", tmp_path / "data", "--category", "b")
    assert code == 2
    assert_one_sentence(err, "several categories", "'b'")


def test_a_model_without_held_out_scores_says_what_to_do(call, model_folder):
    stored = json.loads((model_folder / "model.json").read_text())
    del stored["categories"]["blob"]["scores"], stored["categories"]["blob"]["threshold"]["origin"]
    (model_folder / "model.json").write_text(json.dumps(stored))
    assert "held out in the fit" in call("threshold", model_folder)[1]
    code, _, err = call("threshold", model_folder, "--false-alarm-rate", 0.3)
    assert code == 2
    assert_one_sentence(err, "--from", "fit it again")
    assert call("threshold", model_folder, "--value", "nan")[0] == 2
    code, out, _ = call("threshold", model_folder, "--value", 3)
    assert code == 0 and out == "blob: threshold 3, set by hand.\n"


def test_a_fit_tells_which_images_did_not_count_and_keeps_their_scores_out(call, tmp_path):
    write_blobs(tmp_path / "parts", range(12))
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (32, 32, 3), np.uint8)).save(
        tmp_path / "parts" / "zz.png"
    )
    quick = ("--encoder", "none", "--size", 32, "--paths", 2, "--times", 3, "--false-alarm-rate", 0.2)
    code, _, err = call("fit", tmp_path / "parts", "--out", tmp_path / "model", *quick)
    info = load_model(tmp_path / "model").info.categories["parts"]
    assert code == 0 and "'zz.png'" in err and "zz.png" in info.unlike
    assert len(info.scores) == info.threshold.held_out == 13 - len(info.unlike)
