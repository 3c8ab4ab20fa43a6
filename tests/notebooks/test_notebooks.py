"""Every notebook in the repository: clean as committed, and run by the runner at small settings.

Notebooks are found, not listed; `SMALL` only says what makes one quick. Each takes some seconds for its kernel alone.
"""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import papermill
import pytest
from bs4 import BeautifulSoup
from nbclient import NotebookClient
from notebook_helpers import NOTEBOOKS, SharedKernel, outside_sources, runner
from papermill.iorw import load_notebook_node
from papermill.parameterize import parameterize_notebook
from test_report import RESULT, write_run

from runner import execute as execution
from runner.book import Notebook, all_notebooks, find_notebook
from runner.page import mathml

FEW_IMAGES = {"train": 12, "test_good": 4, "test_per_defect": 1}
FEW_EVALUATED = {
    "rendering": json.dumps(FEW_IMAGES),
    "evaluation": '{"bootstrap": 50, "pixel_size": 64}',
}
COARSE = {"settings": '{"view": {"resolution": 64, "places": 64}}'}
QUICK = {"times": 3, "paths": 2}
SMALL = {
    "01_the_idea": {"side": 12, **QUICK},
    "02_train_a_field": {"train": 24, "test_good": 4, "plane_steps": 30, "size": 32, "widths": "8,8", "steps": 3}
    | {"batch": 4, "samples": 8, "times": 3},
    "03_score_and_evaluate": {**COARSE, **FEW_EVALUATED},
    "04_denoising_versus_fisher": {**FEW_IMAGES, **QUICK, "size": 32, "components": 8, "samples": 200}
    | {"image_samples": 8, "pixel_size": 32},
    "05_ablations": {**COARSE, "train": 12, "size": 32, "limit": 4, "paths": 2, "times": 5},
    "06_speed": {**COARSE, "train": 12, "limit": 2, "rounds": 1, "paths": 1, "times": 3, "most": 32, "side": 256},
    "07_report": {**COARSE, **FEW_EVALUATED},
}
BOOKS = all_notebooks()
every_notebook = pytest.mark.parametrize("book", BOOKS, ids=[b.name for b in BOOKS])


def test_the_seven_notebooks_are_there():
    assert {f"{n:02d}" for n in range(1, 8)} <= {book.name[:2] for book in BOOKS}


@every_notebook
def test_it_is_clean_as_committed(book: Notebook):
    node = book.node
    nbformat.validate(node)
    assert (node.nbformat, node.nbformat_minor) == (4, 5)
    assert node.metadata["kernelspec"]["name"] == "python3"
    code = [c for c in node.cells if c.cell_type == "code"]
    assert all(c.outputs == [] and c.execution_count is None for c in code), "strip the outputs"
    assert len({c.id for c in node.cells}) == len(node.cells)
    assert not any(c.get("attachments") for c in node.cells)


@every_notebook
def test_it_reads_as_prose_and_short_cells(book: Notebook):
    code = [c for c in book.node.cells if c.cell_type == "code" and "parameters" not in c.metadata.get("tags", [])]
    short = [c for c in code if len(c.source.splitlines()) <= 10]
    assert len(short) >= 0.8 * len(code), [len(c.source.splitlines()) for c in code]
    assert sum(c.cell_type == "markdown" for c in book.node.cells) >= len(code) / 3
    assert book.title != book.name and "sys.path" in code[0].source


@every_notebook
def test_its_parameters_are_typed_and_have_a_folder_for_results(book: Notebook):
    assert book.parameters["out"].default.startswith("out/")
    for parameter in book.parameters.values():
        assert parameter.default is None or parameter.parse(_as_text(parameter.default)) == parameter.default


# 03 is what 07 runs on a category: its page is looked at there.
ALONE = [b for b in BOOKS if b.path.parent.name != "workshop" and b.name != "03_score_and_evaluate"]


@pytest.fixture(scope="module")
def kernel():
    kernel = SharedKernel()
    yield kernel
    kernel.stop()


def run_small(book: Notebook, out: Path, kernel: SharedKernel) -> tuple[int, float]:
    """Exit code of the runner, and processor time of the kernel, which waiting for other processes does not change."""
    before = kernel.seconds()
    given = [word for k, v in SMALL.get(book.name, {}).items() for word in ("-p", k, str(v))]
    if "compare" in book.parameters:
        write_run(out / "before" / "gear", result=RESULT | {"aupro": 0.5})
        given += ["-p", "compare", str(out / "before")]
    given += ["--categories", "gear"] if book.per_category else []
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as stopped:
        patch.setattr(execution, "kernel_manager", kernel.managers)
        runner().cli([book.name, *given, "--workers", "1", "--out", str(out)])
    return stopped.value.code or 0, kernel.seconds() - before


@pytest.fixture(scope="module")
def report(kernel, tmp_path_factory):
    """Notebook 07 over one category, which 03 is run on: its folder, exit code and processor time."""
    out = tmp_path_factory.mktemp("report")
    return out, *run_small(find_notebook("07"), out, kernel)


@pytest.mark.parametrize("book", ALONE, ids=lambda b: b.name)
def test_it_runs_and_leaves_a_complete_page(book: Notebook, kernel, report, tmp_path):
    each = book.per_category
    out, code, seconds = report if each else (tmp_path, *run_small(book, tmp_path, kernel))
    assert not code
    runs = [(each, out / "categories" / "gear")] if each else []
    for one, folder in [*runs, (book, out)]:
        record = json.loads((folder / "run.json").read_text())
        assert record["status"] == "done", record["error"]
        assert json.loads((folder / "metrics.json").read_text())
        figures = list(folder.glob("*.png"))
        page = (folder / f"{one.name}.html").read_text()
        assert figures and outside_sources(page) == [] and "How this was made" in page
        assert len(re.findall("data:image/(?:png|jpeg);base64,", page)) >= len(figures)
        assert ("<math" in page) == ("$" in _prose(one))
        assert len(page.encode()) <= 8_000_000 and page.count("* plotly.js v") == ("figures.interactive" in one.code)
        said = BeautifulSoup(page, "html.parser")
        for tag in said(["script", "style", "pre", "code"]):
            tag.decompose()
        assert "\\" not in said.text
        assert ("Beside another run" in said.text) == ("compare" in one.parameters)
    assert seconds < 15 * (1 + len(runs))  # some 3 each, and as much where libraries are loaded first


def test_by_hand_a_notebook_gives_the_numbers_that_the_runner_gives(report, tmp_path, monkeypatch):
    """As plain papermill sets its parameters, dicts as text, in a kernel of its own that starts in ``notebooks``."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    node = load_notebook_node(str(find_notebook("03").path))
    given = SMALL["03_score_and_evaluate"] | {"category": "gear", "out": str(tmp_path)}
    node = parameterize_notebook(node, given)
    NotebookClient(node, resources={"metadata": {"path": str(NOTEBOOKS)}}).execute()
    folders = (report[0] / "categories" / "gear", tmp_path)
    found = [json.loads((folder / "metrics.json").read_text()) for folder in folders]
    assert _without_times(found[0]) == _without_times(found[1]) and found[0]["result"]["images"]


def _without_times(value: object) -> object:
    if isinstance(value, dict):
        return {k: _without_times(v) for k, v in value.items() if not k.startswith("seconds")}
    return [*map(_without_times, value)] if isinstance(value, list) else value


@every_notebook
def test_fmcore_is_imported_before_torch(book: Notebook):
    """It asks for threads that sleep while they wait, which torch reads when loaded; `common` imports it first."""
    nodes = [n for n in ast.walk(ast.parse(book.code)) if isinstance(n, ast.Import | ast.ImportFrom)]
    lines = sorted((n.lineno, n.module if isinstance(n, ast.ImportFrom) else n.names[0].name) for n in nodes)
    names = [name.partition(".")[0] for _, name in lines]
    first = next(name for name in names if name in ("torch", "figures", "workshop", "fmcore", "common"))
    assert first in ("fmcore", "common") or "torch.set_num_threads(1)" in book.code


def test_what_notebooks_import_first_asks_for_threads_that_sleep_before_torch_is_loaded():
    code = f"import os, sys; sys.path[:0] = ['{NOTEBOOKS}', '{NOTEBOOKS.parent}']; import common"
    code += "; print(os.environ.get('OMP_WAIT_POLICY'), 'torch' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], env={}, capture_output=True, text=True)
    assert said.stdout.split() == ["PASSIVE", "False"], said.stderr


def test_notebook_03_opens_with_few_parameters_and_a_picture():
    book = find_notebook("03")
    opening = [c.source for c in book.node.cells if c.cell_type == "code"][:2]
    assert len(book.parameters) <= 10 and "output.figure(" in opening[1]


@every_notebook
def test_its_formulas_leave_no_tex_behind(book: Notebook):
    formulas = [a or b for a, b in re.findall(r"\$\$(.+?)\$\$|\$(.+?)\$", _prose(book), re.DOTALL)]
    for tex in formulas:
        assert "\\" not in mathml(tex) and "<code>" not in mathml(tex) and "menclose" not in mathml(tex), tex


def test_a_formula_beyond_the_converter_is_shown_as_it_is():
    assert mathml(r"\big\langle a, b\big\rangle").count("<mi>") == 4 and "\\" not in mathml(r"\big\|a\big\|")
    assert mathml(r"\left( a") == r"<code>\left( a</code>"


@every_notebook
def test_papermill_finds_the_same_parameters(book: Notebook):
    found = papermill.inspect_notebook(str(book.path))
    assert list(found) == list(book.parameters)
    for name, parameter in book.parameters.items():
        assert found[name]["inferred_type_name"] == parameter.type_name and found[name]["help"] == parameter.help


@every_notebook
def test_every_list_may_be_given_as_text(book: Notebook):
    """``papermill -p widths "[16,32]"`` writes text into the notebook: the cell that uses it first reads it as JSON."""
    for name in (n for n, p in book.parameters.items() if "list" in p.type_name):
        cell = next(c.source for c in book.node.cells[3:] if re.search(rf"\b{name}\b", c.source))
        line = next(line for line in cell.splitlines() if line.startswith(f"{name} = "))
        known = {"json": json, name: "[16, 32]"}
        exec(line, known)
        assert known[name] == [16, 32]
        exec(line, known)  # a list stays one
        assert known[name] == [16, 32]


def test_no_notebook_starts_the_apps_server():
    """Nor do the figures: only the palette is shared with the app."""
    files = ("common", "figures", "runner", "workshop")
    names = [f"{p.parent.name}.{p.stem}" for name in files for p in (NOTEBOOKS / name).glob("[a-z]*.py")]
    code = f"import importlib, sys; [importlib.import_module(n) for n in {names}]; print('gradio' in sys.modules)"
    path = f"{NOTEBOOKS}:{NOTEBOOKS.parent}:{NOTEBOOKS / 'workshop'}"
    said = subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": path}, capture_output=True, text=True)
    assert said.stdout.strip() == "False", said.stderr
    assert not any(word in book.code for book in BOOKS for word in ("gradio", "import demo", "from demo"))


def _prose(book: Notebook) -> str:
    return "".join(c.source for c in book.node.cells if c.cell_type == "markdown")


def _as_text(value: object) -> str:
    return json.dumps(value) if isinstance(value, list | tuple | dict) else str(value)
