"""Help and version: at once, from anywhere, with what a newcomer needs first."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest
from conftest import ROOT

import fmcore
from fmcore.cli import COMMANDS, load
from fmcore.cli.options import ADVANCED

HEAVY = pytest.mark.parametrize("name", COMMANDS)


def test_fit_shows_at_most_twelve_options_and_the_rest_as_advanced(call):
    shown = [p for p in load("fit").params if p.param_type_name == "option"]
    panels = [getattr(p, "rich_help_panel", None) for p in shown]
    assert set(panels) == {None, ADVANCED} and len(shown) > 20
    code, out, _ = call("fit", "--help")
    basic, _, advanced = out.partition("─ Advanced ─")
    options = [line.split()[1].lstrip("*") or line.split()[2] for line in basic.splitlines() if " --" in line[:8]]
    assert code == 0 and len(options) == panels.count(None) + 1 <= 12, options  # and --help itself
    assert "--encoder" in basic and "--size" in advanced and "--size" not in basic


@HEAVY
def test_help_of_every_command_has_one_example_that_it_understands(call, name):
    code, out, err = call(name, "--help")
    examples = [line.strip() for line in out.splitlines() if "Example:" in line]
    assert code == 0 and len(examples) == 1, err
    words = examples[0].removeprefix("Example: python -m fmcore ").split()
    assert words[0] == name
    load(name).make_context(name, words[1:])  # raises for an option or an argument that does not exist


def test_score_says_what_the_columns_of_its_table_are(call):
    _, out, _ = call("score", "--help")
    lines = [line.split() for line in out.partition("Columns of scores.csv")[2].splitlines()]
    assert [line[0] for line in lines[1:6]] == ["file", "score", "threshold", "verdict", "error"]


def test_help_names_every_command(call):
    code, out, _ = call("--help")
    assert code == 0 and all(f"│ {name} " in out for name in COMMANDS)


def test_help_and_version_come_at_once_from_another_folder(tmp_path):
    """In at most a second on an idle machine; on a busy one measured by what importing PyTorch takes."""

    def seconds(*command: str) -> tuple[float, str]:
        started = time.perf_counter()
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        done = subprocess.run([sys.executable, *command], cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0 and done.stderr == ""
        return time.perf_counter() - started, done.stdout

    (for_help, text), (for_version, version) = (seconds("-m", "fmcore", name) for name in ("--help", "--version"))
    assert "score" in text and version == f"fmcore {fmcore.__version__}\n"
    assert max(for_help, for_version) < max(1.0, seconds("-c", "import torch")[0] / 2)


def test_the_command_line_stays_small():
    assert sum(len(path.read_text().splitlines()) for path in (ROOT / "fmcore" / "cli").glob("*.py")) <= 600
