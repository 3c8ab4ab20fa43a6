"""What the report reads back from runs: only what ran, with what failed and why; tables say n/a, never 0."""

from __future__ import annotations

import json

import numpy as np
import pytest
from conftest import assert_one_sentence
from notebook_helpers import NOTEBOOKS

from fmcore.errors import DataError
from fmcore.evaluation.benchmark_results import result_path
from nbtools.pictures import Shown, extremes, gallery
from nbtools.report import read_runs
from nbtools.tables import TITLES, Cell, Table, methods_table, metric_cell, metrics_table

assert NOTEBOOKS.is_dir()

RESULT = {
    **dict.fromkeys(TITLES),
    "image_auroc": 0.98765,
    "intervals": {"image_auroc": [0.9, 1.0], "pixel_auroc": None},
    "n_good": 1,
    "n_defective": 2,
    "n_masks": 0,
    "threshold": {"value": 2.0, "false_alarm_rate": 0.05, "held_out": 19},
    "false_alarms": 0,
    "misses": 1,
    "unreadable": [],
    "seconds_per_image": 0.1234,
    "images": [
        {"file": "g", "kind": "good", "defective": False, "score": 1.0},
        {"file": "a", "kind": "dent", "defective": True, "score": 3.0},
        {"file": "b", "kind": "dent", "defective": True, "score": 1.5},
    ],
}


def write_run(folder, status="done", error=None, metrics=True):
    folder.mkdir(parents=True)
    record = {"status": status, "error": error, "seconds": 12.0, "data": {"files": 3, "sha256": "abc"}}
    (folder / "run.json").write_text(json.dumps(record))
    if metrics:
        (folder / "metrics.json").write_text(json.dumps({"result": RESULT, "decomposition": {}}))


def test_failed_and_unfinished_categories_are_listed_with_their_reason(tmp_path):
    write_run(tmp_path / "a")
    write_run(tmp_path / "b", "failed", "Three workers died.", metrics=False)
    write_run(tmp_path / "c", metrics=False)
    found = read_runs(tmp_path, "a,b,c,d")
    assert list(found.results) == ["a"] and list(found.failed) == ["b", "c", "d"]
    html = found.status_table()._repr_html_()
    assert "failed. Three workers died." in html and "never finished" in html and "3 files, abc" in html
    assert found.figures()["a"]["image_auroc"] == RESULT["image_auroc"] and "images" not in found.figures()["a"]
    assert list(read_runs(tmp_path).results) == ["a"]


def test_a_report_on_nothing_is_refused(tmp_path):
    write_run(tmp_path / "b", "failed", "Three workers died.", metrics=False)
    for folder, parts in ((tmp_path, ("nothing to report", "Three workers died.")), (tmp_path / "no", ("no folder",))):
        with pytest.raises(DataError) as caught:
            read_runs(folder)
        assert_one_sentence(caught.value, *parts)


def test_metrics_are_printed_in_per_cent_with_their_interval_and_undefined_ones_as_such():
    assert metric_cell(RESULT, "image_auroc") == Cell("98.8", "90.0 to 100.0")
    assert metric_cell(RESULT, "pixel_auroc") == metric_cell(RESULT, "aupro") == Cell("n/a")
    table = metrics_table({"a": RESULT}, RESULT)
    assert [str(h) for h in table.head][1:] == list(TITLES.values()) and len(table.rows) == 2
    html = table._repr_html_()
    assert html.count("98.8") == 2 and html.count("n/a") == 2 * (len(TITLES) - 1) and '<tr class="mean">' in html
    assert "98.8 90.0 to 100.0" in repr(table)
    assert "&lt;b&gt;" in Table(["<b>"], [["<b>"]])._repr_html_()


def test_kinds_are_counted_at_the_threshold(tmp_path):
    write_run(tmp_path / "a")
    rows = [[str(v) for v in row] for row in read_runs(tmp_path).kinds_table().rows]
    assert rows == [["a", "good", "0 of 1", "1 to 1", "2"], ["a", "dent", "1 of 2", "1.5 to 3", "2"]]


def test_extremes_never_show_an_image_as_best_and_worst():
    found = extremes(RESULT["images"])
    assert [[i["file"] for i in found[key]] for key in ("best", "worst", "alarms")] == [["a"], ["b"], ["g"]]
    one = extremes(RESULT["images"][:2])
    assert len(one["best"]) == 1 and one["worst"] == []


def test_the_true_outline_is_a_thin_line_on_picture_and_map_of_one_scale():
    mask = np.zeros((8, 8), dtype=bool)
    mask[2:5, 2:5] = True
    picture = np.zeros((8, 8, 3), dtype=np.uint8)
    shown = [Shown("x", picture, np.full((8, 8), v, dtype=np.float32), m) for v, m in ((1.0, mask), (5.0, None))]
    figure = gallery({"row": shown}, scale=2.0)
    images = [a for a in figure.subfigs[0].axes if a.images]
    maps = [a.images[0] for a in images if a.images[0].get_array().ndim == 2]
    assert {m.get_clim() for m in maps} == {(0.0, 2.0)}
    outlines = [c for a in images for c in a.collections]
    assert len(outlines) == 2 and all(c.get_linewidths().max() < 2 and c.filled is False for c in outlines)


def test_other_methods_are_shown_with_spread_and_interval_or_said_to_be_absent(tmp_path):
    assert "benchmark" in methods_table("")
    for seed, value in enumerate((0.9, 0.94)):
        result = {
            **dict.fromkeys(TITLES),
            "image_auroc": value,
            "intervals": {"image_auroc": [0.85, 0.99]},
            **{"category": "gear", "method": "nearest", "seed": seed, "settings": {"size": 32}},
            **{"fit_seconds": 90.0, "seconds_per_image": 0.1, "cost_of_choice": 0.01},
        }
        for method, top in (("nearest", 2.0), ("with-tiles:unet", 4.0)):
            scores = zip((1.0, 3.0, top, 5.0), (False, False, True, True), strict=True)
            scored = [{"file": str(i), "score": s, "defective": d} for i, (s, d) in enumerate(scores)]
            path = result_path(tmp_path, "gear", method, seed)
            path.parent.mkdir(exist_ok=True)
            path.write_text(json.dumps({**result, "method": method, "scored": scored}))
    table = methods_table(str(tmp_path))
    row, own = table.rows
    assert row[:3] == ["gear", "nearest", 2] and row[-1] == "1.5"
    assert row[-2].text == "-25.0" and row[-2].small == "-100.0 to +0.0" and own[-2] == Cell("-")
    assert "to with-tiles:unet" in table.caption
    assert row[3] == Cell("92.0 ± 2.0", "85.0 to 99.0") and row[4] == Cell("n/a")
    assert "92.0 ± 2.0" in table._repr_html_()
