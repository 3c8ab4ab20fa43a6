"""From images to a calibrated model: both kinds of field, resuming, thresholds and refusals."""

from __future__ import annotations

import json

import pytest
import torch
from conftest import PATHS, SIZE, assert_one_sentence, blob_tensors, draw_blob, last_model
from safetensors.torch import load_file

from fmcore.data.picture import Picture
from fmcore.detector.fit import fit
from fmcore.detector.score import score_picture
from fmcore.detector.settings import FitSettings
from fmcore.errors import DataError, ModelError, SettingsError
from fmcore.evaluation.metrics import auroc
from fmcore.fields.gaussian import fit_gaussian
from fmcore.fields.source import source_of
from fmcore.mismatch.mismatch import Mismatch, image_score, mismatch_steps
from fmcore.training.checkpoint import FILE
from fmcore.training.loop import train
from fmcore.training.run_plan import RUN_FILE

UNET = {"field": "unet", "steps": 4, "batch": 2, "widths": (16, 32)}


def settings_of(**changes) -> FitSettings:
    return FitSettings.parse(**{"size": SIZE, "paths": PATHS, **UNET, **changes})


def run(images, folder=None, stop=None, **changes):
    """Records of a run, closed after the first one for which ``stop(record)`` holds."""
    records, steps = [], fit(images, settings_of(**changes), folder=folder)
    for record in steps:
        records.append(record)
        if stop is not None and stop(record):
            steps.close()
    return records


def assert_same_model(first, second):
    assert first.info.thresholds == second.info.thresholds
    for a, b in zip(first.gaussians, second.gaussians, strict=True):
        assert all(torch.equal(v, b.state_dict()[k]) for k, v in a.state_dict().items())
    weights = second.network.core.state_dict()
    assert [k for k, v in first.network.core.state_dict().items() if not torch.equal(v, weights[k])] == []


def test_gaussian_model_separates_defects_and_good_images(gaussian_model):
    scores, labels = [], []
    for seed in range(500, 508):
        for defect in (False, True):
            scores.append(score_picture(gaussian_model, Picture(draw_blob(seed, defect=defect)[0])).score)
            labels.append(defect)
    assert auroc(torch.tensor(scores).numpy(), torch.tensor(labels).numpy()) == 1.0


def test_gaussian_field_is_fitted_to_all_images_and_the_threshold_to_unseen_ones(blobs):
    model = last_model({"a": blobs}, field="gaussian", false_alarm_rate=0.2)
    expected = fit_gaussian(blobs).state_dict()
    assert all(torch.equal(v, expected[k]) for k, v in model.gaussians[0].state_dict().items())
    threshold = model.info.thresholds["a"]
    assert threshold.held_out == 12
    seen = []
    for image in blobs:
        heat = Mismatch.collect(mismatch_steps(model.gaussians[0], image, PATHS)).heatmap(model.info.heat)
        seen.append(image_score(heat))
    # Of 12 held-out scores the 11th is the threshold; images the field has seen score lower than that.
    assert threshold.value > sorted(seen)[10]


def test_every_image_of_a_gaussian_fit_is_held_out_once(blobs, monkeypatch):
    scored = []
    monkeypatch.setattr(
        "fmcore.detector.fit.mismatch_steps",
        lambda f, y, s, **more: scored.append(y) or mismatch_steps(f, y, s, **more),
    )
    last_model({"a": blobs}, field="gaussian")
    assert sorted(float(i.sum()) for i in scored) == sorted(float(i.sum()) for i in blobs)


def test_calibration_images_limit_the_scored_ones(blobs):
    records = list(fit({"a": blobs}, settings_of(field="gaussian", calibration_images=5)))
    assert sum(r.stage == "calibration" for r in records) == 5


@pytest.mark.parametrize("field", ["gaussian", "unet"])
def test_progress_ends_with_the_model(blobs, field):
    records = run({"a": blobs, "b": blobs.flip(3)}, field=field)
    assert [r.model is not None for r in records] == [False] * (len(records) - 1) + [True]
    stages = list(dict.fromkeys(r.stage for r in records))
    expected = ["gaussian", "training", "calibration", "finished"]
    assert stages == ([s for s in expected if s != "training"] if field == "gaussian" else expected)
    assert all(0 <= r.done <= r.total for r in records)
    assert sum(r.train is not None for r in records) == (4 if field == "unet" else 0)
    info = records[-1].model.info
    assert info.categories == ("a", "b") and info.training["images"] == {"a": 12, "b": 12}
    assert info.training["fit"]["seed"] == 0


def test_few_images_give_no_threshold_and_say_why(blobs):
    for field in ("gaussian", "unet"):
        info = run({"a": blobs}, field=field)[-1].model.info
        assert info.thresholds == {"a": None}
        assert_one_sentence(info.notes["a"], "too few", "5%")


@pytest.mark.parametrize("stage", ["gaussian", "training", "calibration"])
def test_interrupted_run_continues_to_the_model_of_an_unbroken_one(tmp_path, blobs, stage):
    images = {"a": blobs, "b": blobs.flip(3)}
    unbroken = run(images)[-1].model
    before = run(images, tmp_path, stop=lambda r: r.stage == stage and r.done >= (2 if stage == "training" else 0))
    assert before[-1].model is None
    after = run(images, tmp_path)
    trained = [r.done for r in after if r.stage == "training"]
    assert trained == {"gaussian": [1, 2, 3, 4], "training": [3, 4], "calibration": []}[stage]
    assert_same_model(after[-1].model, unbroken)


def test_model_holds_the_average_of_the_weights(tmp_path, blobs):
    network = run({"a": blobs}, tmp_path)[-1].model.network
    stored = load_file(tmp_path / FILE)
    assert torch.equal(network.core.head.weight, stored["average.module.head.weight"])
    assert not torch.equal(network.core.head.weight, stored["network.head.weight"])


def test_minutes_become_steps_once_and_measuring_leaves_no_trace(tmp_path, blobs):
    timed = run({"a": blobs}, tmp_path, steps=None, minutes=0.003)
    steps = timed[-1].model.info.training["train"]["steps"]
    assert json.loads((tmp_path / RUN_FILE).read_text())["plan"]["steps"] == steps
    assert [r.done for r in timed if r.stage == "training"] == list(range(1, steps + 1))
    assert_same_model(timed[-1].model, run({"a": blobs}, steps=steps)[-1].model)


def test_folder_of_another_run_is_refused(tmp_path, blobs):
    run({"a": blobs}, tmp_path, stop=lambda r: r.stage == "training")
    for images, changes in (({"a": blobs}, {"seed": 1}), ({"a": blobs}, {"steps": 5}), ({"a": blobs[:9]}, {})):
        with pytest.raises(ModelError) as caught:
            run(images, tmp_path, **changes)
        assert_one_sentence(caught.value, "other settings or images")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        '{"plan": {"steps": "x"}}',
        pytest.param("[]"),
    ],
)
def test_damaged_run_file_is_refused(tmp_path, blobs, text):
    (tmp_path / RUN_FILE).write_text(text)
    with pytest.raises(ModelError) as caught:
        run({"a": blobs}, tmp_path)
    assert_one_sentence(caught.value, RUN_FILE, "damaged")


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("field", ["gaussian", "unet"])
def test_fewer_than_three_images_are_too_few(blobs, field, count):
    with pytest.raises(DataError) as caught:
        run({"a": blobs, "b": blobs[:count]}, field=field)
    assert_one_sentence(caught.value, f"'b' has {count} readable image", "at least 3")


@pytest.mark.parametrize("count", [3, 5])
@pytest.mark.parametrize("field", ["gaussian", "unet"])
def test_the_smallest_sets_can_be_fitted(field, count):
    model = run({"a": blob_tensors(range(count))}, field=field)[-1].model
    assert score_picture(model, Picture(draw_blob(9)[0])).score > 0


@pytest.mark.parametrize("count", [3, 4, 5, 6, 12])
@pytest.mark.parametrize("field", ["gaussian", "unet"])
def test_progress_of_every_stage_reaches_its_total_over_all_categories(count, field):
    images = {"a": blob_tensors(range(count)), "b": blob_tensors(range(4))}
    records = run(images, field=field, steps=1)
    for stage in ("gaussian", "calibration"):
        done = [(r.done, r.total) for r in records if r.stage == stage]
        assert done == [(i + 1, len(done)) for i in range(len(done))] and len(done) >= 2


@pytest.mark.parametrize(
    ("widths", "part"),
    [((), "at least 1"), ((0, 16), "greater than"), ((16, 200), "multiple of 64"), ([64, 128], "tuple")],
)
def test_widths_that_make_no_network_are_refused(widths, part):
    with pytest.raises(SettingsError) as caught:
        settings_of(widths=widths)
    assert_one_sentence(caught.value, "'widths", part)


@pytest.mark.parametrize("widths", [(8,), (12, 24), (100, 128), (64, 320)])
def test_widths_that_are_accepted_make_a_network(blobs, widths):
    assert run({"a": blobs}, widths=widths, steps=1, batch=1, size=32)[-1].model.network is not None


def test_plain_network_and_gray_images(blobs):
    model = run({"a": blobs[:, :1]}, start="none")[-1].model
    assert model.gaussians == () and model.info.channels == 1 and model.device.type == "cpu"
    assert score_picture(model, Picture(draw_blob(1)[0][..., 0])).score > 0


def test_size_that_does_not_fit_the_network_is_one_sentence():
    with pytest.raises(SettingsError) as caught:
        run({"a": blob_tensors(range(4), size=33)}, size=33)
    assert_one_sentence(caught.value, "'size' = 33", "multiple of 2")


def test_fitting_leaves_the_global_generator_alone(blobs):
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    run({"a": blobs})
    assert torch.equal(torch.rand(1), expected)


@pytest.mark.parametrize(("field", "source"), [("unet", "natural"), ("gaussian", "white")])
def test_automatic_source_depends_on_the_field_and_is_kept_with_the_model(blobs, field, source):
    model = last_model({"a": blobs}, **(UNET if field == "unet" else {"field": "gaussian"}))
    assert model.info.source == source and source_of(model.field()) == source
    assert model.info.heat.smoothing == SIZE / 32


@pytest.mark.parametrize("field", ["gaussian", "unet"])
def test_threshold_of_another_source_is_that_of_the_field_which_scores(blobs, field):
    """The held-out scores behind the threshold must come from the field that is saved, mapped back to pixels."""
    options = UNET if field == "unet" else {"field": "gaussian"}
    natural = last_model({"a": blobs}, **options, source="natural", false_alarm_rate=0.3)
    white = last_model({"a": blobs}, **options, source="white", false_alarm_rate=0.3)
    scores = [score_picture(natural, Picture(draw_blob(seed)[0])).score for seed in range(700, 712)]
    threshold = natural.info.thresholds["a"].value
    assert threshold != white.info.thresholds["a"].value
    assert min(scores) / 3 < threshold < 3 * max(scores)


def test_given_held_out_images_leave_all_others_to_training(blobs, monkeypatch):
    pools = []
    monkeypatch.setattr(
        "fmcore.detector.fit.train", lambda s, pool, *rest, **more: pools.append(pool) or train(s, pool, *rest, **more)
    )
    held = blobs[:3]
    records = list(fit({"a": blobs[3:]}, settings_of(), held_out={"a": held}))
    assert torch.equal(pools[0], blobs[3:])
    assert [r.total for r in records if r.stage == "calibration"] == [3, 3, 3]


def test_defects_and_source_reach_the_training(tmp_path, blobs):
    plain = last_model({"a": blobs}, **UNET, source="white", defects=0.0)
    for changes in ({"source": "natural", "defects": 0.0}, {"source": "white", "defects": 0.5}):
        other = last_model({"a": blobs}, **UNET, **changes)
        assert not torch.equal(plain.network.core.head.weight, other.network.core.head.weight), changes
        assert other.info.training["train"]["source"] == changes["source"]
        assert other.info.training["train"]["defects"] == changes["defects"]


def test_a_network_starts_from_the_leading_components_and_a_gaussian_field_keeps_all():
    draw = torch.Generator().manual_seed(0)
    directions = 0.2 * torch.randn(3, 3, SIZE, SIZE, generator=draw)
    amounts = torch.randn(40, 3, generator=draw) * torch.tensor([1.0, 0.3, 0.04])
    images = torch.einsum("nk,kchw->nchw", amounts, directions) + 0.05 * torch.randn(40, 3, SIZE, SIZE, generator=draw)

    def components(**changes) -> int:
        settings = settings_of(**{"steps": 1, "source": "white", **changes})
        *_, last = fit({"a": images}, settings, held_out={"a": images[:2]})
        return len(last.model.gaussians[0].variances)

    assert components(field="gaussian") == components(least_gain=0.0) >= 3
    assert components() == 2
    assert components(least_gain=0.7) == components(field="gaussian", least_gain=0.7) == 1
