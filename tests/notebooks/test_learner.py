"""A learner's two hours, from a copy of the workshop alone: every exercise wrongly, as people do, and then rightly."""

from __future__ import annotations

import re
import shutil

import nbformat
import papermill
import pytest
from conftest import ROOT
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
    """Cells of the run, in a copy of what the workshop needs, with what they showed; and the folder of figures."""
    kit = tmp_path_factory.mktemp("kit")
    for name in ("fmcore", "notebooks"):
        shutil.copytree(ROOT / name, kit / name, ignore=shutil.ignore_patterns("__pycache__", "out", ".*"))
    (kit / "demo").mkdir()
    (kit / "demo" / "embedded").symlink_to(ROOT / "demo" / "embedded")
    node, cells = read("solutions"), []
    for cell in node.cells:
        for number, (answers, _) in enumerate(WRONG.get(cell.id, ())):
            cells.append(new_code_cell(answered(cell, answers), id=f"{cell.id}-wrong-{number}"))
        cells.append(cell)
    node.cells = cells
    nbformat.write(node, kit / "notebooks" / "workshop" / "run.ipynb")
    papermill.execute_notebook(
        str(kit / "notebooks" / "workshop" / "run.ipynb"),
        str(kit / "done.ipynb"),
        parameters={"out": str(kit / "figures")},
        kernel_name="python3",
        cwd=str(kit / "notebooks" / "workshop"),
        progress_bar=False,
    )
    done = nbformat.read(kit / "done.ipynb", as_version=4)
    return {c.id: c.get("outputs", []) for c in done.cells}, kit / "figures"


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
    outputs, figures = transcript
    own = [output for cell in read("solutions").cells for output in outputs[cell.id]]
    found = states(own)
    assert len(found) == 14, found
    assert all(" - solved: " in text for text in found), found
    assert len(list(figures.glob("*.png"))) == sum("image/png" in o.get("data", {}) for o in own) == 10
    assert not re.search("Traceback", str(own))
