"""Makes the learner's notebook from the solutions, so that there is one text of the workshop to keep.

    python notebooks/workshop/make_learner.py [--repository OWNER/REPO]

In ``solutions.ipynb`` every line that a learner is to write ends in ``# solution``. In ``learner.ipynb`` a plain
name or ``return`` at its start is kept and the rest is ``...``. ``--repository`` sets where the Colab and Binder
links point, in both notebooks and in the guide: the one place to do so.
"""

from __future__ import annotations

import argparse
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


def point_to(repository: str, text: str) -> str:
    """Notebook or guide text with all its links to the repository changed.

    Raises:
        ValueError: if ``repository`` is not of the form OWNER/REPO.
    """
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repository):
        raise ValueError(f"'{repository}' is no repository: give it as OWNER/REPO.")
    old = re.search(r"colab\.research\.google\.com/github/([\w.-]+/[\w.-]+)/blob", text).group(1)
    for before, after in (("/github/", "/blob/"), ("/gh/", "/main?"), ('REPOSITORY = \\"', '\\"')):
        text = text.replace(f"{before}{old}{after}", f"{before}{repository}{after}")
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description="Make learner.ipynb from solutions.ipynb.")
    parser.add_argument("--repository", help="OWNER/REPO on GitHub, for the Colab and Binder links")
    repository = parser.parse_args().repository
    if repository:
        for name in ("solutions.ipynb", "GUIDE.md"):
            file = FOLDER / name
            try:
                file.write_text(point_to(repository, file.read_text()))
            except ValueError as error:
                parser.error(str(error))
    solutions = nbformat.read(FOLDER / "solutions.ipynb", as_version=4)
    (FOLDER / "learner.ipynb").write_text(nbformat.writes(learner_from(solutions)) + "\n")
    print("Written: learner.ipynb")


if __name__ == "__main__":
    main()
