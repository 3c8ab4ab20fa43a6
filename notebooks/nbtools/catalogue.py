"""The notebooks that there are, and what each says about itself."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import nbformat

from fmcore.errors import SettingsError
from nbtools import NOTEBOOKS
from nbtools.parameters import Parameter, read_parameters

METADATA = "fmcore"  # our key in a notebook's metadata


@dataclass(frozen=True)
class Notebook:
    """A notebook file, read when first needed.

    Its metadata may hold, under ``fmcore``: ``per_category`` (name of the notebook that is run on each category
    before this one, or its own name), ``fold_code`` (the HTML hides code until asked).
    """

    path: Path

    @property
    def name(self) -> str:
        return self.path.stem

    @cached_property
    def node(self) -> nbformat.NotebookNode:
        """The file's content; raises SettingsError where it is no notebook."""
        try:
            return nbformat.read(self.path, as_version=4)
        except Exception as error:  # nbformat raises many types on a damaged file
            raise SettingsError(f"'{self.path}' is not a readable notebook ({type(error).__name__}).") from None

    @cached_property
    def parameters(self) -> dict[str, Parameter]:
        """Of the cell tagged ``parameters``, by name, in their order; raises SettingsError without one."""
        cells = [c for c in self.node.cells if "parameters" in c.metadata.get("tags", [])]
        if not cells:
            raise SettingsError(f"Notebook '{self.name}' has no cell tagged 'parameters': tag one in JupyterLab.")
        return read_parameters(cells[0].source)

    @property
    def per_category(self) -> str | None:
        """Name of the notebook to run on each category, if this one is about categories."""
        return self.node.metadata.get(METADATA, {}).get("per_category")

    @property
    def title(self) -> str:
        """First heading."""
        lines = (line for c in self.node.cells if c.cell_type == "markdown" for line in c.source.splitlines())
        return next((line.lstrip("# ") for line in lines if line.startswith("#")), self.name)


def all_notebooks(folder: Path = NOTEBOOKS) -> list[Notebook]:
    """In the order of their numbers."""
    return [Notebook(p) for p in sorted(folder.rglob("*.ipynb")) if ".ipynb_checkpoints" not in p.parts and _ours(p)]


def find_notebook(name: str, folder: Path = NOTEBOOKS) -> Notebook:
    """By file name, with or without ``.ipynb`` and number, by number alone, or by path.

    Raises:
        SettingsError: if there is none, with a suggestion; or if several fit.
    """
    if name.endswith(".ipynb") and Path(name).is_file():
        return Notebook(Path(name).resolve())
    wanted = Path(name).name.removesuffix(".ipynb")
    known = all_notebooks(folder)
    for fits in (
        [n for n in known if n.name == wanted],
        [n for n in known if wanted.isdigit() and n.name.split("_")[0] == wanted.zfill(2)],
        [n for n in known if n.name.partition("_")[2] == wanted],
    ):
        if len(fits) == 1:
            return fits[0]
        if fits:
            raise SettingsError(f"Several notebooks fit '{name}': choose one of {', '.join(n.name for n in fits)}.")
    names = [n.name for n in known]
    plain = {n.partition("_")[2]: n for n in names}
    close = difflib.get_close_matches(wanted, [*names, *plain], n=1)
    hint = f"did you mean '{plain.get(close[0], close[0])}'?" if close else f"there are {', '.join(names)}."
    raise SettingsError(f"There is no notebook '{name}'; {hint}")


def _ours(path: Path) -> bool:
    # Output folders may lie inside notebooks/ and hold executed copies.
    return "out" not in path.relative_to(NOTEBOOKS).parts if path.is_relative_to(NOTEBOOKS) else True
