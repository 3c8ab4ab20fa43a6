"""Model folders: exact round trips, small files, and one sentence for whatever is wrong with one."""

from __future__ import annotations

import json
import os
import shutil

import numpy as np
import pytest
import torch
from conftest import assert_one_sentence, blob_pictures, draw_blob, last_model
from PIL import Image
from safetensors.torch import load_file, save_file

from fmcore.data.picture import Picture
from fmcore.detector.model import FILE, current_versions, load_model, read_info
from fmcore.detector.score import judge, score_steps
from fmcore.errors import ModelError, SettingsError
from fmcore.mismatch import HeatSettings, Mismatch, PathSettings
from fmcore.training import TrainSettings

PICTURE = draw_blob(300, defect=True)[0]
BLOBS = blob_pictures(range(12))


@pytest.fixture(scope="module")
def unet_model():
    training = TrainSettings(steps=6, batch=2)
    return last_model({"a": BLOBS, "b": BLOBS[::-1]}, field="unet", options={"widths": (16, 32)}, training=training)


@pytest.fixture(scope="module")
def encoder_model():
    return last_model({"a": BLOBS}, encoder="efficientnet-lite0", view={"resolution": 64, "places": 64}, paths={})


@pytest.fixture
def folder(tmp_path, gaussian_model):
    gaussian_model.save(tmp_path / "model")
    return tmp_path / "model"


def edit_info(folder, change):
    info = json.loads((folder / FILE).read_text())
    change(info)
    (folder / FILE).write_text(json.dumps(info))


def edit_weights(folder, change):
    path = folder / "weights-00.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)


@pytest.mark.parametrize("kind", ["gaussian_model", "unet_model", "encoder_model"])
def test_round_trip_scores_to_the_last_bit(tmp_path, kind, request):
    model = request.getfixturevalue(kind)
    model.save(tmp_path)
    loaded = load_model(tmp_path)
    assert loaded.info.model_copy(update={"files": (), "versions": {}}) == model.info
    assert loaded.info.versions == current_versions()
    for category in model.categories:
        first, second = (m.score(PICTURE, category) for m in (model, loaded))
        assert first.score == second.score and first.score > 0
        np.testing.assert_array_equal(first.heatmap, second.heatmap)
        for name in ("times", "lower", "upper"):
            first, second = (getattr(m.normal_ranges[category], name) for m in (model, loaded))
            np.testing.assert_array_equal(first, second)


def test_categories_of_a_network_differ_after_loading(tmp_path, unet_model):
    unet_model.save(tmp_path)
    loaded = load_model(tmp_path)
    assert loaded.score(PICTURE, "a").score != loaded.score(PICTURE, "b").score


@pytest.mark.parametrize("kind", ["gaussian_model", "unet_model"])
def test_half_precision_is_half_the_size_and_close(tmp_path, kind, request):
    model = request.getfixturevalue(kind)
    category = model.categories[0]
    model.save(tmp_path / "full")
    model.save(tmp_path / "half", half=True)
    full, half = (sum(p.stat().st_size for p in (tmp_path / n).glob("*.safetensors")) for n in ("full", "half"))
    assert half < 0.65 * full
    loaded = load_model(tmp_path / "half")
    assert loaded.score(PICTURE, category).score == pytest.approx(model.score(PICTURE, category).score, rel=0.02)
    np.testing.assert_array_equal(loaded.normal_ranges[category].upper, model.normal_ranges[category].upper)


def test_result_has_the_size_of_the_picture_whatever_it_is_given_as(tmp_path, encoder_model):
    Image.fromarray(PICTURE).save(tmp_path / "a.png")
    for given in (PICTURE, Image.fromarray(PICTURE), tmp_path / "a.png", str(tmp_path / "a.png"), PICTURE / 255):
        result = encoder_model.score(given)
        assert result.heatmap.shape == PICTURE.shape[:2]
        assert result.score == pytest.approx(encoder_model.score(PICTURE).score, rel=0.03)


def test_category_is_checked(gaussian_model, unet_model):
    assert gaussian_model.category() == gaussian_model.category("blob") == "blob"
    assert unet_model.category("b") == "b"
    for model, name, parts in (
        (gaussian_model, "other", ("no category 'other'", "blob")),
        (unet_model, None, ("several categories", "a, b")),
        (unet_model, "c", ("no category 'c'", "a, b")),
    ):
        with pytest.raises(SettingsError) as caught:
            model.category(name)
        assert_one_sentence(caught.value, *parts)


def test_verdict_holds_only_for_the_settings_of_the_threshold(gaussian_model):
    result = gaussian_model.score(PICTURE)
    threshold = gaussian_model.threshold().value
    assert result.threshold == threshold and result.anomalous is (result.score > threshold) is True
    assert result.mask.shape == (32, 32) and result.mask.any() and not result.mask.all()
    good = gaussian_model.score(draw_blob(0)[0])
    assert good.anomalous is (good.score > threshold)
    mismatch = Mismatch.collect(score_steps(gaussian_model, Picture.of(PICTURE)))
    for changes in ({"heat": HeatSettings(aggregator="mean")}, {"paths": PathSettings(paths=3, times=3)}):
        other = judge(gaussian_model, mismatch, **changes)
        assert other.threshold is None and other.anomalous is None
        assert_one_sentence(other.note, "other settings")


def test_folder_that_is_no_finished_model(tmp_path):
    for name, reason in (("nowhere", "no model folder"), (".", "no finished model")):
        with pytest.raises(ModelError) as caught:
            load_model(tmp_path / name)
        assert_one_sentence(caught.value, reason)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"kind": "gaussian"}', "\x00\x01", '{"format": 3}', "\ud800"])
def test_damaged_json(folder, text):
    (folder / FILE).write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(ModelError) as caught:
        load_model(folder)
    assert_one_sentence(caught.value, FILE, "damaged or of another format")


@pytest.mark.parametrize(("found", "age"), [(1, "older"), (2, "older"), (4, "newer")])
def test_a_folder_of_another_format_is_refused_by_its_age(folder, found, age):
    edit_info(folder, lambda info: info.update(format=found))
    with pytest.raises(ModelError) as caught:
        load_model(folder)
    assert_one_sentence(caught.value, age, f"format {found}", "fit it again")


def test_missing_and_truncated_weights(folder):
    path = folder / "weights-00.safetensors"
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], whole[:4], b""):
        path.write_bytes(content)
        with pytest.raises(ModelError) as caught:
            load_model(folder)
        assert_one_sentence(caught.value, path.name, "damaged")
    path.unlink()
    with pytest.raises(ModelError, match="missing"):
        load_model(folder)


def test_an_encoder_of_other_weights_is_refused(tmp_path, encoder_model):
    encoder_model.save(tmp_path)
    edit_info(tmp_path, lambda info: info["categories"]["a"]["view"]["config"].update(digest="0" * 64))
    with pytest.raises(ModelError) as caught:
        load_model(tmp_path)
    assert_one_sentence(caught.value, "efficientnet-lite0", "other weights", "fit the model again")


@pytest.mark.parametrize(
    "change",
    [
        lambda info: info["categories"]["blob"]["field"].update(kind="gone"),
        lambda info: info["categories"]["blob"]["field"]["config"].update(components=999_999),
        lambda info: info["categories"]["blob"]["field"]["config"].update(height="tall"),
        lambda info: info["categories"]["blob"]["field"]["config"].pop("height"),
        lambda info: info["categories"]["blob"]["view"]["config"].update(extra=1),
        lambda info: info.update(files=[]),
        lambda info: info["categories"].update(other=info["categories"]["blob"]),
        lambda info: info["categories"]["blob"].update(field=None),
    ],
)
def test_json_that_does_not_fit_the_weights(folder, change):
    edit_info(folder, change)
    with pytest.raises(ModelError) as caught:
        load_model(folder)
    assert_one_sentence(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        lambda w: w.pop("field.0.rest"),
        lambda w: w.update({"field.0.extra": torch.zeros(2)}),
        lambda w: w.update({"field.0.mean": torch.zeros(3, 32, 16)}),
        lambda w: w.update({"field.0.components": w["field.0.components"][:, :-1].contiguous()}),
        lambda w: w.update({"field.0.variances": torch.ones(999)}),
    ],
)
def test_weights_of_the_wrong_shape(folder, change):
    edit_weights(folder, change)
    with pytest.raises(ModelError) as caught:
        load_model(folder)
    assert_one_sentence(caught.value, "do not fit")


@pytest.mark.parametrize("name", ["../stolen.safetensors", "{absolute}", "a/../../stolen.safetensors", "..", "."])
def test_weight_file_names_cannot_leave_the_folder(folder, tmp_path, name):
    shutil.move(folder / "weights-00.safetensors", tmp_path / "stolen.safetensors")
    edit_info(folder, lambda info: info.update(files=[name.format(absolute=tmp_path / "stolen.safetensors")]))
    with pytest.raises(ModelError):
        load_model(folder)


def test_an_interrupted_save_leaves_no_model(tmp_path, gaussian_model, monkeypatch):
    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr("fmcore.detector.model.save_atomically", fail)
    with pytest.raises(OSError):
        gaussian_model.save(tmp_path)
    with pytest.raises(ModelError, match="no finished model"):
        load_model(tmp_path)


def test_files_are_readable_by_others_and_nothing_else_is_left(folder):
    assert sorted(p.name for p in folder.iterdir()) == [FILE, "weights-00.safetensors"]
    umask = os.umask(0)
    os.umask(umask)
    assert {p.stat().st_mode & 0o777 for p in folder.iterdir()} == {0o666 & ~umask}


def test_a_smaller_model_leaves_no_weights_of_a_larger_one(folder, gaussian_model):
    for name in ("weights-07.safetensors", ".weights-00.safetensors.77", ".model.json.77"):  # or of a killed process
        (folder / name).write_bytes(b"old")
    gaussian_model.save(folder)
    assert sorted(p.name for p in folder.iterdir()) == sorted([FILE, *read_info(folder).files])
