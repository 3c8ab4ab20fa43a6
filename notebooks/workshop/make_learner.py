"""Makes the learner's notebook from the solutions, so that there is one text of the workshop to keep.

    python notebooks/workshop/make_learner.py

In ``solutions.ipynb`` every line that a learner is to write ends in ``# solution``. In ``learner.ipynb`` a plain
name or ``return`` at its start is kept and the rest is ``...``."""

import re
from pathlib import Path

import nbformat

FOLDER = Path(__file__).resolve().parent
SOLUTION = re.compile(r"^(?P<kept>\s*(?:\w+ = |return )?)(?P<answer>\S.*?)  # solution$", re.MULTILINE)


def without_solutions(source: str) -> str:
    """A code cell as the learner gets it."""
    return SOLUTION.sub(r"\g<kept>...  # your turn", source)


def learner_from(solutions: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """The learner's notebook: the same cells, answers taken out, no outputs."""
    learner = nbformat.from_dict(solutions)
    for cell in learner.cells:
        if cell.cell_type == "code":
            cell.update(source=without_solutions(cell.source), outputs=[], execution_count=None)
    return learner


if __name__ == "__main__":
    solutions = nbformat.read(FOLDER / "solutions.ipynb", as_version=4)
    (FOLDER / "learner.ipynb").write_text(nbformat.writes(learner_from(solutions)) + "\n")
