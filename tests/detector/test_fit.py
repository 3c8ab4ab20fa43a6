"""From pictures to a calibrated model: both kinds of field, both views, resuming, thresholds and refusals."""

from __future__ import annotations

import itertools
import os
import tempfile

import numpy as np
import pytest
import torch
from conftest import PIXELS, SIZE, assert_one_sentence, blob_pictures, draw_blob, last_model, write_blobs
from safetensors.torch import load_file

from fmcore.data.picture import Picture
from fmcore.detector.fit import fit
from fmcore.detector.settings import FitSettings
from fmcore.errors import DataError, ModelError, SettingsError
from fmcore.evaluation.metrics import auroc
from fmcore.fields.gaussian import fit_gaussian
from fmcore.fields.place_gaussian import PlaceGaussianField
from fmcore.mismatch import mismatch_steps
from fmcore.training import TrainSettings
from fmcore.training.checkpoint import FILE

UNET = {"field": "unet", "options": {"widths": (16, 32)}}
BLOBS = blob_pictures(range(12))
FLIPPED = [np.ascontiguousarray(picture[:, ::-1]) for picture in BLOBS]
ENCODER = {"encoder": "efficientnet-lite0", "view": {"resolution": 64, "places": 64}, "paths": {}}


def settings_of(steps: int = 4, **changes) -> FitSettings:
    training = TrainSettings.parse(steps=steps, batch=2)
    return FitSettings.parse(**{**PIXELS, **UNET, "training": training, **changes})


def run(pictures, folder=None, stop=None, **changes):
    """Records of a run, closed after the first one for which ``stop(record)`` holds."""
    records, steps = [], fit(pictures, settings_of(**changes), folder=folder)
    for record in steps:
        records.append(record)
        if stop is not None and stop(record):
            steps.close()
    return records


def assert_same_model(first, second):
    assert first.info.categories == second.info.categories
    for a, b in itertools.zip_longest((first.shared, *first.fields.values()), (second.shared, *second.fields.values())):
        if a is not None:
            assert all(torch.equal(v, b.state_dict()[k]) for k, v in a.state_dict().items())


@pytest.mark.parametrize("options", [{}, ENCODER], ids=["pixels", "encoder"])
def test_closed_forms_separate_defects_and_good_images(options):
    model = last_model({"blob": blob_pictures(range(16))}, **options)
    scores, labels = [], []
    for seed, defect in itertools.product(range(500, 508), (False, True)):
        scores.append(model.score(draw_blob(seed, defect=defect)[0]).score)
        labels.append(defect)
    assert auroc(np.array(scores), np.array(labels)) == 1.0


def test_a_closed_form_is_fitted_to_all_pictures_and_the_threshold_to_unseen_ones():
    model = last_model({"a": BLOBS}, false_alarm_rate=0.2)
    tensors = torch.stack([model.view()(Picture.of(picture)) for picture in BLOBS])
    expected = fit_gaussian(tensors).state_dict()
    assert all(torch.equal(v, expected[k]) for k, v in model.fields["a"].state_dict().items())
    threshold = model.threshold()
    assert threshold.held_out == 12
    # Of 12 held-out scores the 11th is the threshold; pictures that the field has seen score lower than that.
    assert threshold.value > sorted(model.score(picture).score for picture in BLOBS)[10]


def test_every_picture_of_a_closed_form_is_held_out_once(monkeypatch):
    scored = []

    def watched(field, tensor, paths):
        scored.append(float(tensor.sum()))
        return mismatch_steps(field, tensor, paths)

    monkeypatch.setattr("fmcore.detector.fit.mismatch_steps", watched)
    model = last_model({"a": BLOBS})
    assert sorted(scored) == sorted(float(model.view()(Picture.of(p)).sum()) for p in BLOBS)


@pytest.mark.parametrize("field", ["gaussian", "unet"])
def test_progress_ends_with_the_model(field):
    options = {} if field == "unet" else {"options": {}}
    records = run({"a": BLOBS, "b": FLIPPED}, field=field, **options)
    assert [r.model is not None for r in records] == [False] * (len(records) - 1) + [True]
    stages = set(r.stage for r in records)
    assert stages == {"reading", "field", "calibration", "finished"} | ({"training"} if field == "unet" else set())
    assert all(0 <= r.done <= r.total for r in records)
    assert sum(r.train is not None for r in records) == (4 if field == "unet" else 0)
    info = records[-1].model.info
    assert tuple(info.categories) == ("a", "b") and info.training["images"]["a"] == 12
    assert info.training["fit"]["seed"] == 0


@pytest.mark.parametrize("field", ["gaussian", "unet"])
def test_few_pictures_give_no_threshold_and_say_why_beforehand(field):
    records = run({"a": BLOBS}, field=field, **({} if field == "unet" else {"options": {}}))
    assert records[-1].model.threshold() is None
    assert_one_sentence(records[-1].model.note(), "too few", "5%")
    notes = [r.note for r in records if r.note]
    assert_one_sentence(notes[0], "12 good images will give no threshold")


@pytest.mark.parametrize("stage", ["field", "training", "calibration"])
def test_an_interrupted_run_continues_to_the_model_of_an_unbroken_one(tmp_path, stage):
    pictures = {"a": BLOBS, "b": FLIPPED}
    unbroken = run(pictures)[-1].model
    before = run(pictures, tmp_path, stop=lambda r: r.stage == stage and r.done >= (2 if stage == "training" else 0))
    assert before[-1].model is None
    after = run(pictures, tmp_path)
    trained = [r.done for r in after if r.stage == "training"]
    assert trained == {"field": [1, 2, 3, 4], "training": [3, 4], "calibration": []}[stage]
    assert_same_model(after[-1].model, unbroken)


def test_a_model_holds_the_average_of_the_weights(tmp_path):
    network = run({"a": BLOBS}, tmp_path)[-1].model.shared
    stored = load_file(tmp_path / FILE)
    average = {k: v for k, v in stored.items() if k.startswith("average.") and k.endswith("head.weight")}
    assert len(average) == 1 and torch.equal(network.core.head.weight, *average.values())


def test_one_seed_governs_a_fit_and_its_training():
    plans = [TrainSettings(steps=4, batch=2, seed=seed) for seed in (0, 5)]
    first, second = (run({"a": BLOBS}, seed=5, training=plan)[-1].model for plan in plans)
    assert_same_model(first, second)


def test_a_folder_of_another_run_is_refused(tmp_path):
    run({"a": BLOBS}, tmp_path, stop=lambda r: r.stage == "training")
    for pictures, changes in (
        ({"a": BLOBS}, {"seed": 1, "steps": 5}),
        ({"a": BLOBS}, {"steps": 5}),
        ({"a": BLOBS[:9]}, {}),
    ):
        with pytest.raises(ModelError) as caught:
            run(pictures, tmp_path, **changes)
        assert_one_sentence(caught.value, "other")


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("field", ["gaussian", "unet"])
def test_fewer_than_three_pictures_are_too_few(field, count):
    with pytest.raises(DataError) as caught:
        run({"a": BLOBS, "b": BLOBS[:count]}, field=field, **({} if field == "unet" else {"options": {}}))
    assert_one_sentence(caught.value, f"'b' has {count} readable image", "at least 3")


@pytest.mark.parametrize("count", [3, 5])
@pytest.mark.parametrize("options", [{}, ENCODER], ids=["pixels", "encoder"])
def test_the_smallest_sets_can_be_fitted(options, count):
    model = last_model({"a": BLOBS[:count]}, **options)
    assert model.score(BLOBS[9]).score > 0


def test_no_category_is_one_sentence():
    with pytest.raises(DataError) as caught:
        run({})
    assert_one_sentence(caught.value, "no category")


def test_unreadable_files_are_told_and_left_out(tmp_path):
    paths = write_blobs(tmp_path, range(8))
    paths[3].write_bytes(b"no image")
    records = list(fit({"a": paths}, FitSettings.parse(**PIXELS)))
    notes = [r.note for r in records if r.note.startswith("Skipped")]
    assert len(notes) == 1
    assert_one_sentence(notes[0], f"'{paths[3].name}'")
    assert records[-1].model.info.training["images"] == {"a": 7}


def test_pictures_wait_in_a_file_and_are_held_out_once_each(monkeypatch, tmp_path):
    """Each is scored by a field that has not seen it; those that cannot be read leave no gap."""
    paths = write_blobs(tmp_path, range(40))
    for path in paths[::13]:
        path.write_bytes(b"no image")
    fits, original = [], PlaceGaussianField.fit.__func__

    def watched(cls, tensors, **options):
        fits.append([tensor.sum().item() for tensor in tensors])
        return original(cls, tensors, **options)

    monkeypatch.setattr(PlaceGaussianField, "fit", classmethod(watched))
    model = last_model({"a": paths}, **ENCODER)
    every, *folds = fits
    view = model.view("a")
    assert every == [view(Picture.of(path)).sum().item() for path in paths if path not in paths[::13]]
    missing = [value for fold in folds for value in set(every) - set(fold)]
    assert sorted(missing) == sorted(every)
    assert model.threshold().held_out + len(model.info.categories["a"].unlike) == 36


def test_a_full_disk_is_one_sentence(monkeypatch):
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **options: open("/dev/full", "wb", buffering=0))
    with pytest.raises(DataError) as caught:
        run({"a": BLOBS})
    assert_one_sentence(caught.value, "no room for", "No space left", "TMPDIR")


def test_names_that_are_not_utf8_are_no_obstacle_to_a_training(tmp_path):
    paths = write_blobs(tmp_path, range(5))
    paths[0] = paths[0].rename(tmp_path / os.fsdecode(b"caf\xe9.png"))
    assert run({"a": paths}, tmp_path / "out", steps=1)[-1].model is not None


def test_one_odd_picture_among_the_good_ones_is_named(tmp_path):
    paths = write_blobs(tmp_path, range(24))
    paths.append(write_blobs(tmp_path / "odd", range(1), defect=True)[0].rename(tmp_path / "odd.png"))
    model = last_model({"a": paths})
    assert model.info.categories["a"].unlike == ("odd.png",)
    clean = last_model({"a": paths[:-1]})
    assert 0.3 * clean.threshold().value < model.threshold().value < 2 * clean.threshold().value


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"options": {"widths": ()}}, ("'widths'", "at least 1")),
        ({"options": {"width": (16,)}}, ("'width'", "did you mean 'widths'")),
        ({"field": "unett"}, ("'unett'", "did you mean 'unet'")),
        ({"view": {"size": 5}}, ("'size' = 5",)),
        ({"paths": {"paths": 99}}, ("'paths' = 99",)),
        ({"heat": {"aggregator": "most"}}, ("'aggregator'", "one of min")),
    ],
)
def test_settings_that_make_no_fit_are_refused_before_anything_is_read(changes, parts):
    with pytest.raises(SettingsError) as caught:
        next(fit({"a": ["nowhere.png"]}, settings_of(**changes)))
    assert all(part in str(caught.value) for part in parts), caught.value


def test_a_plain_network_and_gray_pictures():
    gray = [picture[..., 0] for picture in BLOBS]
    model = run({"a": gray}, options={"widths": (16, 32), "start": "none"})[-1].model
    assert len(model.shared.starts) == 0 and model.view().channels == 1 and model.device.type == "cpu"
    assert model.score(gray[0]).score > 0


def test_a_network_on_feature_maps_starts_from_the_closed_form():
    model = run({"a": BLOBS}, **ENCODER, steps=1)[-1].model
    assert isinstance(model.shared.starts[0], PlaceGaussianField) and model.info.paths.paths == 4
    assert model.score(BLOBS[0]).score > 0


def test_fitting_leaves_the_global_generator_alone():
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    run({"a": BLOBS})
    assert torch.equal(torch.rand(1), expected)


def test_a_set_is_colour_if_any_picture_is(tmp_path):
    gray = [np.repeat(draw_blob(seed)[0][..., :1], 3, axis=2) for seed in range(8)]
    assert last_model({"a": gray}).view().channels == 1
    assert last_model({"a": [*gray, draw_blob(9, size=SIZE)[0]]}).view().channels == 3
