"""kill -9 at random moments: nothing finished is lost, the same command goes on, and the end is the same to the bit.

A few kills of each command in every run of the tests; as many as KILLS says when run by hand:
``KILLS=20 python -m pytest tests/cli/test_kill.py``.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import ROOT, write_blobs, write_category

KILLS = int(os.environ.get("KILLS", 1))
PIXELS = ("--encoder", "none", "--size", "32", "--paths", "2", "--times", "3")
TIMES = {"seconds", "seconds_of_training", "seconds_per_image", "started"}  # what no two runs have alike


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("kill")
    write_category(root / "blob")
    write_blobs(root / "new", range(300, 330), defect=True)
    write_blobs(root / "many", range(150))
    run(("fit", root / "blob", "--out", root / "model", *PIXELS, "--false-alarm-rate", 0.2))
    return root


def command_of(data: Path, name: str, out: Path) -> tuple:
    return {
        "gaussian": ("fit", data / "many", "--out", out, *PIXELS),
        "unet": ("fit", data / "blob", "--out", out, "--field", "unet", "--steps", 60, "--widths", "16,16", *PIXELS),
        "score": ("score", data / "model", data / "new", "--out", out, "--masks", "--raw", "--regions"),
        "evaluate": ("evaluate", data / "model", data / "blob", "--json", out / "e.json", "--bootstrap", 3000),
        "report": (ROOT / "notebooks" / "run.py", "07", "--data", data / "blob", "--out", out, "-p", "encoder", "none"),
    }[name]


def start(command: tuple) -> subprocess.Popen:
    words = [*([] if str(command[0]).endswith(".py") else ["-m", "fmcore"]), *map(str, command)]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "start_new_session": True}
    return subprocess.Popen([sys.executable, *words], cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, **quiet)


def run(command: tuple) -> float:
    """Runs to the end; its seconds."""
    started, process = time.perf_counter(), start(command)
    assert (process.communicate(timeout=300)[1], process.returncode)[1] == 0
    return time.perf_counter() - started


def without_times(value):
    if isinstance(value, dict):
        return {key: without_times(inner) for key, inner in value.items() if key not in TIMES}
    return [without_times(inner) for inner in value] if isinstance(value, list) else value


def results_of(folder: Path, name: str) -> dict:
    """Bytes of what was left behind, times taken out; of a report the figures and numbers."""
    kept = {p.relative_to(folder): p for p in sorted(folder.rglob("*")) if p.is_file()}
    kept.pop(Path("checkpoint.safetensors"), None)  # of a training that is a model now
    if name == "report":
        kept = {where: p for where, p in kept.items() if where.name == "metrics.json" or where.suffix == ".png"}
        assert (folder / "07_report.html").is_file()
    assert not [where for where in kept if where.name.endswith((".part", ".partial")) or where.name.startswith(".")]
    return {
        where: without_times(json.loads(p.read_text().replace(str(folder), "OUT")))
        if p.suffix == ".json"
        else p.read_bytes()
        for where, p in kept.items()
    }


COMMANDS = ("gaussian", "unet", "score", "evaluate", "report")


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in COMMANDS])
def test_a_killed_command_goes_on_and_ends_alike(data, tmp_path, name):
    seconds = run(command_of(data, name, tmp_path / "whole"))
    expected, moments = results_of(tmp_path / "whole", name), random.Random(name)
    assert expected
    for _ in range(1 if name == "report" and KILLS < 3 else KILLS):
        out = tmp_path / "killed"
        shutil.rmtree(out, ignore_errors=True)
        process = start(command := command_of(data, name, out))
        try:
            process.communicate(timeout=seconds * moments.uniform(0.3, 1.0))
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
        done = {p: p.read_bytes() for p in out.rglob("*_heat.png")}
        if process.returncode and not (out / "model.json").exists():  # which says itself that it is finished
            run(command)
        assert results_of(out, name) == expected
        assert {p: p.read_bytes() for p in done} == done
