"""Real files and machines: odd names, consoles that are not UTF-8, blocked results, Ctrl-C, the home folder."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import ROOT, assert_one_sentence, write_blobs
from PIL import Image

from fmcore.detector.model import load_model

QUICK = ("--encoder", "none", "--size", 32, "--paths", 2, "--times", 3)


def rows_of(folder) -> list[dict]:
    with (folder / "scores.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def run(*arguments: object, **environment: str) -> subprocess.CompletedProcess:
    """A process whose output is bytes."""
    command = [sys.executable, "-m", "fmcore", *(a if isinstance(a, bytes) else str(a) for a in arguments)]
    return subprocess.run(command, cwd=ROOT, env=os.environ | environment, capture_output=True, timeout=120)


@pytest.mark.parametrize("name", [244 * "n" + ".png", 80 * "検" + ".png", 251 * "n" + ".png"])
def test_a_name_too_long_for_its_results_is_an_error_of_one_row(call, tmp_path, model_folder, name):
    paths = write_blobs(tmp_path / "in", range(3))
    paths[1].rename(tmp_path / "in" / name)
    code, _, err = call("score", model_folder, tmp_path / "in", "--out", tmp_path / "out")
    rows = {os.path.basename(row["file"]): row for row in rows_of(tmp_path / "out")}
    fits = len((name.removesuffix(".png") + "_heat.png").encode()) <= 255
    assert len(rows) == 3 and code == (0 if fits else 1) and f"{3 if fits else 2} of 3 images scored" in err
    assert all(float(row["score"]) > 0 for row in rows.values())
    if not fits:
        assert_one_sentence(rows[name]["error"], name, "too long")
    assert [row["error"] for other, row in rows.items() if other != name] == ["", ""]


def test_names_that_are_not_utf8_are_scored_and_written_as_escapes(call, tmp_path, model_folder):
    (source,) = write_blobs(tmp_path / "in", range(1))
    folder = os.fsencode(tmp_path / "in")
    shutil.copy(os.fsencode(source), folder + b"/caf\xe9.png")
    with open(folder + b"/br\xf6ken.png", "wb") as file:
        file.write(b"x")
    code, _, err = call(
        "score", model_folder, tmp_path / "in", "--out", tmp_path / "out", "--regions", "--threshold", 0
    )
    assert code == 1 and "Traceback" not in err and "2 of 3 images scored" in err
    rows = rows_of(tmp_path / "out")
    assert {os.path.basename(row["file"]) for row in rows} == {"000.png", "caf\\xe9.png", "br\\xf6ken.png"}
    assert [bool(row["error"]) for row in rows] == [False, True, False]
    lines = (tmp_path / "out" / "regions.jsonl").read_text(encoding="utf-8").splitlines()
    assert {json.loads(line)["file"] for line in lines} == {row["file"] for row in rows if not row["error"]}
    code, _, err = call("fit", tmp_path / "in", "--out", tmp_path / "fitted", *QUICK)
    assert code == 2 and "2 readable" in err and "Traceback" not in err
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/d\xe9tails"))
    write_blobs(odd, range(4))
    assert call("fit", odd, "--out", tmp_path / "fitted", *QUICK)[0] == 0
    assert load_model(tmp_path / "fitted").categories == ("d\\xe9tails",)


@pytest.mark.parametrize(
    ("environment", "name"),
    [
        ({"PYTHONIOENCODING": "cp1252"}, b"\\u58ca.png"),
        ({"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, b"\\udce5\\udca3\\udc8a.png"),
    ],
    ids=["cp1252", "ascii"],
)
def test_a_console_that_cannot_show_a_name_stops_nothing(tmp_path, model_folder, environment, name):
    folder = tmp_path / "検査"
    paths = write_blobs(folder, range(4))
    paths[0].rename(folder / "部品-ü.png")
    (folder / "壊.png").write_bytes(b"x")
    done = run("score", model_folder, folder, "--out", tmp_path / "out", **environment)
    assert done.returncode == 1 and b"4 of 5 images scored" in done.stderr and b"Traceback" not in done.stderr
    assert name in done.stderr
    assert {os.path.basename(row["file"]) for row in rows_of(tmp_path / "out")} >= {"部品-ü.png", "壊.png"}


def test_what_a_console_cannot_show_is_whole_in_the_file(tmp_path):
    write_blobs(tmp_path / "検査", range(2))
    (tmp_path / "検査" / "壊.png").write_bytes(b"x")
    done = run("check", tmp_path / "検査", "--json", tmp_path / "found.json", PYTHONIOENCODING="cp1252")
    assert done.returncode == 1 and b"\\u58ca.png" in done.stdout
    found = json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))
    assert list(found["categories"]) == ["検査"] and len(found["damaged"]) == 1


def test_a_blocked_table_is_told_before_the_work(call, tmp_path, model_folder, category_folder):
    (tmp_path / "out" / "scores.csv").mkdir(parents=True)
    code, _, err = call("score", model_folder, category_folder, "--out", tmp_path / "out")
    assert code == 2 and [p.name for p in (tmp_path / "out").iterdir()] == ["scores.csv"]
    assert_one_sentence(err, "scores.csv", "is a folder")


def test_a_folder_that_may_not_be_written_is_told_before_the_work(call, tmp_path, model_folder, category_folder):
    (tmp_path / "out").mkdir(mode=0o500)
    # The superuser may write everywhere but where the kernel makes the files.
    closed = Path("/proc") if os.geteuid() == 0 else tmp_path / "out"
    code, _, err = call("score", model_folder, category_folder, "--out", closed / "deep")
    assert code == 2
    assert_one_sentence(err, "cannot be written")


def test_a_disk_that_fills_up_is_one_sentence(call, tmp_path, model_folder, category_folder, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device", str(tmp_path / "out" / "scores.csv"))
        yield

    monkeypatch.setattr("fmcore.cli.model.score_files", full)
    code, _, err = call("score", model_folder, category_folder, "--out", tmp_path / "out")
    assert code == 2
    assert_one_sentence(err, "scores.csv", "No space left")


def test_results_that_cannot_be_written_are_errors_of_their_rows(call, tmp_path, model_folder):
    write_blobs(tmp_path / "in", range(2))
    (tmp_path / "out" / "000_heat.png").mkdir(parents=True)
    code, _, err = call("score", model_folder, tmp_path / "in", "--out", tmp_path / "out")
    first, second = rows_of(tmp_path / "out")
    assert code == 1 and "1 of 2 images scored" in err and second["error"] == ""
    assert_one_sentence(first["error"], "'000.png'", "cannot be written")
    assert first["score"] and first["verdict"]


def test_ctrl_c_says_so_and_keeps_the_finished_rows(tmp_path, model_folder):
    picture = Image.open(write_blobs(tmp_path / "in", range(1))[0])
    for number in range(400):
        picture.save(tmp_path / "in" / f"{number:03d}.bmp")
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "fmcore",
            "score",
            str(model_folder),
            str(tmp_path / "in"),
            "--out",
            str(tmp_path / "o"),
        ],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    deadline = time.monotonic() + 60
    while not list((tmp_path / "o").glob("*_heat.png")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and "Interrupted." in err and "Traceback" not in err
    rows = rows_of(tmp_path / "o")
    assert 0 < len(rows) < 400 and all(row["score"] for row in rows)


@pytest.mark.parametrize("where", ["load_model", "name_files"])
def test_ctrl_c_before_the_first_image_says_so(call, tmp_path, model_folder, monkeypatch, where):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(f"fmcore.cli.model.{where}", interrupted)
    code, out, err = call("score", model_folder, tmp_path, "--out", tmp_path / "o")
    assert (code, out, err) == (130, "", "Interrupted.\n")


def test_the_home_folder_is_understood_between_quotes(call, tmp_path, model_folder, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    write_blobs(tmp_path / "in", range(2))
    assert call("score", "~/model", "~/in/000.png", "~/in", "--out", "~/out")[0] == 0
    assert len(list((tmp_path / "out").glob("*_heat.png"))) == 3
    assert call("check", "~/in", "--json", "~/found.json")[0] == 0 and (tmp_path / "found.json").exists()
    assert call("threshold", "~/model", "--from", "~/in", "--false-alarm-rate", 0.5)[0] == 0
