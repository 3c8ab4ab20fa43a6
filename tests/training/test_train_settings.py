"""How long a run is, and what it computes in."""

from __future__ import annotations

import pytest
import torch
from conftest import assert_one_sentence

from fmcore.errors import SettingsError
from fmcore.training import TrainSettings

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize(
    ("changes", "steps"),
    [
        ({}, 113),  # 450 passes over 4 images, 16 at a time
        ({"passes": 10.1, "batch": 8}, 6),
        ({"passes": 1e-6}, 1),
        ({"steps": 1200}, 1200),  # asked for
    ],
)
def test_a_run_ends_with_its_steps_or_the_most_passes_over_the_images(changes, steps):
    settings = TrainSettings.parse(**changes)
    assert settings.most_steps(images=4) == steps
    assert settings.progress(steps, 4, seconds=0) == 1 and settings.progress(steps - 1, 4, seconds=0) < 1


def test_minutes_end_a_run_unless_steps_are_asked_for():
    settings = TrainSettings.parse(minutes=0.5)
    assert settings.progress(10, 1000, 15.0) == 0.5 and settings.progress(10, 1000, 31.0) == 1
    assert settings.replace(steps=40).progress(10, 1000, 31.0) == 0.25


def test_auto_precision_is_bfloat16_where_it_is_fast(monkeypatch):
    for fast, expected in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda fast=fast: {"avx512_bf16": fast})
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda fast=fast: not fast)
        assert TrainSettings().autocast_type(CPU) == expected != TrainSettings().autocast_type(GPU)
        assert TrainSettings.parse(precision="bfloat16").autocast_type(CPU) == torch.bfloat16
        assert TrainSettings.parse(precision="float32").autocast_type(GPU) == torch.float32


@pytest.mark.parametrize("wrong", [{"learning_rate": 5.0}, {"steps": 0}, {"minutes": 0.0}, {"passes": -1.0}])
def test_values_beyond_reason_are_refused(wrong):
    with pytest.raises(SettingsError) as caught:
        TrainSettings.parse(**wrong)
    assert_one_sentence(caught.value, f"'{next(iter(wrong))}'")
