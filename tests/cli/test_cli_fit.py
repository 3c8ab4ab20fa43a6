"""`fit` on the command line: what it finds, writes and refuses, and an interrupted run."""

from __future__ import annotations

import os
import shutil
import signal

import pytest
from conftest import assert_one_sentence, write_blobs, write_category
from PIL import Image

from fmcore.detector.model import load_model
from fmcore.fields import ImageGaussianField
from fmcore.training import checkpoint

QUICK = ("--encoder", "none", "--size", 32, "--paths", 2, "--times", 3)
NETWORK = ("--encoder", "none", "--field", "unet", "--size", 32, "--paths", 1, "--times", 1, "--device", "cpu")


def test_fit_on_a_flat_folder_says_what_it_found_and_writes_a_model(call, tmp_path):
    write_blobs(tmp_path / "parts", range(6))
    code, _, err = call("fit", tmp_path / "parts", "--out", tmp_path / "model", *QUICK, "--false-alarm-rate", 0.25)
    assert code == 0
    for part in ("flat folder", "parts: 6", "RGB pixels, 32 x 32", "parts: threshold", "held out", "25%"):
        assert part in err
    model = load_model(tmp_path / "model")
    assert model.categories == ("parts",) and (model.info.paths.paths, model.info.paths.times) == (2, 3)
    assert sorted(p.name for p in (tmp_path / "model").iterdir()) == ["model.json", "weights-00.safetensors"]


def test_fit_on_mvtec_categories_skips_broken_files_with_exit_code_1(call, tmp_path):
    for name in ("a", "b"):
        write_category(tmp_path / "data" / name)
    (tmp_path / "data" / "a" / "train" / "good" / "003.png").write_bytes(b"x")
    code, _, err = call("fit", tmp_path / "data", "--out", tmp_path / "model", *QUICK, "--half")
    assert code == 1 and "Skipped: '003.png'" in err and "a: 12, b: 12" in err
    assert "a: No threshold: 11 held-out" in err.replace("\n", " ")
    model = load_model(tmp_path / "model")
    assert model.categories == ("a", "b") and model.info.training["images"] == {"a": 11, "b": 12}


def test_gray_images_make_a_model_of_one_channel(call, tmp_path):
    for path in write_blobs(tmp_path / "gray", range(4)):
        Image.open(path).convert("L").save(path)
    code, _, err = call("fit", tmp_path / "gray", "--out", tmp_path / "model", *QUICK)
    assert code == 0 and "gray pixels" in err and load_model(tmp_path / "model").view().channels == 1


def test_the_default_is_an_encoder_with_the_exact_mean_over_noise(call, tmp_path):
    write_blobs(tmp_path / "parts", range(6))
    command = ("fit", tmp_path / "parts", "--out", tmp_path / "model", "--resolution", 64, "--places", 64, "--times", 3)
    code, _, err = call(*command, "--false-alarm-rate", 0.25)
    model = load_model(tmp_path / "model")
    assert code == 0 and "channels of efficientnet-lite0 on 8 x 8 places" in err
    assert (model.info.paths.paths, model.info.heat.aggregator, model.view().shape[1:]) == (0, "mean", (8, 8))
    assert call("score", tmp_path / "model", tmp_path / "parts", "--out", tmp_path / "out")[0] == 0
    assert len(list((tmp_path / "out").glob("*_heat.png"))) == 6


def test_pixels_have_an_exact_mean_too_where_it_is_asked_for(call, tmp_path):
    write_blobs(tmp_path / "parts", range(4))
    assert call("fit", tmp_path / "parts", "--out", tmp_path / "model", *QUICK, "--paths", 0)[0] == 0
    assert load_model(tmp_path / "model").info.paths.paths == 0


def test_an_interrupted_closed_form_leaves_nothing(call, tmp_path, monkeypatch):
    def interrupted(self, *arguments, original=ImageGaussianField.fit.__func__, **options):
        os.kill(os.getpid(), signal.SIGINT)
        return original(self, *arguments, **options)

    write_blobs(tmp_path / "parts", range(4))
    monkeypatch.setattr(ImageGaussianField, "fit", classmethod(interrupted))
    code, _, err = call("fit", tmp_path / "parts", "--out", tmp_path / "model", *QUICK)
    assert code == 130 and "Interrupted." in err and "Repeat" not in err and not (tmp_path / "model").exists()


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
    quick = (*NETWORK, "--widths", "16", "--minutes", 60)
    code, _, err = call("fit", tmp_path / "parts", "--out", tmp_path / "model", *quick, *given)
    assert code == 0 and load_model(tmp_path / "model").info.training["steps"] == steps
    said = "after 2.5 passes over 13 images" in err.replace("\n", " ")
    assert said == ("--passes" in given)


@pytest.mark.parametrize(
    ("count", "given", "said"),
    [
        (15, (), ("15 good images", "takes 57", "--false-alarm-rate 0.17")),
        (4, (), ("4 good images", "takes 57")),
        (15, ("--false-alarm-rate", 0.17), ()),
    ],
)
def test_too_few_images_for_a_threshold_are_told_before_the_training(call, tmp_path, count, given, said):
    write_blobs(tmp_path / "parts", range(count))
    quick = (*NETWORK, "--widths", "16", "--steps", 1)
    code, _, err = call("fit", tmp_path / "parts", "--out", tmp_path / "model", *quick, *given)
    told, _, _ = err.replace("\n", " ").partition("held-out")  # what is said after the training
    assert code == 0 and ("will give no threshold" in told) == bool(said)
    assert all(part in told for part in said) and ("are enough" in told) == ("--false-alarm-rate 0.17" in said)
    assert (load_model(tmp_path / "model").threshold() is None) == bool(said)


def test_widths_are_given_as_a_list(call, tmp_path):
    write_blobs(tmp_path / "parts", range(4))
    command = ("fit", tmp_path / "parts", "--out", tmp_path / "model", *NETWORK, "--steps", 1, "--batch", 1)
    assert call(*command, "--widths", "8,16")[0] == 0
    assert load_model(tmp_path / "model").shared.config["widths"] == [8, 16]
    for widths, part in (("8,x", "64,128,192"), ("8,5000", "less than or equal to 2048")):
        code, _, err = call(*command, "--overwrite", "--widths", widths)
        assert code == 2
        assert_one_sentence(err, "'widths", part)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_fit_exits_130_and_the_same_command_finishes(tmp_path, call, monkeypatch, number):
    def interrupted(*arguments, save=checkpoint.save_state):
        save(*arguments)
        if arguments[1].step == 3:
            monkeypatch.setattr(checkpoint, "save_state", save)
            os.kill(os.getpid(), number)

    write_blobs(tmp_path / "parts", range(5))
    out = tmp_path / "model"
    command = ("fit", tmp_path / "parts", "--out", out, *NETWORK, "--steps", 6, "--batch", 1, "--widths", "8,16")
    monkeypatch.setattr(checkpoint, "save_state", interrupted)
    code, _, err = call(*command, "--save-every", 1)
    assert code == 130 and "Interrupted. Repeat the same command" in err and "Traceback" not in err
    assert [p.name for p in out.iterdir()] == ["checkpoint.safetensors"]
    code, _, err = call(*command, "--save-every", 1)
    assert code == 0 and sorted(p.name for p in out.iterdir()) == ["model.json", "weights-00.safetensors"]
    assert load_model(out).info.training["steps"] == 6


def test_fit_names_files_of_train_and_test_and_counts_gray_ones_in_colour(call, tmp_path):
    root = write_category(tmp_path / "part")
    shutil.copy(root / "train" / "good" / "003.png", root / "test" / "good" / "again.png")
    for name in ("000.png", "001.png"):
        Image.open(root / "train" / "good" / name).convert("L").save(root / "train" / "good" / name)
    code, _, err = call("fit", root, "--out", tmp_path / "model", *QUICK)
    assert code == 0 and "1 images stand in train and in test" in err and "good/again.png = 003.png" in err
    assert "part: RGB pixels, 32 x 32, 2 gray images taken as RGB." in err
