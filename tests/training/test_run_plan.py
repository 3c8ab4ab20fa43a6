"""The plan of a run: what fixes it, and what happens to it in the end."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from conftest import SIZE, assert_one_sentence, blob_tensors

from fmcore.detector.settings import FitSettings
from fmcore.errors import ModelError
from fmcore.fields.unet import UNetSettings, VelocityUNet
from fmcore.training import run_plan
from fmcore.training.checkpoint import FILE as CHECKPOINT
from fmcore.training.loop import MOST_STEPS
from fmcore.training.run_plan import RUN_FILE, fingerprint, forget_run, make_or_resume_plan
from fmcore.training.team import ALONE

IMAGES, LABELS = blob_tensors(range(4)), torch.zeros(4, dtype=torch.long)


def plan_of(folder=None, **changes):
    settings = FitSettings.parse(**{"size": SIZE, "steps": 4, "widths": (16, 32), **changes})
    torch.manual_seed(0)
    network = VelocityUNet(UNetSettings(size=SIZE, patch=4, widths=(16, 32), start="none"))
    return make_or_resume_plan(settings, network, IMAGES, LABELS, "data", folder=folder, team=ALONE)


def test_settings_of_a_fit_reach_its_training(tmp_path):
    plan = plan_of(tmp_path, precision="bfloat16", save_every=7, batch=3, seed=5, time_power=0.0, learning_rate=0.01)
    assert (plan.precision, plan.save_every, plan.batch, plan.seed) == ("bfloat16", 7, 3, 5)
    assert (plan.steps, plan.time_power, plan.learning_rate) == (4, 0.0, 0.01)
    assert plan_of(precision="float32").precision == "float32"


@pytest.mark.parametrize("fast", [False, True])
def test_automatic_precision_is_bfloat16_where_the_processor_has_it(monkeypatch, fast):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": fast})
    assert plan_of().precision == ("bfloat16" if fast else "float32")


def test_a_plan_is_resumed_whatever_the_speed_is_now(tmp_path, monkeypatch):
    monkeypatch.setattr(run_plan, "_seconds_per_step", lambda *_: 0.5)
    first = plan_of(tmp_path, steps=None, minutes=0.5)
    assert first.steps == 60 and first.warmup == 12
    monkeypatch.setattr(run_plan, "_seconds_per_step", lambda *_: 0.1)
    assert plan_of(tmp_path, steps=None, minutes=0.5) == first
    with pytest.raises(ModelError, match="other settings"):
        plan_of(tmp_path, steps=None, minutes=2.0)


def test_speed_beside_a_gpu_is_the_mean_of_later_steps(monkeypatch):
    """Batches that threads make ahead come in bursts, and the first ones were ready before they were needed."""

    def bursts(state, pool, labels, trial, team):
        for step in range(trial.steps):
            seconds = 1e-6 if step < trial.steps // 2 else 0.3 if step % 4 == 0 else 0.1
            yield SimpleNamespace(images_per_second=trial.batch / seconds)

    monkeypatch.setattr(run_plan, "train", bursts)
    monkeypatch.setattr(run_plan, "workers_for", lambda device: 4)
    assert plan_of(steps=None, minutes=1.0, passes=1e9).steps == pytest.approx(60 / 0.15, rel=0.05)


@pytest.mark.parametrize(("seconds", "steps"), [(1e-4, MOST_STEPS), (1e9, 1)])
def test_minutes_make_a_possible_number_of_steps(monkeypatch, seconds, steps):
    monkeypatch.setattr(run_plan, "_seconds_per_step", lambda *_: seconds)
    assert plan_of(steps=None, minutes=100_000.0, passes=1e9).steps == steps


@pytest.mark.parametrize(
    ("changes", "steps"),
    [
        ({}, 113),  # 450 passes over 4 images, 16 at a time
        ({"passes": 10.1, "batch": 8}, 6),
        ({"passes": 1e-6}, 1),
        ({"minutes": 0.5}, 30),  # the minutes end first
        ({"steps": 120}, 120),  # asked for
    ],
)
def test_minutes_end_with_the_most_passes_over_the_images(monkeypatch, changes, steps):
    monkeypatch.setattr(run_plan, "_seconds_per_step", lambda *_: 1.0)
    assert plan_of(**{"steps": None, "minutes": 20.0, **changes}).steps == steps


def test_a_plan_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelError) as caught:
        plan_of(tmp_path / "file" / "model")
    assert_one_sentence(caught.value, "cannot be written")


def test_fingerprint_depends_on_names_order_and_every_pixel():
    changed = IMAGES.clone()
    changed[3, 2, 31, 31] += 1e-3
    sets = [{"a": IMAGES}, {"b": IMAGES}, {"a": changed}, {"a": IMAGES.flip(0)}, {"a": IMAGES, "b": IMAGES}]
    assert len({fingerprint(images) for images in sets}) == 5
    assert fingerprint({"a": IMAGES.clone().to(memory_format=torch.channels_last)}) == fingerprint({"a": IMAGES})


def test_a_forgotten_run_leaves_the_model_and_nothing_of_itself(tmp_path):
    for name in (CHECKPOINT, RUN_FILE, f".{CHECKPOINT}.123", f".{RUN_FILE}.123", "model.json", "notes.txt"):
        (tmp_path / name).write_text("x")
    forget_run(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model.json", "notes.txt"]
