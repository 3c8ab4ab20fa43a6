"""The command line: what it writes, its exit codes, and one sentence for every mistake."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from conftest import ROOT, assert_one_sentence, dataset, run_cli, write_blobs, write_category
from PIL import Image

from fmcore import cli
from fmcore.images import read_picture
from fmcore.model import load_model, save_model
from fmcore.scoring import score_picture

QUICK = ("--field", "gaussian", "--size", 32, "--paths", 2, "--times", 3)
COLUMNS = ["file", "score", "threshold", "verdict", "error"]


@pytest.fixture
def call(monkeypatch, capsys):
    """`cli.main` in this process: exit code, stdout, stderr."""

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["fmcore", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        out, err = capsys.readouterr()
        return stopped.value.code or 0, out, err

    return run


@pytest.fixture
def model_folder(tmp_path, gaussian_model):
    save_model(tmp_path / "model", gaussian_model)
    return tmp_path / "model"


def read_scores(folder) -> list[dict]:
    with (folder / "scores.csv").open(newline="") as file:
        table = csv.DictReader(file)
        rows = list(table)
    assert table.fieldnames == COLUMNS
    return rows


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


def test_scores_in_the_table_are_those_of_the_package_bit_for_bit(call, tmp_path, model_folder, category_folder):
    single = category_folder / "test" / "good" / "000.png"
    code, _, err = call("score", model_folder, single, category_folder / "test", "--out", tmp_path / "out")
    assert code == 0 and "9 of 9 images scored" in err
    rows, model = read_scores(tmp_path / "out"), load_model(model_folder)
    assert [row["file"] for row in rows[:2]] == [str(single)] * 2 and len(rows) == 9
    for row in rows:
        verdict = score_picture(model, read_picture(row["file"]))
        assert float(row["score"]) == verdict.score and float(row["threshold"]) == verdict.threshold
        assert row["verdict"] == ("anomalous" if verdict.anomalous else "normal") and row["error"] == ""
    assert {row["verdict"] for row in rows if "square" in row["file"]} == {"anomalous"}
    maps = {p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*_heat.png")}
    assert maps == {"000_heat.png"} | {f"{d}/{k:03d}_heat.png" for d in ("good", "square") for k in range(4)}


def test_heat_maps_share_one_scale_and_have_the_size_of_their_image(call, tmp_path, model_folder):
    write_blobs(tmp_path / "in", range(50, 51), defect=True)
    Image.open(tmp_path / "in" / "000.png").resize((50, 70)).save(tmp_path / "in" / "001.png")
    assert call("score", model_folder, tmp_path / "in", "--out", tmp_path / "out")[0] == 0
    images = [Image.open(tmp_path / "out" / f"00{i}_heat.png") for i in (0, 1)]
    assert [i.size for i in images] == [(32, 32), (50, 70)] and {i.mode for i in images} == {"RGB"}
    model = load_model(model_folder)
    scale = model.normal_ranges["blob"].scale(model.info.heat.exponent)
    assert {i.text["scale"] for i in images} == {f"0 to {scale!r}"}
    heat = score_picture(model, read_picture(tmp_path / "in" / "000.png")).heatmap
    brightness = np.asarray(images[0]).sum(2)
    assert (brightness[heat >= scale] == brightness.max()).all() and brightness[
        heat.argmin() // 32, heat.argmin() % 32
    ] < 100


def test_files_of_one_name_get_heat_maps_of_their_own(call, tmp_path, model_folder):
    for name in ("a", "b"):
        write_blobs(tmp_path / name, range(2))
    shutil.copy(tmp_path / "a" / "000.png", tmp_path / "a" / "000.bmp")  # the suffix alone differs
    code, _, _ = call("score", model_folder, tmp_path / "a", tmp_path / "b", "--out", tmp_path / "out")
    assert code == 0 and len(read_scores(tmp_path / "out")) == 5
    assert len(list((tmp_path / "out").glob("*_heat.png"))) == 5


def test_a_numbered_name_never_replaces_another_map(call, tmp_path, model_folder):
    for name in ("a", "b"):
        write_blobs(tmp_path / name, range(1))
    shutil.copy(tmp_path / "a" / "000.png", tmp_path / "a" / "000_2.png")
    assert call("score", model_folder, tmp_path / "a", tmp_path / "b", "--out", tmp_path / "out")[0] == 0
    assert len(list((tmp_path / "out").glob("*_heat.png"))) == 3


def test_unreadable_files_get_a_row_and_exit_code_1(call, tmp_path, model_folder):
    paths = write_blobs(tmp_path / "in", range(3))
    paths[1].write_bytes(b"")
    code, _, err = call("score", model_folder, tmp_path / "in", "--out", tmp_path / "out")
    assert code == 1 and "'001.png' is empty" in err and "2 of 3 images scored" in err
    rows = read_scores(tmp_path / "out")
    assert [bool(r["score"]) for r in rows] == [True, False, True]
    assert_one_sentence(rows[1]["error"], "'001.png'")


def test_other_settings_give_a_score_without_a_verdict(call, tmp_path, model_folder, category_folder):
    image = category_folder / "test" / "good" / "000.png"
    code, _, err = call("score", model_folder, image, "--out", tmp_path / "out", "--aggregator", "mean")
    row = read_scores(tmp_path / "out")[0]
    assert code == 0 and row["score"] and row["threshold"] == row["verdict"] == "" and "No verdict" in err


def test_evaluate_prints_and_writes_the_figures(call, tmp_path, model_folder, category_folder):
    path = tmp_path / "deep" / "figures.json"
    code, out, _ = call("evaluate", model_folder, category_folder, "--json", path)
    result = json.loads(path.read_text())
    assert code == 0
    expected = {"image_auroc", "pixel_auroc", "n_good", "n_defective", "seconds_per_image", "settings"}
    assert expected <= set(result) and (result["n_good"], result["n_defective"]) == (4, 4)
    assert f"blob: image AUROC {result['image_auroc']:.4f}, pixel AUROC {result['pixel_auroc']:.4f}" in out


def test_evaluate_of_several_categories_adds_their_mean(call, tmp_path):
    for number, name in enumerate(("a", "b")):
        write_category(tmp_path / "data" / name, first_seed=number)
    assert call("fit", tmp_path / "data", "--out", tmp_path / "model", *QUICK)[0] == 0
    shutil.rmtree(tmp_path / "data" / "b" / "ground_truth")
    (tmp_path / "data" / "a" / "test" / "good" / "000.png").write_bytes(b"x")
    code, out, err = call("evaluate", tmp_path / "model", tmp_path / "data", "--json", tmp_path / "f.json")
    result = json.loads((tmp_path / "f.json").read_text())
    assert code == 1 and "Left out: '000.png'" in err and "pixel AUROC n/a" in out and "mean of 2 categories" in out
    both = [result["categories"][name]["image_auroc"] for name in ("a", "b")]
    assert result["image_auroc"] == pytest.approx(sum(both) / 2) and result["pixel_auroc"] is None
    assert result["n_good"] == 7


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (("fit", "{tmp}/nowhere", "--out", "{tmp}/m"), ("There is no folder",)),
        (("fit", "{tmp}", "--out", "{tmp}/m"), ("No image found",)),
        (("fit", "{data}", "--out", "{tmp}/m", "--field", "gan"), ("'field' = 'gan'", "unet")),
        (("fit", "{data}", "--out", "{tmp}/m", "--size", 7), ("'size' = 7",)),
        (("fit", "{data}", "--out", "{tmp}/m", "--size", 33, "--steps", 1), ("'size' = 33",)),
        (("fit", "{data}", "--out", "{tmp}/m", "--learning-rate", "nan"), ("'learning_rate' = nan",)),
        (("fit", "{data}", "--out", "{tmp}/m", "--device", "tpu"), ("no device 'tpu'",)),
        (("fit", "{data}", "--out", "{tmp}/m", "--paths", 0), ("'paths' = 0",)),
        (("score", "{tmp}/nowhere", "{data}", "--out", "{tmp}/o"), ("no model folder",)),
        (("score", "{tmp}", "{data}", "--out", "{tmp}/o"), ("no finished model",)),
        (("score", "{model}", "{tmp}/x.png", "--out", "{tmp}/o"), ("no file or folder",)),
        (("score", "{model}", "{model}", "--out", "{tmp}/o"), ("There is no image",)),
        (("score", "{model}", "{data}", "--out", "{tmp}/o", "--category", "c"), ("no category 'c'", "blob")),
        (("score", "{model}", "{data}", "--out", "{tmp}/o", "--aggregator", "max"), ("'aggregator' = 'max'",)),
        (("evaluate", "{model}", "{tmp}/nowhere"), ("There is no folder",)),
        (("evaluate", "{model}", "{model}"), ("no 'test' folder",)),
        (("render", "{tmp}/r", "--size", 7), ("'size' = 7",)),
        pytest.param(
            ("score", "{model}", "{data}", "--out", "{model}/model.json"),
            ("model.json",),
        ),
        pytest.param(
            ("fit", "{data}", "--out", "{model}/model.json", *QUICK),
            ("model.json",),
        ),
    ],
)
def test_bad_input_is_one_sentence_exit_code_2_and_writes_nothing(
    call, tmp_path_factory, model_folder, category_folder, arguments, parts
):
    empty = tmp_path_factory.mktemp("empty")
    arguments = [str(a).format(tmp=empty, data=category_folder, model=model_folder) for a in arguments]
    code, out, err = call(*arguments)
    assert code == 2 and out == "" and list(empty.iterdir()) == []
    assert_one_sentence(err.strip().splitlines()[-1], *parts)
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (("fit", "x", "--out", "y", "--epochs", "3"), "No such option"),
        (("fit", "x", "--out", "y", "--seed", "one"), "'--seed'"),
        (("fit", "x"), "Missing option"),
        (("train", "x"), "No such command"),
    ],
)
def test_unknown_options_and_values_are_usage_errors(call, arguments, part):
    code, _, err = call(*arguments)
    assert code == 2 and part in err and "Traceback" not in err


def test_square_brackets_in_names_are_printed_as_they_are(call, tmp_path, model_folder):
    (tmp_path / "[red]x.png").write_bytes(b"")
    code, _, err = call("score", model_folder, tmp_path / "[red]x.png", "--out", tmp_path / "out")
    assert code == 1 and "'[red]x.png'" in err


def test_a_real_process_scores_and_fails_as_documented(tmp_path, model_folder, category_folder):
    done = run_cli("score", model_folder, category_folder / "test" / "good" / "001.png", "--out", tmp_path / "out")
    assert (done.returncode, done.stdout) == (0, "") and "1 of 1 images scored" in done.stderr
    expected = score_picture(load_model(model_folder), read_picture(category_folder / "test" / "good" / "001.png"))
    assert float(read_scores(tmp_path / "out")[0]["score"]) == expected.score
    failed = run_cli("score", tmp_path / "nowhere", category_folder, "--out", tmp_path / "out2")
    assert failed.returncode == 2 and not (tmp_path / "out2").exists()
    assert_one_sentence(failed.stderr, "no model folder")


def test_interrupted_fit_exits_130_and_the_same_command_finishes(tmp_path, call):
    write_blobs(tmp_path / "parts", range(5))
    out = tmp_path / "model"
    command = ["fit", str(tmp_path / "parts"), "--out", str(out), "--size", "32", "--steps", "20", "--batch", "1"]
    command += ["--paths", "1", "--times", "1", "--device", "cpu"]
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
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Repeat the same command" in err and "Traceback" not in err
    assert not (out / "model.json").exists() and (out / "checkpoint.safetensors").exists()
    code, _, err = call(*command)
    assert code == 0 and sorted(p.name for p in out.glob("*.json")) == ["model.json"]
    assert not (out / "checkpoint.safetensors").exists()
    assert load_model(out).info.training["train"]["steps"] == 20


def test_real_cookies_are_not_square_and_their_maps_have_their_size(call, tmp_path):
    root = dataset("cookie")
    assert call("fit", root, "--out", tmp_path / "model", *QUICK)[0] == 0
    image = sorted((root / "test" / "good").iterdir())[0]
    assert call("score", tmp_path / "model", image, "--out", tmp_path / "out")[0] == 0
    size = Image.open(image).size
    assert size[0] != size[1]
    assert Image.open(tmp_path / "out" / f"{image.stem}_heat.png").size == size
