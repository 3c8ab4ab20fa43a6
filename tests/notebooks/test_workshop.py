"""The workshop: its checks, its questions, the solutions that pass all of them, and the learner's notebook."""

from __future__ import annotations

import ast
import itertools
import json
import re
import sys
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
WORKSHOP = ROOT / "notebooks" / "workshop"
sys.path[:0] = [str(ROOT / "notebooks"), str(WORKSHOP)]

import make_learner  # noqa: E402

from common.output import Output  # noqa: E402
from common.progress import show_progress  # noqa: E402
from figures import plane  # noqa: E402
from fmcore.data.folders import find_good_images, find_test_items  # noqa: E402
from fmcore.data.picture import read_picture  # noqa: E402
from fmcore.data.rendered import RenderSettings, write_dataset  # noqa: E402
from fmcore.decomposition.landscape import PlaneGrid, bias_variance, landscape, point_steps  # noqa: E402
from fmcore.detector.fit import fit  # noqa: E402
from fmcore.detector.settings import FitSettings  # noqa: E402
from fmcore.errors import SettingsError  # noqa: E402
from fmcore.fields import MixtureField  # noqa: E402
from fmcore.mismatch import HeatSettings, Mismatch, PathSettings, mismatch_steps  # noqa: E402
from fmcore.path import draw_noise  # noqa: E402
from workshop import exercises as check  # noqa: E402
from workshop import questions  # noqa: E402

EMBEDDED = ROOT / "demo" / "embedded"
PLAIN = HeatSettings(smoothing=0.0)


def right_mismatch(field, y, x0, t):
    x_t = (1 - t) * x0 + t * y
    return ((field(x_t, t) - (y - x0)) ** 2).sum(dim=1)


def right_heatmap(maps, times, r):
    return sum(t**r * m.min(dim=0).values for t, m in zip(times, maps, strict=True)) / len(times)


def right_score(heat):
    values = np.sort(heat.numpy().ravel())[::-1]
    return values[0] + values[: int(np.ceil(len(values) / 100))].mean()


# check, and a right answer written apart from fmcore
EXERCISES = {
    "path": (check.path, lambda x0, x1, t: x0 + t * (x1 - x0)),
    "velocity": (check.velocity, lambda x0, x1, t: x1 - x0),
    "mismatch": (check.mismatch, right_mismatch),
    "aggregate": (check.aggregate, lambda maps: torch.sort(maps, dim=0).values[0]),
    "heatmap": (check.heatmap, right_heatmap),
    "score": (check.score, right_score),
}
MISTAKES = [
    pytest.param(checked, *mistake, id=f"{name}-{number}")
    for name, (checked, _) in EXERCISES.items()
    for number, mistake in enumerate(checked.mistakes)
]


@pytest.mark.parametrize("name", EXERCISES)
def test_right_answer_is_accepted_and_handed_on(name):
    checked, right = EXERCISES[name]
    feedback = checked(right)
    assert feedback.solved, feedback
    assert feedback.function is right


@pytest.mark.parametrize("name", EXERCISES)
def test_the_function_handed_on_instead_passes_the_check_itself(name):
    checked, _ = EXERCISES[name]
    assert checked(checked(None).function).solved


@pytest.mark.parametrize(("checked", "function", "hint"), MISTAKES)
def test_mistake_is_refused_with_its_own_hint(checked, function, hint):
    feedback = checked(function)
    assert not feedback.solved
    assert feedback.message == hint
    assert feedback.function is not function


# What learners wrote, as they would write it, and a phrase of the hint they need.
WRITTEN = [
    (check.path, lambda x0, x1, t: (1 - t) * x1 + t * x0, "wrong way in time"),
    (check.velocity, lambda x0, x1, t: -(x1 - x0), "from the data to the noise"),
    (check.mismatch, lambda f, y, x0, t: (f((1 - t) * x0 + t * y, t) - (x0 - y)).pow(2).sum(1), "backwards"),
    (check.mismatch, lambda f, y, x0, t: (f((1 - t) * x0 + t * y, t) - y + x0) ** 2, "channels are still apart"),
    (check.mismatch, lambda f, y, x0, t: (f((1 - t) * y + t * x0, t) - y + x0).pow(2).sum(1), "reversed path"),
    (check.mismatch, lambda f, y, x0, t: right_mismatch(f, y, x0, t) ** 2, "square twice"),
    (check.aggregate, lambda maps: maps.mean(dim=0), "mean over the paths"),
    (check.aggregate, lambda maps: maps.min(dim=0), "values and indices"),
    (check.heatmap, lambda m, t, r: right_heatmap(m, t, r) * len(t) / (t**r).sum(), "Divide by T only"),
    (check.heatmap, lambda m, t, r: right_heatmap(m, 1 - t, r), "largest at t = 0"),
    (check.heatmap, lambda m, t, r: t**r * m.amin(1), "Two shapes do not fit"),
    (check.score, lambda heat: heat.amax(), "second term"),
]


@pytest.mark.parametrize(("checked", "written", "phrase"), WRITTEN)
def test_written_mistakes_are_recognised(checked, written, phrase):
    feedback = checked(written)
    assert not feedback.solved
    assert phrase in feedback.message


@pytest.mark.parametrize("name", EXERCISES)
def test_hints_differ_and_are_short(name):
    known = EXERCISES[name][0].mistakes
    hints = {hint for _, hint in known}
    assert len(hints) >= len(known) - 1  # one mistake may be written in two ways
    for hint in hints:
        assert hint[-1] in ".?" and 20 < len(hint) < 100 and hint.count(". ") + hint.count("? ") <= 2


UNSOLVED = [
    (None, "A function is expected"),
    (..., "A function is expected"),
    (lambda *_: None, "Replace each `...`"),
    (lambda *_: ..., "Replace each `...`"),
    (lambda *a: a[0] + ..., "There is still a `...` left"),
    (lambda *_: 1 / 0, "stopped with a ZeroDivisionError"),
    (lambda: None, "stopped with a TypeError"),
    (lambda *_: undefined_name, "undefined_name"),  # noqa: F821
    (lambda *_: "a text", "returns a str"),
    (lambda *_: torch.zeros(2, 2, 2, 2, 2), "shape (2, 2, 2, 2, 2)"),
]


@pytest.mark.parametrize("name", EXERCISES)
@pytest.mark.parametrize(("learned", "phrase"), UNSOLVED)
def test_anything_else_gets_a_hint_and_never_an_exception(name, learned, phrase):
    feedback = EXERCISES[name][0](learned)
    assert not feedback.solved
    if name != "mismatch" or "`...` left" not in phrase:  # there the first argument is a field
        assert phrase in feedback.message


def test_function_that_changes_its_arguments_is_found_out():
    def careless(x0, x1, t):
        x0 *= 1 - t
        return x0 + t * x1

    assert "changes what it is given" in check.path(careless).message


def test_right_on_one_input_only_is_not_accepted():
    feedback = check.heatmap(lambda m, t, r: right_heatmap(m, t, r) if r == 2 else m.amin((0, 1)))
    assert not feedback.solved and "agrees on 1 of 3" in feedback.message


def test_not_finite_numbers_are_named():
    assert "not finite" in check.aggregate(lambda maps: maps.amin(0) * torch.nan).message


def test_mismatch_reference_is_that_of_fmcore():
    field = MixtureField.isotropic(torch.ones(2), draw_noise(2, (3, 4, 5), 0), torch.tensor([0.1, 1.0]))
    y, settings = draw_noise(1, (3, 4, 5), 1)[0], PathSettings(paths=3, times=4, noise_seed=7)
    reference = check.mismatch.right
    for step in mismatch_steps(field, y, settings):
        mine = reference(field, y, draw_noise(3, (3, 4, 5), 7), step.t)
        torch.testing.assert_close(mine, torch.from_numpy(step.paths))


def test_feedback_shows_as_plain_text_and_as_escaped_html():
    feedback = check.path(lambda *_: {}["<script>"])
    assert repr(feedback).startswith("Exercise 1a, the path - not solved yet: ")
    assert "<script>" not in feedback._repr_html_() and "&lt;script&gt;" in feedback._repr_html_()
    assert "<code>...</code>" in check.path(lambda *_: None)._repr_html_()


# ---- questions: their answers are true, and the wrong ones get hints


@pytest.fixture(scope="module")
def stage():
    return plane.toy("semicircle")


@pytest.fixture(scope="module")
def scene(stage):
    return landscape(stage.field, PlaneGrid(side=40), PathSettings())


@pytest.fixture(scope="module")
def both(stage):
    """Mismatch of the normal and the anomalous point on 32 paths."""
    targets = torch.stack([stage.normal.flatten(), stage.anomalous.flatten()])
    return Mismatch.collect(point_steps(stage.field, targets, PathSettings(paths=32)))


@pytest.mark.parametrize("question", questions.CHOICES)
def test_choice_accepts_the_right_letter_only(question):
    right, _, hints = questions.CHOICES[question]
    assert questions.prediction(question, f" {right.upper()} ").solved
    assert questions.prediction(question, ...).message == questions.UNSOLVED
    offered = questions.prediction(question, "z").message
    assert offered == f"Choose one of {', '.join(sorted([right, *hints]))}."
    # What can be chosen is what the notebook asks.
    (asked,) = [c.source for c in read("learner").cells if f"my_guess_{question} = " in c.source]
    assert "your turn" in asked
    for letter, hint in hints.items():
        feedback = questions.prediction(question, letter)
        assert not feedback.solved and feedback.message == hint


def test_more_paths_never_raise_the_minimum(both):
    best = [both.maps[:, :k].min(axis=1) for k in (1, 2, 4, 8, 16, 32)]
    assert all((after <= before).all() for before, after in itertools.pairwise(best))
    assert questions.CHOICES["paths"][0] == "b"


def test_the_points_differ_most_at_middle_and_late_times(both):
    first_four = Mismatch(both.times, both.maps[:, :4])
    normal, anomalous = first_four.per_time(PLAIN)[:, 0].T
    ratio = anomalous / normal
    assert ratio[both.times < 0.25].max() < 2.5 and ratio[both.times > 0.4].min() > 5
    assert questions.CHOICES["when"][0] == "b"


@pytest.fixture(scope="module")
def detector(tmp_path_factory):
    """The notebook's own: the cell that fits it, run here."""
    folder, (cell,) = (
        tmp_path_factory.mktemp("detector"),
        [c for c in read("solutions").cells if c.id == "workshop-47b"],
    )
    names = {"category": "chip", "output": Output(folder), "show_progress": show_progress, "fit": fit}
    names |= {"RenderSettings": RenderSettings, "write_dataset": write_dataset, "find_good_images": find_good_images}
    exec(cell.source, names | {"FitSettings": FitSettings}, found := {})
    return found["model"]


def test_the_gaussian_field_misses_more_bricks_than_chips(detector):
    missed = {}
    for name in ("chip", "brick"):
        items = [item for item in find_test_items(EMBEDDED / "examples" / name) if not item.is_good][:5]
        missed[name] = sum(not detector.score(item.path, name).anomalous for item in items)
    assert missed["brick"] > missed["chip"]
    assert questions.CHOICES["field"][0] == "b"


def test_landscapes_are_as_the_answers_say(stage, scene):
    """Early passes the largest part of the plane for normal; combined scatters less than one late time."""
    normal = stage.field.sample(100, torch.Generator().manual_seed(3))
    study = bias_variance(stage.field, scene, normal, PathSettings(), PLAIN)
    assert study.basin[0] > 4 * max(study.basin[-1], study.running_basin[-1])
    assert study.running_spread[-1] < study.spread[-1]


def test_landscapes_accept_the_right_answer_only():
    names = ("early", "late", "combined")
    for p in names:
        for q in names:
            for r in names:
                given = {"P": p, "Q": q, "R": r}
                assert questions.landscapes(given).solved == (given == questions.LANDSCAPES)
    assert questions.landscapes({"P": ..., "Q": "late", "R": "early"}).message == questions.UNSOLVED
    assert "Panel P" in questions.landscapes({"P": "early", "Q": "combined", "R": "late"}).message


def test_colleagues_weigh_as_the_puzzle_says(scene):
    mean = scene.per_time(PLAIN).sum((1, 2))
    weights = {name: values.sum((1, 2)) / mean for name, values in questions.colleagues(scene).items()}
    np.testing.assert_allclose(weights["Ada"], scene.times**2, rtol=1e-4)
    np.testing.assert_allclose(weights["Bo"], 10 * scene.times**2, rtol=1e-4)
    np.testing.assert_allclose(weights["Cleo"], (1 - scene.times) ** 2, rtol=1e-4)


@pytest.mark.parametrize(
    ("name", "weight", "phrase"),
    [
        (..., lambda t: ..., "in place of the `...`"),
        ("Ada", lambda t: t, "Ada's contributions"),
        ("bo", lambda t: t, "ranking"),
        ("Dora", lambda t: t, "one of the three names"),
        ("Cleo", lambda t: ..., "The name is right"),
        ("Cleo", lambda t: 1 - t**2, "Mind what is squared"),
        ("Cleo", lambda t: 1 - t, "straight line"),
        ("Cleo", lambda t: t**2, "should have used"),
        ("Cleo", lambda t: 1 / t, "find a square"),
    ],
)
def test_wrong_weight_hints(name, weight, phrase):
    feedback = questions.wrong_weight(name, weight)
    assert not feedback.solved and phrase in feedback.message


def test_wrong_weight_found():
    assert questions.wrong_weight(" cleo", lambda t: 1 - 2 * t + t * t).solved


@pytest.fixture(scope="module")
def chip(detector):
    """A good chip's pixels, and the verdict on any such array."""
    good = read_picture(EMBEDDED / "examples" / "chip" / "test" / "good" / "000.png").pixels
    return good, lambda pixels: detector.score(pixels, "chip")


@pytest.mark.parametrize(
    ("paint", "phrase"),
    [
        (lambda p: None, "Return the whole picture"),
        (lambda p: p / 255, "Return the whole picture"),
        (lambda p: p, "No pixel has changed"),
        (lambda p: 255 - p, "at most 5 %"),
        (lambda p: np.where(np.indices(p.shape[:2]).sum(0)[..., None] == 60, p ^ 1, p), "Hidden well"),
    ],
)
def test_own_defect_hints(chip, paint, phrase):
    feedback = questions.own_defect(chip[0], paint(chip[0].copy()), chip[1])
    assert not feedback.solved and phrase in feedback.message


def test_own_defect_found_where_it_is(chip):
    good, judge = chip
    painted = good.copy()
    painted[30:40, 60:70] = 230
    assert questions.own_defect(good, painted, judge).solved
    beside = good.copy()
    beside[-3:, :3] ^= 1  # what is judged has its defect elsewhere than what was painted
    assert "elsewhere" in questions.own_defect(good, beside, lambda _: judge(painted)).message


@pytest.mark.parametrize("name", ["semicircle", "three_clusters", "two_moons"])
def test_toys_have_a_normal_and_an_anomalous_point(name):
    toy = plane.toy(name)
    density = toy.field.log_density(torch.stack([toy.normal, toy.anomalous]).flatten(1), 0.999)
    assert density[0] - density[1] > 8  # five standard deviations off are 12.5 nats, less what the point itself is off
    with pytest.raises(SettingsError, match="choose one of semicircle, "):
        plane.toy(name[:-1])


# ---- notebooks


def read(name: str) -> nbformat.NotebookNode:
    return nbformat.read(WORKSHOP / f"{name}.ipynb", as_version=4)


def states(outputs: list[dict]) -> list[str]:
    texts = ["".join(o.get("data", {}).get("text/plain", "")) for o in outputs]
    return [text for text in texts if re.search(r" - (not )?solved", text)]


def test_learner_notebook_is_made_from_the_solutions():
    assert nbformat.writes(read("learner")) == nbformat.writes(make_learner.learner_from(read("solutions"))), (
        "run: python notebooks/workshop/make_learner.py"
    )
    solved = {c.source for c in read("solutions").cells if "# solution" in c.source}
    assert len(solved) == 13
    assert not any("# solution" in c.source for c in read("learner").cells)


def test_without_solutions_keeps_names_and_takes_answers():
    source = "def f(x):\n    y = x**2  # solution\n    x[0] = 1  # solution\n    return x + y  # solution\nz = 1"
    assert make_learner.without_solutions(source) == (
        "def f(x):\n    y = ...  # your turn\n    ...  # your turn\n    return ...  # your turn\nz = 1"
    )


@pytest.mark.parametrize("name", ["learner", "solutions"])
def test_notebooks_are_clean(name):
    notebook = read(name)
    nbformat.validate(notebook)
    assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
    assert notebook.metadata.kernelspec.name == "python3"
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert not cell.outputs and cell.execution_count is None
            assert len(cell.source.splitlines()) <= 12
    assert [c for c in notebook.cells if "parameters" in c.metadata.get("tags", [])]


def test_guide_and_notebook_have_the_same_times():
    rows = re.findall(r"^\| (\d+) \| ([^|]+?) \|", (WORKSHOP / "GUIDE.md").read_text(), re.MULTILINE)
    assert sum(int(minutes) for minutes, _ in rows) == 120
    text = "\n".join(c.source for c in read("learner").cells if c.cell_type == "markdown")
    headings = re.findall(r"^## (.+) \((\d+) min\)$", text, re.MULTILINE)
    shown = {title.split(" on ")[0]: minutes for title, minutes in headings}
    planned = {title: minutes for minutes, title in rows if title != "Welcome, the idea"}
    assert shown == planned


def test_every_link_to_the_repository_is_set_in_one_place():
    """By the one command that the guide gives, which looks for this word."""
    for name in ("solutions.ipynb", "learner.ipynb", "GUIDE.md"):
        text = (WORKSHOP / name).read_text()
        assert set(re.findall(r"(?:github|gh)/([\w.-]+/[\w.-]+)", text)) == {"OWNER/REPO"}


def test_answers_work_without_quotes():
    assert questions.prediction("velocity", questions.ANSWERS["b"]).solved
    names = {letter: questions.ANSWERS[name] for letter, name in (("P", "late"), ("Q", "combined"), ("R", "early"))}
    assert questions.landscapes(names).solved
    assert questions.wrong_weight(questions.ANSWERS["Cleo"], lambda t: (1 - t) ** 2).solved
    (setup,) = [c.source for c in read("learner").cells if "questions.ANSWERS" in c.source]
    assert setup.index("globals()") < setup.index("Ready")


def test_no_cell_takes_the_name_of_an_answer():
    """Such as ``late``, which is an answer in section 4: an answer without quotes would be that cell's value."""
    code = "\n".join(c.source for c in read("learner").cells if c.cell_type == "code")
    bound = {
        node.id for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }
    assert "targets" in bound and not bound & set(questions.ANSWERS)


def test_no_text_gives_its_own_answer_away():
    cells = read("learner").cells
    before = {name: i for i, c in enumerate(cells) for name in ("my_path", "my_velocity") if f"def {name}(" in c.source}
    text = "".join(c.source for c in cells[: before["my_path"]])
    assert "(1 - t)" not in text and "1 - t" not in text
    text = "".join(c.source for c in cells[: before["my_velocity"]])
    assert "x_1 - x_0" not in text and "x1 - x0" not in text and "constant speed" not in text
    guide = (WORKSHOP / "GUIDE.md").read_text().partition("| 10 | 1. Straight")[0]
    assert "constant" not in guide and "01_the_idea" in guide and "sections 1 to 4" not in guide


def test_the_best_exponent_is_computed_from_the_stars_at_hand(both):
    first = Mismatch(both.times, both.maps[:, :4])
    heats = {r: first.heatmap(PLAIN.replace(exponent=r))[0].tolist() for r in (0.0, 1.0, 2.0, 4.0)}
    assert questions.best_exponent(heats, 4).solved and "r = 4: 21" in questions.best_exponent(heats, 4).message
    assert not questions.best_exponent(heats, 2).solved and not questions.best_exponent(heats, ...).solved
    assert "one of the numbers 0, 1, 2, 4" in questions.best_exponent(heats, 3).message
    assert "one of the numbers 0, 1, 2, 4" in questions.best_exponent(heats, "4").message
    assert questions.best_exponent({2.0: (1.0, 5.0), 4.0: (1.0, 3.0)}, 2).solved


def test_a_right_answer_to_exercise_3_used_on_all_times_is_refused_in_4_whoever_wrote_it():
    """Exercise 4 with the function of exercise 3, one's own or the one handed on: the same hint, about axes."""
    for mine in (lambda maps: maps.amin(0), check.aggregate(None).function):
        feedback = check.heatmap(lambda m, t, r, mine=mine: (t**r)[:, None, None] * mine(m))
        assert not feedback.solved and "axis 0 of `maps` counts times" in feedback.message


def test_links_name_files_that_exist():
    text = (WORKSHOP / "GUIDE.md").read_text() + json.dumps([c.source for c in read("learner").cells])
    paths = set(re.findall(r"(?:blob/main|lab/tree)/([\w./]+\.ipynb)", text))
    assert paths and all((ROOT / path).is_file() for path in paths)


def test_binder_requirements_lead_to_the_apps():
    lines = (ROOT / ".binder" / "requirements.txt").read_text().splitlines()
    (included,) = [line.removeprefix("-r ") for line in lines if line.startswith("-r ")]
    assert (ROOT / ".binder" / included).resolve() == ROOT / "requirements.txt"
