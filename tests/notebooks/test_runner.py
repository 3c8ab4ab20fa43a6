"""The notebook runner: one sentence for every mistake, before a kernel starts; failures kept; kernels retried."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import nbformat
import pytest
from conftest import assert_one_sentence, write_blobs, write_category, write_visa
from notebook_helpers import executions, outside_sources, runner, write_toy
from papermill.exceptions import PapermillExecutionError
from PIL import Image

from fmcore.errors import SettingsError
from runner import execute as execution
from runner import plan as planning
from runner.book import all_notebooks, find_notebook
from runner.parameters import check_ranges, parse_parameters, read_parameters


@pytest.fixture
def call(capsys, monkeypatch):
    """The runner in this process: exit code and what it said."""
    cli = runner().cli

    def run(*arguments: object) -> tuple[int, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            cli([str(a) for a in arguments])
        out, err = capsys.readouterr()
        return stopped.value.code or 0, out + err

    return run


@pytest.fixture
def no_kernel(monkeypatch):
    """Makes a kernel that starts nevertheless an error."""

    def refuse(*arguments, **options):
        raise AssertionError("a kernel was started")

    monkeypatch.setattr(execution.papermill, "execute_notebook", refuse)


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    return write_toy(tmp_path_factory.mktemp("toy") / "toy.ipynb", per_category=False)


@pytest.mark.parametrize(
    "given, parts",
    [
        (("path", "3"), ("no parameter 'path'", "did you mean 'paths'")),
        (("zzz", "3"), ("no parameter 'zzz'", "it has data, category, paths")),
        (("paths", "many"), ("'paths' is of type int", "'many'")),
        (("paths", "2.5"), ("'paths' is of type int", "'2.5'")),
        (("steps", "soon"), ("'steps' is of type int | None",)),
        (("widths", "32,wide"), ("'widths' is of type list[int]",)),
        (("paths", "-1"), ("'paths' = -1", "greater than or equal to 0")),
        (("aggregator", "minimum"), ("'aggregator' = 'minimum'", "one of min, mean")),
        (("exponent", "-1"), ("'exponent' = -1.0",)),
        (("out", "x"), ("--out",)),
    ],
)
def test_a_bad_parameter_is_refused_before_any_kernel(call, no_kernel, toy, tmp_path, given, parts):
    code, said = call(toy, "-p", *given, "--out", tmp_path / "out")
    assert code == 2 and not (tmp_path / "out").exists()
    assert_one_sentence(said, *parts)


@pytest.mark.parametrize("book", ["03", "07"])
@pytest.mark.parametrize(
    "given, parts",
    [
        (("settings", "views"), ("'settings' is of type dict", "'views'")),
        (("settings", "[1]"), ("'settings' is of type dict",)),
        (("settings", '{"fild": 1}'), ("Unknown setting 'fild'; did you mean 'field'",)),
        (("settings", '{"training": {"minutes": -1}}'), ("'training.minutes' = -1",)),
        (("settings", '{"view": {"sizes": 64}}'), ("'sizes'",)),
        (("field", "unett"), ("'unett'", "did you mean 'unet'")),
    ],
)
def test_settings_of_a_fit_are_checked_before_any_kernel(call, no_kernel, tmp_path, book, given, parts):
    code, said = call(book, "-p", *given, "--out", tmp_path / "out")
    assert code == 2 and not (tmp_path / "out").exists()
    assert_one_sentence(said, *parts)


def test_a_parameter_without_value_and_a_run_without_folder_are_refused(call, no_kernel, toy, tmp_path):
    assert_one_sentence(call(toy, "--out", tmp_path, "-p", "paths")[1], "no value")
    assert_one_sentence(call(toy)[1], "--out")
    (tmp_path / "file").write_text("")
    assert_one_sentence(call(toy, "--out", tmp_path / "file")[1], "is a file")
    assert_one_sentence(call(toy, "--out", "/proc/closed")[1], "'/proc/closed' cannot be written")


def test_an_unknown_notebook_gets_a_suggestion(call, no_kernel, tmp_path):
    code, said = call("07_reprt", "--out", tmp_path)
    assert code == 2
    assert_one_sentence(said, "did you mean '07_report'?")
    assert (
        find_notebook("7").name == find_notebook("report").name == find_notebook("07_report.ipynb").name == "07_report"
    )
    with pytest.raises(SettingsError, match="there are 01"):
        find_notebook("zzzzzz")


def test_the_list_shows_every_notebook_and_its_parameters(call, capsys):
    runner().main(names=None, show=True)
    said = capsys.readouterr().out
    assert all(book.name in said for book in all_notebooks()) and "list[int]" in said


def test_parameters_are_typed_and_checked_by_the_settings_that_the_notebook_uses():
    known = read_parameters("a: int = 1  # one\nb: list[int] = [1]\nc: int | None = None\nd = 0.5\ne: str = 'x'")
    assert known["a"].help == "one" and known["d"].type is float
    given = {"a": "3", "b": "1,2", "c": "none", "d": "2", "e": "5"}
    assert parse_parameters(given, known, "n") == {"a": 3, "b": [1, 2], "c": None, "d": 2.0, "e": "5"}
    assert parse_parameters({"b": "[4]", "c": "7"}, known, "n") == {"b": [4], "c": 7}
    with pytest.raises(SettingsError, match="plain values"):
        read_parameters("a: int = f(1)")
    check_ranges({"paths": 0}, "print('no settings are imported here')")
    # A seed that is too large for a fit and fine for the renderer: refused only where nobody takes it.
    fit, render = "from fmcore.detector.settings import FitSettings", "from fmcore.data.rendered import RenderSettings"
    check_ranges({"seed": 2**31}, f"{fit}\n{render}")
    with pytest.raises(SettingsError, match="'seed' = 2147483648"):
        check_ranges({"seed": 2**31}, fit)


@pytest.fixture
def each(tmp_path):
    """A notebook that is run on each category."""
    return write_toy(tmp_path / "each.ipynb")


def test_bad_data_is_refused_before_any_kernel(call, no_kernel, each, tmp_path):
    good = write_category(tmp_path / "good")
    out = ("--out", tmp_path / "out")

    def said(data, *options) -> str:
        code, text = call(each, "--data", data, *out, *options)
        assert code == 2 and not (tmp_path / "out").exists()
        return text

    assert_one_sentence(said(tmp_path / "nowhere"), "There is no folder", "nowhere")
    (tmp_path / "empty").mkdir()
    assert_one_sentence(said(tmp_path / "empty"), "No image found")
    only_good = tmp_path / "only_good"
    shutil.copytree(good, only_good)
    shutil.rmtree(only_good / "test" / "square")
    assert_one_sentence(said(only_good), "'only_good' has no defective test image", "--categories")
    assert_one_sentence(said(good, "--categories", "nuts"), "no category 'nuts'")
    mask = next((good / "ground_truth" / "square").iterdir())
    Image.new("L", (32, 32)).save(mask)
    assert_one_sentence(said(good), mask.name, "is empty", "--lenient")
    (good / "train" / "good" / "003.png").write_bytes(b"x")
    assert_one_sentence(said(good), "'003.png' is not an image", "1 more file.")


def test_a_bad_category_among_good_ones_stops_before_the_first(call, no_kernel, each, tmp_path):
    for name in ("a", "b"):
        write_category(tmp_path / "data" / name)
    (tmp_path / "data" / "b" / "test" / "good" / "000.png").write_bytes(b"")
    code, said = call(each, "--data", tmp_path / "data", "--out", tmp_path / "out")
    assert code == 2 and not (tmp_path / "out").exists()
    assert_one_sentence(said, "b/good: '000.png' is empty")


def test_visa_fans_out_as_it_is_downloaded(call, each, tmp_path, monkeypatch):
    monkeypatch.setattr(execution.papermill, "execute_notebook", at_once)
    data, out = write_visa(tmp_path / "VisA"), tmp_path / "out"
    command = (each, "--data", data, "--out", out, "--workers", 1)
    code, said = call(*command)
    assert code == 0 and "candle: done in" in said and "pcb1: done in" in said
    table = data / "split_csv" / "1cls.csv"
    table.write_text(table.read_text().rstrip() + "\n\n")
    assert "kept" not in call(*command)[1] and "pcb1: done before, kept" in call(*command)[1]


def test_lenient_goes_on_and_says_what_was_left_out(call, each, tmp_path, monkeypatch):
    monkeypatch.setattr(execution.papermill, "execute_notebook", at_once)
    data = write_category(tmp_path / "part")
    (data / "train" / "good" / "003.png").write_bytes(b"x")
    code, said = call(each, "--data", data, "--out", tmp_path / "out", "--lenient")
    assert code == 0 and "Left out: part/train/good: '003.png'" in said
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["category"] == "part"


def at_once(node, path, parameters, **options):
    """Stands for a kernel where only the decision to run counts."""
    out = Path(parameters["out"])
    with (out / "executions.txt").open("a") as file:
        print(0, 0, file=file)
    (out / "metrics.json").write_text(json.dumps({k: parameters.get(k) for k in ("paths", "category")}))
    nbformat.write(node, path)


def test_a_finished_run_is_kept_until_parameters_data_or_code_change(call, each, tmp_path, monkeypatch):
    monkeypatch.setattr(execution.papermill, "execute_notebook", at_once)
    data, out = write_category(tmp_path / "part"), tmp_path / "out"

    def run(*options) -> str:
        code, said = call(each, "--data", data, "--out", out, *options)
        assert code == 0
        return said

    said = run("-p", "paths", "2")
    assert "part: done in" in said and "each.html'" in said
    assert json.loads((out / "metrics.json").read_text()) == {"paths": 2, "category": "part"}
    record = json.loads((out / "run.json").read_text())
    assert record["status"] == "done" and record["seed"] == 0 and record["parameters"]["exponent"] == 2.0
    assert record["data"]["files"] == 24 and len(record["data"]["sha256"]) == 16
    assert "done before, kept" in run("-p", "paths", "2") and len(executions(out)) == 1
    run("-p", "paths", "3")
    assert len(executions(out)) == 2
    write_blobs(data / "train" / "good", range(50, 51))
    run("-p", "paths", "3")
    assert len(executions(out)) == 3
    run("-p", "paths", "3", "--force")
    assert len(executions(out)) == 4
    (out / "metrics.json").unlink()
    run("-p", "paths", "3")
    assert len(executions(out)) == 5
    write_toy(each, "1 + 1")
    run("-p", "paths", "3")
    monkeypatch.setattr(planning, "source_hash", lambda: "changed")
    run("-p", "paths", "3")
    assert len(executions(out)) == 7 and not [p for p in out.iterdir() if p.name.startswith(".")]


def test_a_notebook_without_kernelspec_runs_and_its_page_is_complete_and_says_what_it_rests_on(call, tmp_path):
    picture = "from IPython.display import Image, display\nimport base64\n"
    picture += "display(Image(data=base64.b64decode('iVBORw0KGgo='), format='png'))"
    book = write_toy(tmp_path / "page.ipynb", picture, per_category=False)
    assert "kernelspec" not in nbformat.read(book, as_version=4).metadata
    assert call(book, "-p", "seed", "5", "--out", tmp_path / "out")[0] == 0
    page = (tmp_path / "out" / "page.html").read_text()
    assert outside_sources(page) == [] and "<script" not in page
    for part in ("data:image/png;base64,", 'alt="Figure: A toy"', "<math", "numpy", "sha256", "seed", "cores"):
        assert part in page
    node = nbformat.read(tmp_path / "out" / "page.ipynb", as_version=4)
    assert any("seed = 5" in c.source for c in node.cells)


@pytest.mark.parametrize(
    "html",
    [
        "<script src='https://a/b.js'></script>",
        "<img src='picture.png'>",
        "<link href='//a/b.css' rel='stylesheet'>",
        "<style>@import 'a.css';</style>",
        "<style>p { background: url(https://a/b.png) }</style>",
        "<script type='module'>import m from 'https://a/b.mjs'</script>",
    ],
)
def test_what_a_page_would_load_is_found(html):
    assert outside_sources(html) and not outside_sources(
        "<img src='data:image/png;base64,AA'><a href='https://a'>a</a>"
    )


def test_a_failed_notebook_is_kept_with_the_error_on_top(call, tmp_path, monkeypatch):
    book = write_toy(tmp_path / "bad.ipynb", "1 / 0", per_category=False)
    out = tmp_path / "out"
    code, said = call(book, "--out", out)
    assert code == 1 and "bad: failed. ZeroDivisionError in code cell 5: division by zero" in said
    assert "Traceback" not in said
    first = nbformat.read(out / "bad.failed.ipynb", as_version=4).cells[0]
    assert "ZeroDivisionError" in first.source
    page = (out / "bad.failed.html").read_text()
    assert page.index("This run failed") < page.index("A toy")
    assert json.loads((out / "run.json").read_text())["status"] == "failed"
    assert not (out / "bad.html").exists() and not (out / "metrics.json").exists()
    # Mended, it runs again and leaves nothing of the failure.
    write_toy(book, per_category=False)
    monkeypatch.setattr(execution.papermill, "execute_notebook", at_once)
    assert call(book, "--out", out)[0] == 0
    assert not list(out.glob("*failed*")) and (out / "bad.html").is_file()


def test_an_error_of_ours_is_reported_as_its_own_sentence(call, toy, tmp_path, monkeypatch):
    def refuse(*arguments, **options):
        raise PapermillExecutionError(1, 5, "", "DataError", "The folder is empty: fill it.", [])

    monkeypatch.setattr(execution.papermill, "execute_notebook", refuse)
    code, said = call(toy, "--out", tmp_path / "out")
    assert code == 1 and "toy: failed. The folder is empty: fill it.\n" in said


def test_a_kernel_that_dies_is_named_and_not_run_again(call, tmp_path):
    book = write_toy(tmp_path / "dies.ipynb", "import os, signal\nos.kill(os.getpid(), 9)", per_category=False)
    code, said = call(book, "--out", tmp_path / "out")
    assert code == 1 and "The kernel died in code cell 5" in said
    assert len(executions(tmp_path / "out")) == 1 and (tmp_path / "out" / "dies.failed.html").is_file()


def test_a_kernel_that_does_not_start_is_tried_again(call, toy, tmp_path, monkeypatch):
    tries = []

    def flaky(*arguments, **options):
        tries.append(1)
        if len(tries) < 3:
            raise RuntimeError("Kernel died before replying to kernel_info")
        return at_once(*arguments, **options)

    monkeypatch.setattr(execution.papermill, "execute_notebook", flaky)
    monkeypatch.setattr(execution.time, "sleep", lambda seconds: None)
    code, said = call(toy, "--out", tmp_path / "out")
    assert code == 0 and "kernel started at attempt 3" in said and "trying again" in said


def test_a_kernel_that_never_starts_fails_with_its_reason(call, toy, tmp_path, monkeypatch):
    def never(*arguments, **options):
        raise OSError("Address already in use")

    monkeypatch.setattr(execution.papermill, "execute_notebook", never)
    monkeypatch.setattr(execution.time, "sleep", lambda seconds: None)
    code, said = call(toy, "--out", tmp_path / "out")
    assert code == 1 and "did not start in 4 attempts: Address already in use" in said
    assert (tmp_path / "out" / "toy.failed.ipynb").is_file()


def test_notebooks_that_are_no_notebooks_are_refused(call, tmp_path):
    (tmp_path / "x.ipynb").write_text("{")
    assert_one_sentence(call(tmp_path / "x.ipynb", "--out", tmp_path / "out")[1], "not a readable notebook")
    nbformat.write(nbformat.v4.new_notebook(), tmp_path / "y.ipynb")
    assert_one_sentence(call(tmp_path / "y.ipynb", "--out", tmp_path / "out")[1], "no cell tagged 'parameters'")


def test_folders_that_are_not_there_are_named(call, no_kernel, tmp_path):
    for book, name in (("07", "runs"), ("07", "compare"), ("07", "benchmark"), ("03", "model")):
        code, said = call(book, "-p", name, tmp_path / "nowhere", "--out", tmp_path / "out")
        assert code == 2 and not (tmp_path / "out").exists()
        assert_one_sentence(said, "There is no folder", "nowhere", f"'{name}'")


def test_a_report_on_finished_runs_makes_none_and_is_made_again_when_they_change(tmp_path):
    runs = write_category(tmp_path / "runs")
    laid = planning.plan(planning.Request(find_notebook("07"), tmp_path / "out", {"runs": str(runs)}))
    assert [job.label for job in laid.jobs] == ["07_report"] and laid.summary is None
    assert laid.jobs[0].parameters["runs"] == str(runs) and laid.jobs[0].key["runs"]["files"] == 24


def test_all_notebooks_get_the_parameters_that_they_know_and_one_page_of_links(call, tmp_path, monkeypatch):
    monkeypatch.setattr(execution.papermill, "execute_notebook", keeps_parameters)
    monkeypatch.setattr(planning, "RENDERED", ("gear",))
    out = tmp_path / "out"
    code, said = call("all", "-p", "seed", "5", "-p", "side", "30", "--workers", "1", "--out", out)
    assert code == 0 and "index.html'" in said
    known = {book.name: "side" in book.parameters for book in all_notebooks() if book.name[0].isdigit()}
    page = (out / "index.html").read_text()
    assert len(known) == 7 and 0 < sum(known.values()) < 7 and outside_sources(page) == []
    for name, takes_side in known.items():
        assert f'href="{name}/{name}.html"' in page and (out / name / f"{name}.html").is_file()
        given = json.loads((out / name / "metrics.json").read_text())
        assert given["seed"] == 5 and (given.get("side") == 30) == takes_side
    code, said = call("all", "-p", "sede", "5", "--out", tmp_path / "other")
    assert code == 2 and not (tmp_path / "other").exists()
    assert_one_sentence(said, "no parameter 'sede'", "did you mean")


def keeps_parameters(node, path, parameters, **options):
    """Stands for a kernel where only what it is given counts."""
    out = Path(parameters["out"])
    (out / "metrics.json").write_text(json.dumps(parameters))
    nbformat.write(node, path)


@pytest.mark.parametrize("name", ["evaluation", "rendering"])
def test_other_settings_are_checked_before_any_kernel_too(call, no_kernel, tmp_path, name):
    code, said = call("07", "-p", name, '{"seeed": 1}', "--out", tmp_path / "out")
    assert code == 2 and not (tmp_path / "out").exists()
    assert_one_sentence(said, "'seeed'")
