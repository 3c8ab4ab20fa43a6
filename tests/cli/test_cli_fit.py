"""`fit` on the command line: what it finds, writes and refuses, and an interrupted run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest
from conftest import ROOT, assert_one_sentence, write_blobs, write_category
from PIL import Image

from fmcore.detector.model import load_model

QUICK = ("--field", "gaussian", "--size", 32, "--paths", 2, "--times", 3)


def test_fit_on_a_flat_folder_says_what_it_found_and_writes_a_model(call, tmp_path):
    write_blobs(tmp_path / "parts", range(6))
    code, _, err = call("fit", tmp_path / "parts", "--out", tmp_path / "model", *QUICK, "--false-alarm-rate", 0.25)
    assert code == 0
    for part in ("flat folder", "parts: 6", "RGB images at 32 x 32", "parts: threshold", "at most 25%"):
        assert part in err
    model = load_model(tmp_path / "model")
    assert model.info.categories == ("parts",) and (model.info.paths.paths, model.info.paths.times) == (2, 3)
    assert sorted(p.name for p in (tmp_path / "model").iterdir()) == ["model.json", "weights-00.safetensors"]


def test_fit_on_mvtec_categories_skips_broken_files_with_exit_code_1(call, tmp_path):
    for name in ("a", "b"):
        write_category(tmp_path / "data" / name)
    (tmp_path / "data" / "a" / "train" / "good" / "003.png").write_bytes(b"x")
    code, _, err = call("fit", tmp_path / "data", "--out", tmp_path / "model", *QUICK, "--half")
    assert code == 1 and "Skipped: '003.png'" in err and "a: 12, b: 12" in err
    assert "a: No threshold: 11 held-out" in err.replace("\n", " ")
    info = load_model(tmp_path / "model").info
    assert info.categories == ("a", "b") and info.training["images"] == {"a": 11, "b": 12}


def test_gray_images_make_a_model_of_one_channel(call, tmp_path):
    for path in write_blobs(tmp_path / "gray", range(4)):
        Image.open(path).convert("L").save(path)
    code, _, err = call("fit", tmp_path / "gray", "--out", tmp_path / "model", *QUICK)
    assert code == 0 and "gray images" in err and load_model(tmp_path / "model").info.channels == 1


def test_finished_model_is_replaced_only_on_request(call, tmp_path):
    write_blobs(tmp_path / "parts", range(4))
    command = ("fit", tmp_path / "parts", "--out", tmp_path / "model", *QUICK)
    assert call(*command)[0] == 0
    before = (tmp_path / "model" / "model.json").read_text()
    code, _, err = call(*command, "--seed", 1)
    assert code == 2 and (tmp_path / "model" / "model.json").read_text() == before
    assert_one_sentence(err, "already holds a finished model", "--overwrite")
    assert call(*command, "--seed", 1, "--overwrite")[0] == 0
    assert load_model(tmp_path / "model").info.training["fit"]["seed"] == 1


def test_failed_fit_leaves_the_finished_model_that_it_was_to_replace(call, tmp_path):
    write_blobs(tmp_path / "parts", range(4))
    assert call("fit", tmp_path / "parts", "--out", tmp_path / "model", *QUICK)[0] == 0
    before = (tmp_path / "model" / "model.json").read_text()
    write_blobs(tmp_path / "few", range(2))
    code, _, err = call("fit", tmp_path / "few", "--out", tmp_path / "model", *QUICK, "--overwrite")
    assert code == 2 and "2 readable image(s)" in err
    assert (tmp_path / "model" / "model.json").read_text() == before and load_model(tmp_path / "model")


@pytest.mark.parametrize(("given", "steps"), [(("--passes", 2.5, "--batch", 9), 4), (("--steps", 4), 4)])
def test_training_that_ends_before_its_minutes_says_why(call, tmp_path, given, steps):
    write_blobs(tmp_path / "parts", range(15))  # two are held out
    quick = ("--size", 32, "--widths", "16", "--paths", 1, "--times", 2, "--minutes", 60)
    code, _, err = call("fit", tmp_path / "parts", "--out", tmp_path / "model", *quick, *given)
    assert code == 0 and load_model(tmp_path / "model").info.training["train"]["steps"] == steps
    said = "after 4 steps, 2.5 passes over 13 images" in err.replace("\n", " ")
    assert said == ("--passes" in given)


@pytest.mark.parametrize(
    ("count", "given", "said"),
    [
        (15, (), ("15 good images", "takes 57", "false_alarm_rate 0.17")),
        (4, (), ("4 good images", "takes 57")),
        (15, ("--false-alarm-rate", 0.17), ()),
    ],
)
def test_too_few_images_for_a_threshold_are_told_before_the_training(call, tmp_path, count, given, said):
    write_blobs(tmp_path / "parts", range(count))
    quick = ("--size", 32, "--widths", "16", "--paths", 1, "--times", 2, "--steps", 1)
    code, _, err = call("fit", tmp_path / "parts", "--out", tmp_path / "model", *quick, *given)
    told, _, _ = err.replace("\n", " ").partition("held-out")  # what is said after the training
    assert code == 0 and ("will give no threshold" in told) == bool(said)
    assert all(part in told for part in said) and ("are enough" in told) == ("false_alarm_rate 0.17" in said)
    assert (load_model(tmp_path / "model").info.thresholds["parts"] is None) == bool(said)


def test_widths_are_given_as_a_list(call, tmp_path):
    write_blobs(tmp_path / "parts", range(4))
    command = ("fit", tmp_path / "parts", "--out", tmp_path / "model", "--size", 32, "--steps", 1, "--batch", 1)
    command += ("--paths", 1, "--times", 1, "--device", "cpu")
    assert call(*command, "--widths", "8,16")[0] == 0
    assert load_model(tmp_path / "model").info.unet.widths == (8, 16)
    for widths, part in (("8,x", "64,128,192"), ("8,1000", "multiple of 64")):
        code, _, err = call(*command, "--overwrite", "--widths", widths)
        assert code == 2
        assert_one_sentence(err, "'widths'", part)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_fit_exits_130_and_the_same_command_finishes(tmp_path, call, number):
    write_blobs(tmp_path / "parts", range(5))
    out = tmp_path / "model"
    command = ["fit", str(tmp_path / "parts"), "--out", str(out), "--size", "32", "--steps", "20", "--batch", "1"]
    command += ["--paths", "1", "--times", "1", "--device", "cpu", "--widths", "8,16"]
    process = subprocess.Popen(
        [sys.executable, "-m", "fmcore", *command],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while not (out / "run.json").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Repeat the same command" in err and "Traceback" not in err
    assert not (out / "model.json").exists() and (out / "checkpoint.safetensors").exists()
    code, _, err = call(*command)
    assert code == 0 and sorted(p.name for p in out.glob("*.json")) == ["model.json"]
    assert not (out / "checkpoint.safetensors").exists()
    assert load_model(out).info.training["train"]["steps"] == 20
