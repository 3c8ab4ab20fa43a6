"""`score` on the command line: the table, the heat maps, and files that cannot be read."""

from __future__ import annotations

import csv
import shutil

import numpy as np
import pytest
from conftest import assert_one_sentence, dataset, run_cli, write_blobs
from PIL import Image

from fmcore.detector.model import load_model

QUICK = ("--encoder", "none", "--size", 32, "--paths", 2, "--times", 3)
COLUMNS = ["file", "score", "threshold", "verdict", "error"]


def read_scores(folder) -> list[dict]:
    with (folder / "scores.csv").open(newline="") as file:
        table = csv.DictReader(file)
        rows = list(table)
    assert table.fieldnames == COLUMNS
    return rows


def test_scores_in_the_table_are_those_of_the_package_bit_for_bit(call, tmp_path, model_folder, category_folder):
    single = category_folder / "test" / "good" / "000.png"
    code, _, err = call("score", model_folder, single, category_folder / "test", "--out", tmp_path / "out")
    assert code == 0 and "9 of 9 images scored" in err
    rows, model = read_scores(tmp_path / "out"), load_model(model_folder)
    assert [row["file"] for row in rows[:2]] == [str(single)] * 2 and len(rows) == 9
    for row in rows:
        verdict = model.score(row["file"])
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
    heat = model.score(tmp_path / "in" / "000.png").heatmap
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


def test_where_nothing_can_be_read_no_heat_maps_are_promised(call, tmp_path, model_folder):
    (path,) = write_blobs(tmp_path / "in", range(1))
    path.write_text("no image")
    code, _, err = call("score", model_folder, tmp_path / "in", "--out", tmp_path / "out")
    assert code == 1 and "None of the 1 images could be scored" in err and "heat maps" not in err
    assert "'000.png'" in read_scores(tmp_path / "out")[0]["error"]


def test_other_settings_give_a_score_without_a_verdict(call, tmp_path, model_folder, category_folder):
    image = category_folder / "test" / "good" / "000.png"
    code, _, err = call("score", model_folder, image, "--out", tmp_path / "out", "--aggregator", "mean")
    row = read_scores(tmp_path / "out")[0]
    assert code == 0 and row["score"] and row["threshold"] == row["verdict"] == "" and "No verdict" in err


def test_square_brackets_in_names_are_printed_as_they_are(call, tmp_path, model_folder):
    (tmp_path / "[red]x.png").write_bytes(b"")
    code, _, err = call("score", model_folder, tmp_path / "[red]x.png", "--out", tmp_path / "out")
    assert code == 1 and "'[red]x.png'" in err


def test_real_cookies_are_not_square_and_their_maps_have_their_size(call, tmp_path):
    root = dataset("cookie")
    assert call("fit", root, "--out", tmp_path / "model", *QUICK)[0] == 0
    image = sorted((root / "test" / "good").iterdir())[0]
    assert call("score", tmp_path / "model", image, "--out", tmp_path / "out")[0] == 0
    size = Image.open(image).size
    assert size[0] != size[1]
    assert Image.open(tmp_path / "out" / f"{image.stem}_heat.png").size == size


def test_a_real_process_scores_as_documented(tmp_path, model_folder, category_folder):
    done = run_cli("score", model_folder, category_folder / "test" / "good" / "001.png", "--out", tmp_path / "out")
    assert (done.returncode, done.stdout) == (0, "") and "1 of 1 images scored" in done.stderr
    expected = load_model(model_folder).score(category_folder / "test" / "good" / "001.png")
    assert float(read_scores(tmp_path / "out")[0]["score"]) == expected.score


@pytest.mark.parametrize("out", ["maps", "."])
def test_maps_of_an_earlier_run_are_not_scored(call, tmp_path, model_folder, out):
    paths = write_blobs(tmp_path / "in", range(2))
    shutil.copy(paths[0], tmp_path / "in" / "my_heat.png")  # the name alone does not make it a map
    for run in (1, 2):
        code, _, err = call("score", model_folder, tmp_path / "in", "--out", tmp_path / "in" / out)
        assert code == 0 and "3 of 3 images scored" in err
        assert ("Left out 3 heat maps of an earlier run" in err) == (run == 2)
    assert len(read_scores(tmp_path / "in" / out)) == 3
    single = next((tmp_path / "in" / out).glob("000_heat.png"))  # asked for by name, it is scored
    assert call("score", model_folder, single, "--out", tmp_path / "out")[0] == 0
