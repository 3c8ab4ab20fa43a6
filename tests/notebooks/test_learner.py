"""A learner's two hours, from a copy of the workshop alone: nothing solved; then every exercise wrongly, as people do,
and rightly."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys

import nbformat
import pytest
from conftest import ROOT
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell
from test_workshop import make_learner, read, states

# By cell: answers as learners write them, in the order of its open lines, and a phrase of the hint that each must get.
WRONG = {
    "workshop-09": [
        (("(1 - t) * x1 + t * x0",), "wrong way in time"),
        (("(1 - t) * x_0 + t * x1",), "name 'x_0' is not defined"),
        (("x0 + t * (x1 + x0)",), "At t = 1"),
        (("1 - t * x0 + t * x1",), "brackets"),
    ],
    "workshop-11": [(("a",), "differ in length"), (('"grows"',), "Choose one of a, b, c")],
    "workshop-13": [
        (("x0 - x1",), "from the data to the noise"),
        (("path(x0, x1, t)",), "place at time t"),
        (("(x1 - x0) / t",), "all the way"),
        (("x1 - x0 * t",), "term by term"),
    ],
    "workshop-19": [
        (("interpolate(x0, y, t)", "field(x_t, t) - (y - x0)", "difference**2"), "channels are still apart"),
        (("interpolate(x0, y, t)", "field(x_t, t) - y - x0", "(difference**2).sum(1)"), "brackets"),
        (("interpolate(y, x0, t)", "field(x_t, t) - (y - x0)", "(difference**2).sum(1)"), "reversed path"),
        (("interpolate(x0, y, t)", "field(x_t, t) - (y - x0)", "difference.norm(dim=1)"), "one root too many"),
        (("interpolate(x0, y, t)", "field(x_t) - (y - x0)", "(difference**2).sum(1)"), "stopped with a TypeError"),
        (("interpolate(x0, y, t)", "field(x_t, t) - (y - x0)", "(difference**2).sum(0)"), "axis 0"),
        (("interpolate(x0, y, t)", "...", "..."), "Replace each `...`"),
    ],
    "workshop-24": [
        (("maps.mean(0)",), "mean over the paths"),
        (("maps.min(0)",), "values and indices"),
        (("min(maps)",), "methods of its own"),
        (("maps.min()",), "One number is too few"),
        (("maps.amin(-1)",), "Which axis"),
    ],
    "workshop-26": [
        (("a", "a"), "get any larger"),
        (("c", "c"), "stay level"),
    ],
    "workshop-33": [
        (("maps.amin(0)", "times**r", "(weights[:, None, None] * best).mean(0)"), "axis 0 of `maps` counts times"),
        (("maps.amin(1)", "times**r", "(weights * best).mean(0)"), "Two shapes do not fit"),
        (("maps.amin(1)", "times**r", "(weights[:, None, None] * best).sum(0)"), "sum over the times"),
        (("maps.min(1)", "times**r", "(weights[:, None, None] * best).mean(0)"), "values and indices"),
        (("maps.amin(1)", "r**times", "(weights[:, None, None] * best).mean(0)"), "changed places"),
        (("maps.amin(1)", "times**r", "(weights[:, None, None] * best).mean()"), "one map, (H, W)"),
        (("aggregate(maps)", "times**r", "weights[:, None, None] * best"), "axis 0 of `maps` counts times"),
    ],
    "workshop-35b": [(("2",), "Divide the anomalous"), (("3",), "Choose one of"), (('"4"',), "the numbers")],
    "workshop-38": [
        (("early", "combined", "late"), "Panel P"),
        (("late", "early", "combined"), "Panel Q"),
        (("late", "late", "early"), "Give each"),
    ],
    "workshop-46": [
        (("Bo", "t"), "any ranking"),
        (("Ada", "t**2"), "Ada's contributions"),
        (("Cleo", "1 - t"), "straight line"),
        (("Cleo", "1 - t**2"), "Mind what is squared"),
        (("Cleo", "..."), "write her weight"),
    ],
    "workshop-51": [(("a",), "Count the defects"), (("c",), "Choose one of a, b.")],
    "workshop-56": [
        (("pass",), "No pixel has changed"),
        (("pixels[:] = 0",), "at most 5 %"),
        (("pixels[60:64, 60:64] += 2",), "Hidden well"),
        (("pixels = pixels / 255",), "same shape and type"),
    ],
    "workshop-59": [
        (("heat.numel() // 100", "heat.flatten().topk(count).values", "heat.max() + hottest.mean()"), "up or down"),
        (("-(-heat.numel() // 100)", "heat.topk(count).values", "heat.max() + hottest.mean()"), "of each row"),
        (
            ("-(-heat.numel() // 100)", "heat.flatten().topk(count)", "heat.max() + hottest.mean()"),
            "values and indices",
        ),
        (("1", "heat", "heat.mean()"), "term by term"),
    ],
}
# A prediction is checked by a later cell, after its picture; here at once.
ASKED = {"workshop-11": ["velocity"], "workshop-26": ["paths", "when"], "workshop-51": ["field"]}


def answered(cell: nbformat.NotebookNode, answers: tuple[str, ...]) -> str:
    """The cell with other lines in place of its solutions."""
    left = iter(answers)
    source = make_learner.SOLUTION.sub(lambda found: found["kept"] + next(left), cell.source)
    assert next(left, None) is None, answers
    asked = [f"display(questions.prediction('{name}', my_guess_{name}))" for name in ASKED.get(cell.id, ())]
    return "\n".join([source, *asked])


@pytest.fixture(scope="module")
def transcript(tmp_path_factory):
    """What cells showed, by id, in a copy of what the workshop needs: those of the learner's notebook, named
    ``unsolved-...``, and in the same kernel, emptied, those of the solutions; and the folder of both's figures."""
    kit = tmp_path_factory.mktemp("kit")
    for name in ("fmcore", "notebooks"):
        shutil.copytree(ROOT / name, kit / name, ignore=shutil.ignore_patterns("__pycache__", "out", ".*"))
    (kit / "demo").mkdir()
    (kit / "demo" / "embedded").symlink_to(ROOT / "demo" / "embedded")
    node, cells = read("solutions"), []
    for cell in read("learner").cells:
        cells.append(nbformat.from_dict(cell | {"id": f"unsolved-{cell.id}"}))
    cells.append(new_code_cell("%reset -f"))
    for cell in node.cells:
        for number, (answers, _) in enumerate(WRONG.get(cell.id, ())):
            cells.append(new_code_cell(answered(cell, answers), id=f"{cell.id}-wrong-{number}"))
        cells.append(cell)
    for cell in (c for c in cells if "parameters" in c.metadata.get("tags", [])):
        folder = kit / "figures" / ("unsolved" if cell.id.startswith("unsolved") else "solved")
        cell.source += f"\nout = {str(folder)!r}"
    node.cells = cells
    place = kit / "notebooks" / "workshop"
    NotebookClient(node, resources={"metadata": {"path": str(place)}}, kernel_name="python3").execute()
    return {c.id: c.get("outputs", []) for c in node.cells}, kit / "figures"


def of_notebook(transcript, name: str) -> list:
    """Outputs of the cells of a notebook as it is, and its folder of figures."""
    outputs, figures = transcript
    prefix = "unsolved-" if name == "learner" else ""
    own = [output for cell in read(name).cells for output in outputs[prefix + cell.id]]
    return own, list((figures / ("unsolved" if prefix else "solved")).glob("*.png"))


def test_the_learner_notebook_runs_unsolved(transcript):
    outputs, figures = of_notebook(transcript, "learner")
    found = states(outputs)
    assert len(found) == 14, found
    assert all(" - not solved yet: " in text for text in found), found
    assert len(figures) == sum("image/png" in o.get("data", {}) for o in outputs) == 10
    assert not [o for o in outputs if o.output_type == "error" or "Traceback" in str(o)]


@pytest.mark.parametrize("place", [".", "notebooks", "notebooks/workshop"])
def test_its_packages_are_found_wherever_it_is_started(place):
    code = next(c.source for c in read("learner").cells if c.cell_type == "code")
    names = ("fmcore", "common", "figures", "workshop.exercises")
    code += f"\nfrom importlib.util import find_spec\nprint(*(find_spec(n) is not None for n in {names}))"
    said = subprocess.run([sys.executable, "-c", code], cwd=ROOT / place, capture_output=True, text=True)
    assert said.stdout.split() == ["True"] * len(names), said.stderr


def test_every_exercise_has_typical_wrong_answers():
    open_cells = {c.id for c in read("solutions").cells if "# solution" in c.source}
    assert open_cells == set(WRONG) and all(len(wrong) >= 2 for wrong in WRONG.values())


def test_a_wrong_answer_gets_the_hint_it_needs_and_never_the_solution(transcript):
    outputs, _ = transcript
    solutions = {c.id: [m["answer"] for m in make_learner.SOLUTION.finditer(c.source)] for c in read("solutions").cells}
    for cell, wrong in WRONG.items():
        for number, (answers, phrase) in enumerate(wrong):
            said = states(outputs[f"{cell}-wrong-{number}"])
            assert said and all(" - not solved yet: " in text for text in said), (answers, said)
            assert phrase in said[0], (answers, said)
            assert all(len(answer) < 12 or answer not in text for answer in solutions[cell] for text in said)
            assert not any(o.output_type == "error" for o in outputs[f"{cell}-wrong-{number}"])


def test_the_right_answers_after_them_pass_all_checks(transcript):
    own, figures = of_notebook(transcript, "solutions")
    found = states(own)
    assert len(found) == 14, found
    assert all(" - solved: " in text for text in found), found
    assert len(figures) == sum("image/png" in o.get("data", {}) for o in own) == 10
    assert not re.search("Traceback", str(own))
