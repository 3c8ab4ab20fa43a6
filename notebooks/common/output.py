"""The folder a notebook leaves behind: figures and one ``metrics.json``, each written atomically."""

import json
import os
from base64 import b64encode
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from IPython import get_ipython
from IPython.core.pylabtools import select_figure_formats
from IPython.display import HTML, display
from matplotlib.figure import Figure

from common import write_text


class Output:
    """What one run of a notebook produces, in ``folder``, which is created if needed."""

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._metrics: dict[str, Any] = {}
        self._library_with = ""  # the figure that carries plotly.js for all
        if (shell := get_ipython()) is not None:
            select_figure_formats(shell, {"png"})  # figures are shown even where pyplot was never used

    def figure(self, figure: Figure, name: str, interactive: Any = None) -> None:
        """Save as ``name.png`` and show it under the cell, once, wherever in the cell this is called; on a screen its
        counterpart of `figures.interactive` where there is one."""
        partial = self.folder / f".{name}.{os.getpid()}.png"
        figure.savefig(partial, dpi=150, bbox_inches="tight")
        os.replace(partial, self.folder / f"{name}.png")
        plt.close(figure)  # or Jupyter would show a pyplot figure a second time
        if get_ipython() is None:
            return
        if interactive is None:
            return display(figure)
        # Again in a cell that is run again, or a saved notebook would come to lack it.
        self._library_with = self._library_with or name
        shown = interactive.html(library=self._library_with == name)
        png = b64encode((self.folder / f"{name}.png").read_bytes()).decode()
        printed = f'<img class="printed" style="display: none" alt="{name}" src="data:image/png;base64,{png}">'
        display(HTML(f'<div class="interactive">{shown}</div>{printed}'))

    def metrics(self, **values: Any) -> dict[str, Any]:
        """Add to ``metrics.json`` (plain numbers, strings, lists, dicts) and return all so far."""
        self._metrics.update(values)
        self.json("metrics", self._metrics)
        return self._metrics

    def json(self, name: str, values: dict[str, Any]) -> None:
        """Write ``name.json``."""
        write_text(self.folder / f"{name}.json", json.dumps(values, indent=1, allow_nan=False))
