"""What the report reads back from runs: only what ran, with what failed and why; tables say n/a, never 0."""

from __future__ import annotations

import json

import numpy as np
import pytest
from conftest import assert_one_sentence
from notebook_helpers import NOTEBOOKS
from PIL import Image

from figures import report
from figures.pictures import Panel, extremes, gallery
from figures.report import other_runs, read_runs
from figures.tables import TITLES, Cell, Table, difference_table, metric_cell, metrics_table, summary_table
from fmcore.errors import DataError
from fmcore.evaluation.evaluate import mean_of
from fmcore.evaluation.metrics import auroc, auroc_difference

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


def write_run(folder, status="done", error=None, metrics=True, result=RESULT):
    folder.mkdir(parents=True)
    record = {"status": status, "error": error, "seconds": 12.0, "data": {"files": 3, "sha256": "abc"}}
    (folder / "run.json").write_text(json.dumps(record))
    if metrics:
        (folder / "metrics.json").write_text(json.dumps({"result": result, "decomposition": {}}))


def test_failed_and_unfinished_categories_are_listed_with_their_reason(tmp_path):
    write_run(tmp_path / "a")
    write_run(tmp_path / "b", "failed", "Three workers died.", metrics=False)
    write_run(tmp_path / "c", metrics=False)
    found = read_runs(tmp_path, "a,b,c,d")
    assert list(found.results) == ["a"] and list(found.failed) == ["b", "c", "d"]
    html = found.status_table()._repr_html_()
    assert "failed. Three workers died." in html and "never finished" in html and "3 files, abc" in html
    kept = found.numbers(None)["categories"]["a"]
    assert kept["image_auroc"] == RESULT["image_auroc"] and "images" not in kept
    assert list(read_runs(tmp_path).results) == ["a"]


def test_a_report_on_nothing_is_refused(tmp_path):
    write_run(tmp_path / "b", "failed", "Three workers died.", metrics=False)
    for folder, parts in ((tmp_path, ("nothing to report", "Three workers died.")), (tmp_path / "no", ("no folder",))):
        with pytest.raises(DataError) as caught:
            read_runs(folder)
        assert_one_sentence(caught.value, *parts)


def test_the_verdict_is_two_sentences_and_one_table_that_names_what_failed(tmp_path):
    write_run(tmp_path / "a")
    found = read_runs(tmp_path)
    assert found.verdict(None) == (
        "For a the image AUROC is 98.8 % and the pixel AUROC is n/a %. At the threshold set on good training images, "
        "0 of 1 good test images are false alarms, and 1 of 2 defective ones are missed."
    )
    assert "Failed" not in summary_table(found.results).caption
    write_run(tmp_path / "b", "failed", "Three workers died.", metrics=False)
    write_run(tmp_path / "c", result=RESULT | {"threshold": None, "false_alarms": None, "misses": None})
    found = read_runs(tmp_path)
    mean = mean_of(found.results)
    assert "Over 2 categories" in found.verdict(mean) and "where there is one (1 categories), 0 of 1" in found.verdict(
        mean
    )
    table = summary_table(found.results, mean, found.failed)
    assert table.caption.endswith("Failed, and not in this table: b.") and len(table.rows) == 3
    html = table._repr_html_()
    assert html.count("0 of 1") == html.count("1 of 2") == 1 and '<tr class="mean">' in html
    alone = read_runs(tmp_path, "c")
    assert alone.verdict(None).endswith("There is no threshold, so there are no verdicts.")


def test_what_did_not_run_has_no_section(tmp_path):
    write_run(tmp_path / "a")
    found = read_runs(tmp_path)
    assert not found.files("extremes.png") and not found.decompositions()
    (tmp_path / "a" / "extremes.png").write_bytes(b"")
    assert list(found.files("extremes.png")) == ["a"]


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
    picture = np.zeros((16, 16, 3), dtype=np.uint8)
    shown = [
        (Panel(picture, "x", m), Panel(np.full((4, 4), v, dtype=np.float32), mask=m))
        for v, m in ((1.0, mask), (5.0, None))
    ]
    figure = gallery({"row": shown}, scale=2.0)
    images = [a for a in figure.axes if a.images]
    maps = [a.images[0] for a in images if a.images[0].get_array().ndim == 2]
    assert {m.get_clim() for m in maps} == {(0.0, 2.0)} and len(maps) == 2
    outlines = [(a, c) for a in images for c in a.collections]
    assert len(outlines) == 2 and all(c.get_linewidths().max() < 2 and c.filled is False for _, c in outlines)
    for axes, outline in outlines:  # it surrounds rows and columns 2 to 4 of 8, whatever the size of what is shown
        side = axes.images[0].get_array().shape[0]
        corners = outline.get_paths()[0].vertices
        np.testing.assert_allclose((corners.min(0) + 0.5) / side, 2 / 8, atol=0.02)
        np.testing.assert_allclose((corners.max(0) + 0.5) / side, 5 / 8, atol=0.02)


def scored(scores: list[float], folder: str = "x") -> dict:
    """An evaluation of four good and four defective images with these scores, and other figures that are undefined."""
    images = [
        {"file": f"{folder}/test/{'dent' if n > 3 else 'good'}/{n}.png", "kind": "", "defective": n > 3, "score": s}
        for n, s in enumerate(scores)
    ]
    labels = np.array([image["defective"] for image in images])
    return RESULT | {"images": images, "image_auroc": auroc(np.array(scores), labels), "aupro": 0.5}


def test_two_runs_are_compared_on_the_same_images_with_paired_intervals(tmp_path):
    better, worse = scored([1, 2, 3, 4, 5, 6, 7, 8], "here"), scored([1, 2, 3, 6, 4, 5, 7, 8], "there")
    worse["images"].append(worse["images"][0] | {"file": "there/test/good/new.png", "score": 99.0})
    worse["aupro"] = 0.4
    table = difference_table({"a": better, "b": worse, "c": better}, {"a": worse, "b": better})
    assert [row[0] for row in table.rows] == ["a", "b", "mean"] and table.last_is_mean
    row = table.rows[0]
    assert row[1:3] == ["100.0", "87.5"] and row[3].text == "+12.5" and row[-1] == 8
    assert row[4] == Cell("n/a") and row[5] == Cell("+10.0")
    value, interval = auroc_difference(
        np.arange(8) > 3, np.arange(1.0, 9)[None], np.array([[1, 2, 3, 6, 4, 5, 7, 8.0]])
    )
    assert value == 0.125 and row[3].small == f"{100 * interval[0]:+.1f} to {100 * interval[1]:+.1f}"
    assert table.rows[1][3].text == "-12.5" and table.rows[2][3].text == "+0.0"
    nothing = difference_table({"a": better}, {"a": scored([1] * 8) | {"images": []}})
    assert nothing.rows[0][3] == Cell("n/a") and not nothing.last_is_mean


def test_another_report_or_the_runs_themselves_can_be_compared_with(tmp_path):
    assert other_runs("") is None
    write_run(tmp_path / "report" / "categories" / "a")
    for folder in ("report", "report/categories"):
        assert list(other_runs(str(tmp_path / folder)).results) == ["a"]
    with pytest.raises(DataError, match="no folder"):
        other_runs(str(tmp_path / "nowhere"))


def test_a_report_over_many_categories_keeps_to_the_size_of_a_page(tmp_path, monkeypatch):
    shown: list = []
    monkeypatch.setattr(report, "display", lambda *parts: shown.extend(parts))
    noise = np.random.default_rng(0).integers(0, 256, (1500, 1200, 3), dtype=np.uint8)
    for name in "abcdefghij":
        write_run(tmp_path / name)
        Image.fromarray(noise).save(tmp_path / name / "extremes.png", compress_level=0)
        (tmp_path / name / "hover.json").write_text(json.dumps({f"{name}{n}": "x" * 5000 for n in range(60)}))
    found = read_runs(tmp_path)
    kept = found.thumbnails()
    assert 150 < len(kept) < 200 and {file[0] for file in kept} == set("abcdefghij")
    found.show_galleries()
    assert len(shown) == 10 and sum(len(part.data) for part in shown) < 1_700_000
