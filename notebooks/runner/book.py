"""The notebooks that there are, and what each says about itself."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import nbformat

from common import NOTEBOOKS
from fmcore.errors import SettingsError
from runner.parameters import Parameter, read_parameters, suggestion


@dataclass(frozen=True)
class Notebook:
    """A notebook file, read when first needed. Its metadata may hold, under ``fmcore``: ``per_category`` (name of the
    notebook that runs on each category before this one, or its own), ``fold_code`` (the HTML hides code at first)."""

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
    def code(self) -> str:
        return "\n".join(c.source for c in self.node.cells if c.cell_type == "code")

    @property
    def per_category(self) -> "Notebook | None":
        """The notebook to run on each category, if this one is about categories."""
        name = self.node.metadata.get("fmcore", {}).get("per_category")
        return self if name == self.name else find_notebook(name) if name else None

    @property
    def title(self) -> str:
        """First heading."""
        lines = (line for c in self.node.cells if c.cell_type == "markdown" for line in c.source.splitlines())
        return next((line.lstrip("# ") for line in lines if line.startswith("#")), self.name)


def all_notebooks() -> list[Notebook]:
    """In the order of their numbers, then the workshop's."""
    return [Notebook(path) for folder in (NOTEBOOKS, NOTEBOOKS / "workshop") for path in sorted(folder.glob("*.ipynb"))]


def find_notebook(name: str) -> Notebook:
    """By file name, with or without ``.ipynb`` and number, by number alone, or by path; `SettingsError`, with a
    suggestion, if there is none."""
    if name.endswith(".ipynb") and Path(name).is_file():
        return Notebook(Path(name).resolve())
    wanted, known = Path(name).name.removesuffix(".ipynb"), {}
    for book in all_notebooks():
        number, _, title = book.name.partition("_")
        known |= {book.name: book, number.lstrip("0"): book, title or book.name: book}
    key = wanted.lstrip("0") if wanted.isdigit() else wanted
    if key not in known:
        names = [key for key, book in known.items() if key == book.name]
        raise SettingsError(f"There is no notebook '{name}'; {suggestion(wanted, names, 'there are')}")
    return known[key]
