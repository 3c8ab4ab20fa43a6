"""`score` with further results: masks, raw maps, regions, and a threshold of one's own."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from conftest import draw_blob, write_blobs
from PIL import Image

from fmcore.detector.model import load_model
from fmcore.detector.score import Result

COLUMNS = ["file", "score", "threshold", "verdict", "error"]


def rows_of(folder) -> list[dict]:
    with (folder / "scores.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


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
    rows = rows_of(tmp_path / "out")
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
    assert list(rows_of(tmp_path / "out")[0]) == [*COLUMNS, "heatmap", column]
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
        (row,) = rows_of(out)
        assert code == 0 and (float(row["score"]), row["verdict"], float(row["threshold"])) == (score, said, value)
        mask = np.asarray(Image.open(out / row["mask"]))
        assert np.array_equal(mask, model.score(image).heatmap > value / 2) and "No verdict" not in err
    assert (model_folder / "model.json").read_bytes() == before
    other = ("--aggregator", "mean", "--threshold", 1e9, "--regions")
    assert call("score", model_folder, image, "--out", tmp_path / "o", *other)[0] == 0
    assert rows_of(tmp_path / "o")[0]["verdict"] == "normal" and (tmp_path / "o" / "regions.jsonl").read_text() == ""


def test_regions_are_joined_at_corners_and_sorted_by_their_peak():
    heatmap = np.zeros((6, 8), np.float32)
    heatmap[0, 0] = heatmap[1, 1] = 3  # touch at a corner
    heatmap[4:6, 5:8] = 4
    heatmap[3, 0] = 1  # not above half the threshold
    found = Result(heatmap, 8.0, 2.0, True, "").regions
    assert [tuple(region) for region in found] == [((5, 4, 3, 2), 6, 4.0), ((0, 0, 2, 2), 2, 3.0)]
    assert Result(heatmap * 0, 0.0, 2.0, False, "").regions == []
    without = Result(heatmap, 8.0, None, None, "No threshold is stored.")
    assert without.regions == [] and without.mask is None
