"""`score` given again keeps what is finished, and `--watch` scores what comes into a folder."""

from __future__ import annotations

import itertools
import types

import pytest
from conftest import draw_blob, write_blobs
from PIL import Image

from fmcore.data import folders
from fmcore.data.folders import arriving
from fmcore.detector import score_files as scoring


@pytest.fixture
def scored(monkeypatch):
    """How many pictures were scored since it was last emptied."""
    found, score = [], scoring.score
    monkeypatch.setattr(scoring, "score", lambda *a, **k: (found.append(1), score(*a, **k))[1])
    return found


def bytes_of(folder) -> dict:
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("extras", [(), ("--masks", "--raw", "--regions")])
def test_the_same_command_scores_only_what_is_missing_or_changed(call, tmp_path, model_folder, scored, extras):
    paths, out = write_blobs(tmp_path / "in", range(80, 85), defect=True), tmp_path / "out"
    paths[1].write_bytes(b"")
    command = ("score", model_folder, tmp_path / "in", "--out", out, *extras)
    assert call(*command)[0] == 1 and len(scored) == 4
    before, table = bytes_of(out), (out / "scores.csv").read_bytes()
    scored.clear()
    assert call(*command)[0] == 1 and not scored and bytes_of(out) == before

    (out / "scores.csv").write_bytes(table[: table.rindex(b"\r\n", 0, -2) + 20])  # cut off in its last line
    (out / "000_heat.png").unlink()
    (out / ".77.part").write_bytes(b"half a file")
    assert call(*command)[0] == 1 and len(scored) == 1 and bytes_of(out) == before

    scored.clear()
    Image.fromarray(draw_blob(90)[0]).save(paths[2])
    assert call(*command)[0] == 1 and len(scored) == 1 and bytes_of(out) != before
    scored.clear()
    assert call(*command, "--threshold", 1)[0] == 1 and len(scored) == 4


def test_rows_of_another_model_are_not_kept(call, tmp_path, model_folder, scored):
    write_blobs(tmp_path / "in", range(3))
    command = ("score", model_folder, tmp_path / "in", "--out", tmp_path / "out")
    assert call(*command)[0] == 0 and call("threshold", model_folder, "--value", 2)[0] == 0
    scored.clear()
    assert call(*command)[0] == 0 and len(scored) == 3
    assert b",2.0," in (tmp_path / "out" / "scores.csv").read_bytes()


@pytest.fixture
def clock(monkeypatch):
    """The time that `arriving` sees: a wait of its own moves it on, nothing else does."""
    now = [0.0]
    fake = types.SimpleNamespace(monotonic=lambda: now[0], sleep=lambda s: now.__setitem__(0, now[0] + s))
    monkeypatch.setattr(folders, "time", fake)
    return now


def test_a_picture_is_given_once_it_is_whole(tmp_path, clock):
    looks = arriving(tmp_path)
    assert next(looks) is None
    (path,) = write_blobs(tmp_path / "day", range(1))
    whole = path.read_bytes()
    for size in (100, 200, 300):  # grows by the look, and is never given
        path.write_bytes(whole[:size])
        assert next(looks) is None
    assert [given for given in itertools.islice(looks, 20) if given] == []  # left alone, but half
    path.write_bytes(whole)
    assert [given for given in itertools.islice(looks, 20) if given] == [(path, "day/000.png")]
    (broken := tmp_path / "broken.png").write_bytes(whole[:300])
    started = clock[0]
    assert next(given for given in looks if given) == (broken, "broken.png")
    assert clock[0] - started == pytest.approx(folders.PATIENCE, abs=2 * folders.QUIET)


def test_watching_goes_on_after_a_restart_without_scoring_twice(
    call, tmp_path, model_folder, scored, clock, monkeypatch
):
    watched, rows = tmp_path / "in", []

    def come(folder):
        for look, given in enumerate(arriving(folder)):
            yield given
            if look == 40:
                raise KeyboardInterrupt

    monkeypatch.setattr("fmcore.cli.model.arriving", come)
    command = ("score", model_folder, watched, "--out", watched / "out", "--watch")
    write_blobs(watched, range(2))
    Image.fromarray(draw_blob(3)[0]).save(watched / "000.bmp")  # the suffix alone differs
    for number in (3, 0, 1):
        code, out, _ = call(*command)
        assert code == 130 and len(scored) == len(out.splitlines()) == number
        rows.append((watched / "out" / "scores.csv").read_bytes())
        if number == 0:
            assert rows[0] == rows[1]
            write_blobs(watched / "late", range(9, 10))
        scored.clear()
    assert rows[2].startswith(rows[1]) and rows[2].count(b"\r\n") == 5 and b"late/000.png_heat.png" in rows[2]
    assert len(list((watched / "out").rglob("*_heat.png"))) == 4


def test_watching_takes_one_folder(call, tmp_path, model_folder):
    (path,) = write_blobs(tmp_path / "in", range(1))
    for given in ([path], [tmp_path / "in", tmp_path / "in"]):
        code, _, err = call("score", model_folder, *given, "--out", tmp_path / "out", "--watch")
        assert code == 2 and "one folder" in err and not (tmp_path / "out").exists()
