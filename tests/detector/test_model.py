"""Model folders: exact round trips, small files, and one sentence for whatever is wrong with one."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from conftest import PATHS, assert_one_sentence, draw_blob, last_model, random_gaussian
from safetensors.torch import load_file, save_file

from fmcore.data.picture import Picture
from fmcore.detector.model import FILE, Model, ModelInfo, current_versions, load_model, read_info, save_model
from fmcore.detector.score import judge, score_picture, score_steps
from fmcore.errors import ModelError, SettingsError
from fmcore.mismatch.mismatch import HeatSettings, Mismatch, PathSettings

PICTURE = Picture(draw_blob(300, defect=True)[0])


@pytest.fixture(scope="module")
def unet_model(blobs):
    paths = PATHS.replace(tiles=0.3)
    return last_model({"a": blobs, "b": blobs.flip(3)}, field="unet", steps=6, batch=2, widths=(16, 32), paths=paths)


@pytest.fixture
def folder(tmp_path, gaussian_model):
    save_model(tmp_path / "model", gaussian_model)
    return tmp_path / "model"


def edit_info(folder, **changes):
    info = json.loads((folder / FILE).read_text())
    (folder / FILE).write_text(json.dumps(info | changes))


def edit_weights(folder, change):
    path = folder / "weights-00.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)


@pytest.mark.parametrize("kind", ["gaussian", "unet"])
def test_round_trip_scores_to_the_last_bit(tmp_path, kind, gaussian_model, unet_model):
    model = gaussian_model if kind == "gaussian" else unet_model
    save_model(tmp_path, model)
    loaded = load_model(tmp_path)
    assert loaded.info.replace(files=(), versions={}) == model.info
    assert loaded.info.versions == current_versions()
    for category in model.info.categories:
        first, second = (score_picture(m, PICTURE, category) for m in (model, loaded))
        assert first.score == second.score and first.score > 0
        np.testing.assert_array_equal(first.heatmap, second.heatmap)
        for name in ("times", "lower", "upper"):
            first, second = (getattr(m.normal_ranges[category], name) for m in (model, loaded))
            np.testing.assert_array_equal(first, second)


def test_categories_of_a_network_differ_after_loading(tmp_path, unet_model):
    save_model(tmp_path, unet_model)
    loaded = load_model(tmp_path)
    assert score_picture(loaded, PICTURE, "a").score != score_picture(loaded, PICTURE, "b").score


@pytest.mark.parametrize("kind", ["gaussian", "unet"])
def test_half_precision_is_half_the_size_and_close(tmp_path, kind, gaussian_model, unet_model):
    model = gaussian_model if kind == "gaussian" else unet_model
    category = model.info.categories[0]
    save_model(tmp_path / "full", model)
    save_model(tmp_path / "half", model, half=True)
    full, half = (sum(p.stat().st_size for p in (tmp_path / n).glob("*.safetensors")) for n in ("full", "half"))
    assert half < 0.65 * full
    loaded = load_model(tmp_path / "half")
    assert all(v.dtype == torch.float32 for v in loaded.gaussians[0].state_dict().values())
    assert score_picture(loaded, PICTURE, category).score == pytest.approx(
        score_picture(model, PICTURE, category).score, rel=0.02
    )
    np.testing.assert_array_equal(loaded.normal_ranges[category].upper, model.normal_ranges[category].upper)


def test_shards_are_small_even_where_one_tensor_is_larger(tmp_path):
    field = random_gaussian((3, 160, 160), 36)  # components alone: 11 MB
    assert field.components.nbytes > 9_000_000
    model = Model(ModelInfo(kind="gaussian", size=160, channels=3, categories=("a",)), (field,), None, {})
    save_model(tmp_path, model)
    shards = sorted(tmp_path.glob("*.safetensors"))
    assert len(shards) >= 2 and all(p.stat().st_size <= 9 * 2**20 for p in shards)
    assert load_model(tmp_path).info.files == tuple(p.name for p in shards)
    for name, value in load_model(tmp_path).gaussians[0].state_dict().items():
        assert torch.equal(value, field.state_dict()[name])


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
    verdict = score_picture(gaussian_model, PICTURE)
    threshold = gaussian_model.info.thresholds["blob"].value
    assert verdict.threshold == threshold and verdict.anomalous is (verdict.score > threshold) is True
    good = score_picture(gaussian_model, Picture(draw_blob(0)[0]))
    assert good.anomalous is (good.score > threshold)
    mismatch = Mismatch.collect(score_steps(gaussian_model, PICTURE))
    for changes in ({"heat": HeatSettings(aggregator="mean")}, {"paths": PathSettings(paths=3, times=3)}):
        other = judge(gaussian_model, mismatch, **changes)
        assert other.threshold is None and other.anomalous is None
        assert_one_sentence(other.note, "other settings")


def test_folder_that_is_no_finished_model(tmp_path):
    for name, reason in (("nowhere", "no model folder"), (".", "no finished model")):
        with pytest.raises(ModelError) as caught:
            load_model(tmp_path / name)
        assert_one_sentence(caught.value, reason)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"kind": "gaussian"}', "\x00\x01", '{"format": 2}'])
def test_damaged_json(folder, text):
    (folder / FILE).write_text(text)
    with pytest.raises(ModelError) as caught:
        load_model(folder)
    assert_one_sentence(caught.value, FILE, "damaged or of another format")


def test_json_that_is_not_text(folder):
    (folder / FILE).write_bytes(b"\xff\xfe\x80")
    with pytest.raises(ModelError, match="damaged"):
        read_info(folder)


def test_missing_and_truncated_weights(folder):
    path = folder / "weights-00.safetensors"
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], whole[:4], b""):
        path.write_bytes(content)
        with pytest.raises(ModelError) as caught:
            load_model(folder)
        assert_one_sentence(caught.value, path.name, "missing or damaged")
    path.unlink()
    with pytest.raises(ModelError, match="missing or damaged"):
        load_model(folder)


@pytest.mark.parametrize(
    "changes",
    [
        {"size": 64},
        {"channels": 1},
        {"categories": ["a", "b"]},
        {"files": []},
        {"kind": "unet", "unet": {"size": 32, "widths": [16, 32]}},
        pytest.param(
            {"kind": "unet"},
        ),
    ],
)
def test_json_that_does_not_fit_the_weights(folder, changes):
    edit_info(folder, **changes)
    with pytest.raises(ModelError) as caught:
        load_model(folder)
    assert_one_sentence(caught.value, "do not fit")


@pytest.mark.parametrize(
    "change",
    [
        lambda w: w.pop("gaussian.0.rest"),
        lambda w: w.pop("range.0.upper"),
        lambda w: w.update({"gaussian.0.extra": torch.zeros(2)}),
        lambda w: w.update({"gaussian.0.mean": torch.zeros(3, 32, 16)}),
        lambda w: w.update({"gaussian.0.components": w["gaussian.0.components"][:, :-1].contiguous()}),
        pytest.param(
            lambda w: w.update({"gaussian.0.components": w["gaussian.0.components"].flatten()}),
        ),
        pytest.param(
            lambda w: w.update({"gaussian.0.variances": torch.ones(999)}),
        ),
    ],
)
def test_weights_of_the_wrong_shape(folder, change):
    edit_weights(folder, change)
    with pytest.raises(ModelError) as caught:
        load_model(folder)
    assert_one_sentence(caught.value, "do not fit")


@pytest.mark.parametrize(
    "change",
    [
        lambda w: w.pop("tile.1.8.rest"),
        lambda w: w.update({"tile.0.0.mean": torch.zeros(3, 32, 32)}),
        lambda w: w.update({"tile.0.3.variances": torch.ones(999)}),
    ],
)
def test_tiles_of_the_wrong_shape(tmp_path, unet_model, change):
    save_model(tmp_path, unet_model)
    edit_weights(tmp_path, change)
    with pytest.raises(ModelError) as caught:
        load_model(tmp_path)
    assert_one_sentence(caught.value, "do not fit")


def test_network_weights_of_the_wrong_shape(tmp_path, unet_model):
    save_model(tmp_path, unet_model)
    edit_info(tmp_path, unet=json.loads((tmp_path / FILE).read_text())["unet"] | {"widths": [16, 16]})
    with pytest.raises(ModelError, match="do not fit"):
        load_model(tmp_path)


@pytest.mark.parametrize("name", ["../stolen.safetensors", "{absolute}", "a/../../stolen.safetensors", "..", "."])
def test_weight_file_names_cannot_leave_the_folder(folder, tmp_path, name):
    shutil.move(folder / "weights-00.safetensors", tmp_path / "stolen.safetensors")
    edit_info(folder, files=[name.format(absolute=tmp_path / "stolen.safetensors")])
    with pytest.raises(ModelError, match="missing or damaged"):
        load_model(folder)


def test_interrupted_save_leaves_no_model(tmp_path, gaussian_model, monkeypatch):
    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr("fmcore.detector.model.save_atomically", fail)
    with pytest.raises(OSError):
        save_model(tmp_path, gaussian_model)
    with pytest.raises(ModelError, match="no finished model"):
        load_model(tmp_path)


def test_no_temporary_or_pickled_file_is_left(folder):
    assert sorted(p.name for p in folder.iterdir()) == [FILE, "weights-00.safetensors"]


def test_a_smaller_model_leaves_no_weights_of_a_larger_one(folder, gaussian_model):
    (folder / "weights-07.safetensors").write_bytes(b"old")
    save_model(folder, gaussian_model)
    assert sorted(p.name for p in folder.glob("weights-*")) == sorted(read_info(folder).files)


def test_model_without_a_source_is_one_of_white_noise(folder):
    """Models saved before there were others."""
    info = json.loads((folder / FILE).read_text())
    assert info.pop("source") == "white"
    (folder / FILE).write_text(json.dumps(info))
    assert load_model(folder).info.source == "white"
