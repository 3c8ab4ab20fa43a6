"""`score` on the command line: the table, the heat maps, further results, and files that cannot be read."""

from __future__ import annotations

import csv
import json
import shutil

import numpy as np
import pytest
from conftest import assert_one_sentence, dataset, draw_blob, run_cli, write_blobs
from PIL import Image

from fmcore.detector.model import load_model
from fmcore.detector.score import Verdict

QUICK = ("--encoder", "none", "--size", 32, "--paths", 2, "--times", 3)
COLUMNS = ["file", "score", "threshold", "verdict", "error"]


def table_of(folder) -> list[dict]:
    with (folder / "scores.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def read_scores(folder) -> list[dict]:
    rows = table_of(folder)
    assert list(rows[0]) == COLUMNS
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


@pytest.fixture
def images(tmp_path):
    """A good picture, and a defective one, not square."""
    write_blobs(tmp_path / "in", range(50, 51))
    picture = Image.fromarray(draw_blob(51, defect=True)[0]).resize((50, 70))
    (tmp_path / "in" / "sub").mkdir()
    picture.save(tmp_path / "in" / "sub" / "001.png")
    return tmp_path / "in"


def test_files_asked_for_are_written_and_named_in_the_table(call, tmp_path, model_folder, images):
    code, _, _ = call("score", model_folder, images, "--out", tmp_path / "out", "--masks", "--raw", "--regions")
    rows = table_of(tmp_path / "out")
    assert code == 0 and list(rows[0]) == [*COLUMNS, "heatmap", "mask", "raw", "regions"]
    row = rows[1]
    named = {row[column] for column in ("heatmap", "mask", "raw", "regions")}
    assert named == {"sub/001_heat.png", "sub/001_mask.png", "sub/001_map.npy", "regions.jsonl"}
    written = {p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*") if p.is_file()}
    assert written == {"scores.csv", *(r[c] for r in rows for c in ("heatmap", "mask", "raw", "regions"))}

    result = load_model(model_folder).score(row["file"])
    raw = np.load(tmp_path / "out" / row["raw"])
    assert raw.dtype == np.float32 and np.array_equal(raw, result.heatmap) and raw.shape == (70, 50)
    mask = np.asarray(Image.open(tmp_path / "out" / row["mask"]))
    assert np.array_equal(mask, result.mask) and 0 < mask.mean() < 0.5
    lines = [json.loads(line) for line in (tmp_path / "out" / "regions.jsonl").read_text().splitlines()]
    mine = [line for line in lines if line["file"] == row["file"]]
    assert mine and sum(line["area"] for line in mine) == mask.sum()
    left, top, width, height = mine[0]["box"]
    inside = np.zeros_like(mask)
    inside[top : top + height, left : left + width] = True
    assert mine[0]["peak"] == raw.max() == raw[inside].max()
    if len(mine) == 1:
        assert mask[inside].sum() == mine[0]["area"] == mask.sum()


@pytest.mark.parametrize(("option", "column"), [("--masks", "mask"), ("--raw", "raw"), ("--regions", "regions")])
def test_each_is_written_alone(call, tmp_path, model_folder, images, option, column):
    assert call("score", model_folder, images, "--out", tmp_path / "out", option)[0] == 0
    assert list(table_of(tmp_path / "out")[0]) == [*COLUMNS, "heatmap", column]
    files = {p.name for p in (tmp_path / "out").rglob("*") if p.is_file()} - {"scores.csv"}
    assert len(files) == (3 if column == "regions" else 4)


def test_masks_of_an_earlier_run_are_not_scored_but_masks_of_others_are_images(call, tmp_path, model_folder, images):
    Image.open(images / "000.png").save(images / "other_mask.png")
    for _ in range(2):
        code, _, err = call("score", model_folder, images, "--out", images, "--masks", "--raw")
        assert code == 0 and "3 of 3 images scored" in err
    assert "Left out 3 heat maps" in err


def test_a_threshold_for_one_run_changes_verdicts_and_masks_only(call, tmp_path, model_folder, images):
    before = (model_folder / "model.json").read_bytes()
    model, image = load_model(model_folder), images / "000.png"
    score = model.score(image).score
    for value, said in ((score * 0.9, "anomalous"), (score, "normal")):
        out = tmp_path / said
        # Other settings have no threshold of their own, but this one holds.
        code, _, err = call("score", model_folder, image, "--out", out, "--masks", "--threshold", repr(value))
        (row,) = table_of(out)
        assert code == 0 and (float(row["score"]), row["verdict"], float(row["threshold"])) == (score, said, value)
        mask = np.asarray(Image.open(out / row["mask"]))
        assert np.array_equal(mask, model.score(image).heatmap > value / 2) and "No verdict" not in err
    assert (model_folder / "model.json").read_bytes() == before
    other = ("--aggregator", "mean", "--threshold", 1e9, "--regions")
    assert call("score", model_folder, image, "--out", tmp_path / "o", *other)[0] == 0
    assert table_of(tmp_path / "o")[0]["verdict"] == "normal" and (tmp_path / "o" / "regions.jsonl").read_text() == ""


def test_regions_are_joined_at_corners_and_sorted_by_their_peak():
    heatmap = np.zeros((6, 8), np.float32)
    heatmap[0, 0] = heatmap[1, 1] = 3  # touch at a corner
    heatmap[4:6, 5:8] = 4
    heatmap[3, 0] = 1  # not above half the threshold
    found = Verdict(heatmap, 8.0, 2.0, True, "").regions
    assert [tuple(region) for region in found] == [((5, 4, 3, 2), 6, 4.0), ((0, 0, 2, 2), 2, 3.0)]
    assert Verdict(heatmap * 0, 0.0, 2.0, False, "").regions == []
    without = Verdict(heatmap, 8.0, None, None, "No threshold is stored.")
    assert without.regions == [] and without.mask is None
