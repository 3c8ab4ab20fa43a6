"""The command line: help, exit codes, and one sentence for every mistake."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest
from conftest import ROOT, assert_one_sentence, write_blobs

import fmcore
from fmcore.cli import COMMANDS, load
from fmcore.cli.options import ADVANCED

QUICK = ("--encoder", "none", "--size", 32, "--paths", 2, "--times", 3)


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (("fit", "{tmp}/nowhere", "--out", "{tmp}/m"), ("There is no folder",)),
        (("fit", "{tmp}", "--out", "{tmp}/m"), ("No image found",)),
        (("fit", "{data}", "--out", "{tmp}/m", "--field", "gan"), ("Unknown field 'gan'", "unet")),
        (("fit", "{data}", "--out", "{tmp}/m", "--encoder", "none", "--size", 7), ("'size' = 7",)),
        (("fit", "{data}", "--out", "{tmp}/m", "--size", 32), ("'size'", "resolution")),
        (("fit", "{data}", "--out", "{tmp}/m", "--encoder", "{tmp}/encoder"), ("encoder", "cannot be used")),
        (("fit", "{data}", "--out", "{tmp}/m", "--components", 3), ("'components'", "shrinkage")),
        (("fit", "{data}", "--out", "{tmp}/m", "--field", "unet", "--widths", "8,x"), ("'widths'", "64,128,192")),
        (("fit", "{data}", "--out", "{tmp}/m", "--learning-rate", "nan"), ("'learning_rate' = nan",)),
        (("fit", "{data}", "--out", "{tmp}/m", "--device", "tpu"), ("no device 'tpu'",)),
        (("fit", "{data}", "--out", "{tmp}/m", "--device", "meta"), ("no device 'meta'",)),
        (("fit", "{data}", "--out", "{tmp}/m", "--device", "cuda:7"), ("no device 'cuda:7'",)),
        (("fit", "{data}", "--out", "{tmp}/m", "--paths", -1), ("'paths' = -1",)),
        (("fit", "{data}", "--out", "{tmp}/m", "--field", "unet", "--paths", 0), ("'paths' = 0", "unet")),
        (("fit", "{few}", "--out", "{tmp}/m", *QUICK), ("2 readable image(s)",)),
        (("score", "{tmp}/nowhere", "{data}", "--out", "{tmp}/o"), ("no model folder",)),
        (("score", "{tmp}", "{data}", "--out", "{tmp}/o"), ("no finished model",)),
        (("score", "{model}", "{tmp}/x.png", "--out", "{tmp}/o"), ("no file or folder",)),
        (("score", "{model}", "{model}", "--out", "{tmp}/o"), ("There is no image",)),
        (("score", "{model}", "{data}", "--out", "{tmp}/o", "--category", "c"), ("no category 'c'", "blob")),
        (("score", "{model}", "{data}", "--out", "{tmp}/o", "--aggregator", "max"), ("min, mean, median",)),
        (("score", "{model}", "{data}", "--out", "{tmp}/o", "--alpha", 0.5), ("alpha", "0.5", "has no parameter")),
        (("score", "{model}", "{data}", "--out", "{tmp}/o", "--threshold", "nan"), ("threshold of nan",)),
        (("score", "{model}", "{data}", "--out", "{tmp}/o", "--masks", "--times", 2), ("threshold", "--threshold")),
        (("threshold", "{model}", "--value", -1), ("threshold of -1",)),
        (("threshold", "{model}", "--value", 1, "--false-alarm-rate", 0.1), ("--value",)),
        (("threshold", "{model}", "--false-alarm-rate", 1.5), ("'false_alarm_rate' = 1.5",)),
        (("threshold", "{model}", "--false-alarm-rate", 0.01), ("12 held-out", "99")),
        (("threshold", "{model}", "--from", "{tmp}/nowhere"), ("There is no folder",)),
        (("threshold", "{model}", "--from", "{few}"), ("2 held-out", "4")),
        (("threshold", "{model}", "--value", 1, "--category", "c"), ("no category 'c'",)),
        (("threshold", "{tmp}/nowhere"), ("no model folder",)),
        (("evaluate", "{model}", "{tmp}/nowhere"), ("There is no folder",)),
        (("evaluate", "{model}", "{model}"), ("no 'test' folder",)),
        (("evaluate", "{model}", "{data}", "--json", "{model}"), ("is a folder",)),
        (("check", "{data}", "--json", "{model}"), ("is a folder",)),
        (("benchmark", "{data}", "--out", "{tmp}/r", "--size", 7), ("'size' = 7",)),
        (("benchmark", "{data}", "--out", "{model}/model.json"), ("model.json", "is a file")),
        (("score", "{model}", "{data}", "--out", "{model}/model.json"), ("model.json", "is a file")),
        (("score", "{model}", "{data}", "--out", "{model}/model.json/deep/o"), ("cannot be written",)),
        (("score", "{model}", "{data}", "--out", "{tmp}/" + 300 * "x"), ("cannot be written", "name too long")),
        (("fit", "{data}", "--out", "{model}/model.json", *QUICK), ("model.json", "is a file")),
    ],
)
def test_bad_input_is_one_sentence_exit_code_2_and_writes_nothing(
    call, tmp_path_factory, model_folder, category_folder, arguments, parts
):
    empty, few = tmp_path_factory.mktemp("empty"), tmp_path_factory.mktemp("few")
    write_blobs(few, range(2))
    before = (model_folder / "model.json").read_bytes()
    arguments = [str(a).format(tmp=empty, data=category_folder, model=model_folder, few=few) for a in arguments]
    code, out, err = call(*arguments)
    assert code == 2 and out == "" and list(empty.iterdir()) == []
    assert_one_sentence(err.strip().splitlines()[-1], *parts)
    assert "Traceback" not in err
    assert (model_folder / "model.json").read_bytes() == before and len(list(model_folder.iterdir())) == 2


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (("fit", "x", "--out", "y", "--epochs", "3"), "No such option"),
        (("fit", "x", "--out", "y", "--seed", "one"), "'--seed'"),
        (("fit", "x"), "Missing option"),
        (("train", "x"), "No such command"),
    ],
)
def test_unknown_options_and_values_are_usage_errors(call, arguments, part):
    code, _, err = call(*arguments)
    assert code == 2 and part in err and "Traceback" not in err


def test_fit_shows_at_most_twelve_options_and_the_rest_as_advanced(call):
    shown = [p for p in load("fit").params if p.param_type_name == "option"]
    panels = [getattr(p, "rich_help_panel", None) for p in shown]
    assert set(panels) == {None, ADVANCED} and len(shown) > 20
    code, out, _ = call("fit", "--help")
    basic, _, advanced = out.partition("─ Advanced ─")
    options = [line.split()[1].lstrip("*") or line.split()[2] for line in basic.splitlines() if " --" in line[:8]]
    assert code == 0 and len(options) == panels.count(None) + 1 <= 12, options  # and --help itself
    assert "--encoder" in basic and "--size" in advanced and "--size" not in basic


@pytest.mark.parametrize("name", COMMANDS)
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


def test_help_names_every_command_and_says_where_to_begin(call):
    code, out, _ = call("--help")
    assert code == 0 and all(f"│ {name} " in out for name in COMMANDS)
    assert "python -m fmcore fit GOOD_IMAGES --out MODEL" in out


@pytest.mark.parametrize("name", ["benchmark", "evaluate", "score"])
def test_every_option_is_described_by_more_than_its_name(name):
    for option in load(name).params:
        text = (getattr(option, "help", None) or "").partition(" (default")[0]
        assert text and text != option.name.replace("_", " "), option.name


@pytest.mark.alone
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
    assert sum(len(path.read_text().splitlines()) for path in (ROOT / "fmcore" / "cli").glob("*.py")) <= 587
