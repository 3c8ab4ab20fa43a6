"""The Batch tab's work: what is taken in, scored, shown and taken away."""

from __future__ import annotations

import csv
import io
import json
import shutil
import zipfile
from pathlib import Path

import gradio as gr
import numpy as np
import pytest
from conftest import SIZE, assert_one_sentence, draw_blob, write_blobs
from PIL import Image

from demo.batch import batch as work
from demo.batch import incoming, tab
from demo.batch.download import write_zip
from demo.batch.incoming import Given
from demo.batch.view import batch_message
from demo.common import messages
from fmcore.data.picture import read_picture
from fmcore.detector.score import find_regions, mark
from fmcore.detector.score import score as score_picture
from fmcore.errors import DataError, SettingsError
from fmcore.evaluation.metrics import auroc


@pytest.fixture(scope="module")
def archive(tmp_path_factory) -> Path:
    """Labelled pictures in a data set's layout, one of them damaged, and one that leads out of it."""
    root = tmp_path_factory.mktemp("zip")
    good, bad = write_blobs(root / "g", range(100, 104)), write_blobs(root / "b", range(200, 204), defect=True)
    with zipfile.ZipFile(root / "set.zip", "w") as file:
        for number, path in enumerate(good):
            file.write(path, f"set/test/good/{number}.png")
            file.write(path, f"set/train/good/{number}.png")
        for number, path in enumerate(bad):
            file.write(path, f"set/test/big_square/{number}.png")
            file.write(path, f"set/ground_truth/big_square/{number}_mask.png")
        file.writestr("set/test/big_square/cut.png", bad[0].read_bytes()[:500])
        file.writestr("set/test/../../good/x.png", b"")
    return root / "set.zip"


@pytest.fixture(scope="module")
def batch(gaussian_model, archive, tmp_path_factory) -> work.Batch:
    batch = work.Batch(gaussian_model, "Blobs", "blob")
    list(work.run(batch, incoming.pictures([archive], tmp_path_factory.mktemp("unpacked"))))
    return batch


def test_folders_become_labels_and_a_bad_file_stops_nothing(batch):
    rows, skipped = batch.finished()
    assert [row.label for row in rows] == ["big square"] * 4 + ["good"] * 4
    assert rows[0].name == "big_square/0.png" and len(skipped) == 2
    assert "leads out" in skipped[0] + skipped[1] and "cut.png" in skipped[0] + skipped[1]


def test_scores_are_those_of_the_command_line(batch, gaussian_model, tmp_path):
    (path,) = write_blobs(tmp_path, range(200, 201), defect=True)
    expected = score_picture(gaussian_model, read_picture(path))
    verdict = batch.finished()[0][0].verdict
    assert (verdict.score, verdict.anomalous) == (expected.score, expected.anomalous)


def test_labels_need_a_folder_of_good_ones(archive, tmp_path):
    path = write_blobs(tmp_path, range(1))[0]
    with zipfile.ZipFile(tmp_path / "flat.zip", "w") as file:
        file.write(path, "monday/a.png")
        file.write(path, "a.png")
    given = list(incoming.pictures([tmp_path / "flat.zip", path, path], tmp_path / "out"))
    assert [one.label for one in given] == [None] * 4
    assert [one.name for one in given] == ["a.png", "monday/a.png", "000.png #1", "000.png #2"]


def test_too_many_pictures_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(incoming, "MOST", 2)
    with pytest.raises(SettingsError, match="More than 2 pictures"):
        list(incoming.pictures(write_blobs(tmp_path, range(3)), tmp_path / "out"))


def test_nothing_readable_is_an_error(gaussian_model, tmp_path):
    (tmp_path / "a.png").write_text("no image")
    with pytest.raises(DataError, match=r"a\.png"):
        list(work.run(work.Batch(gaussian_model, "", "blob"), [Given("a.png", tmp_path / "a.png")]))


def test_message_carries_scores_maps_and_auroc(batch):
    head, arrays = messages.unpack(batch_message(batch))
    rows, _ = batch.finished()
    assert [row["score"] for row in head["rows"]] == [row.verdict.score for row in rows]
    assert arrays["maps"].shape == (8, SIZE, SIZE)
    assert head["auroc"] == auroc(
        np.array([r.verdict.score for r in rows]), np.array([r.label != "good" for r in rows])
    )
    assert head["threshold"] == batch.model.threshold().value and len(head["skipped"]) == 2
    assert head["good"] == list(batch.model.info.categories["blob"].scores)


@pytest.mark.parametrize("threshold", [3.0, None])
def test_everything_can_be_taken_away(batch, tmp_path, threshold):
    rows, _ = batch.finished()
    with zipfile.ZipFile(write_zip(tmp_path, batch, threshold)) as archive:
        table = list(csv.DictReader(io.StringIO(archive.read("scores.csv").decode())))
        by_name = {row.name: row.verdict for row in rows}
        assert [float(line["score"]) for line in table] == sorted((r.verdict.score for r in rows), reverse=True)
        for line in table:
            found = by_name[line["name"]]
            raw = np.load(io.BytesIO(archive.read(f"maps/{line['files']}.npy")))
            np.testing.assert_array_equal(raw, found.heatmap)
            assert f"heatmaps/{line['files']}_heat.png" in archive.namelist()
            if threshold is not None:
                assert line["anomalous"] == str(found.score > threshold)
                mask = Image.open(io.BytesIO(archive.read(f"masks/{line['files']}_mask.png")))
                np.testing.assert_array_equal(np.asarray(mask), mark(found.heatmap, threshold))
                assert int(line["regions"]) == len(find_regions(found.heatmap, threshold))
            else:
                assert line["anomalous"] == "" and not any("mask" in name for name in archive.namelist())
        assert "Skipped" in archive.read("about.txt").decode()


def test_large_pictures_are_written_smaller(gaussian_model, tmp_path):
    Image.fromarray(draw_blob(1, size=1500)[0]).save(tmp_path / "large.png")
    batch = work.Batch(gaussian_model, "", "blob")
    list(work.run(batch, [Given("large.png", tmp_path / "large.png")]))
    folder = tmp_path / "out"
    folder.mkdir()
    with zipfile.ZipFile(write_zip(folder, batch, None)) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".npy"))
        assert np.load(io.BytesIO(archive.read(name))).shape == (1024, 1024)
    head = json.loads(batch_message(batch))
    assert head["rows"][0]["size"] == [1500, 1500] and head["auroc"] is None


def choices(archive) -> tuple:
    return [{"path": str(archive)}], "gaussian", "blob", None


@pytest.fixture
def blobs(gaussian_model, category_folder, tmp_path, monkeypatch):
    gaussian_model.save(tmp_path / "gaussian")
    shutil.copytree(category_folder, tmp_path / "examples" / "blob")
    monkeypatch.setenv("FLOW_MISMATCHING_EMBEDDED", str(tmp_path))


def test_a_stopped_batch_shows_what_was_finished(blobs, archive, monkeypatch):
    monkeypatch.setattr(work, "PAUSE", 0.0)
    running = tab._run(*choices(archive))
    for _, token in running:
        if token is not None and work.BATCHES.get(token).rows:
            break
    running.close()
    head, arrays = messages.unpack(tab._show_stopped(token))
    assert head["kind"] == "batch" and head["stopped"] and 1 <= len(head["rows"]) == len(arrays["maps"]) < 8
    assert "before the first" in json.loads(tab._show_stopped("gone"))["note"]


def test_examples_are_scored_where_there_are_no_pictures_and_own_models_wait_for_some(blobs):
    *_, (message, token) = tab._run(None, "gaussian", "blob", None)
    head, _ = messages.unpack(message)
    assert len(head["rows"]) == 8 and head["auroc"] is not None and work.BATCHES.get(token).size < work.SIZE
    ((message, token),) = tab._run(None, "own", None, "token")
    assert json.loads(message)["kind"] == "empty" and token is None
    (first, _), *_ = tab._run_changed(None, "own", None, None)
    assert "First fit" in json.loads(first)["note"]


def test_a_bad_request_ends_in_one_sentence_on_an_empty_screen(blobs, archive, tmp_path):
    (tmp_path / "no.zip").write_text("no")
    for request, part in (
        (choices(tmp_path / "no.zip"), "not a zip file"),
        ((None, "resnet", "blob", None), "no model"),
        (([{"path": "a.png"}] * 501, "gaussian", "blob", None), "at most 500"),
    ):
        running, seen = tab._run(*request), []
        with pytest.raises(gr.Error) as caught:
            for message, _ in running:
                seen.append(json.loads(message))
        assert_one_sentence(caught.value.message, part)
        assert seen[-1]["kind"] == "empty" and part in seen[-1]["note"]


def test_menus_left_as_they_were_change_nothing(blobs):
    assert "value" not in tab._menu_changed(["gaussian", "blob"], "gaussian", "blob")[0]
    assert tab._menu_changed(["unet", "blob"], "gaussian", "blob")[1] == ["gaussian", "blob"]


def test_a_download_is_judged_at_the_threshold_of_the_page(batch):
    token = work.BATCHES.put(batch, batch.size)
    for threshold, part in (("3", "a number"), ([1], "a number"), (float("nan"), "not usable"), (-1, "not usable")):
        with pytest.raises(gr.Error, match=part):
            list(tab._download(token, gr.EventData(None, {"threshold": threshold})))
    with pytest.raises(gr.Error, match="made room"):
        list(tab._download("gone", gr.EventData(None, {"threshold": 1.0})))
    running = tab._download(token, gr.EventData(None, {"threshold": 1.0}))
    assert Path(next(running)["value"]).name == "flow-mismatching-batch.zip"
