"""The folder a notebook leaves behind: figures and one ``metrics.json``, each written atomically."""

import json
import os
from base64 import b64encode
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from IPython import get_ipython
from IPython.display import HTML, Image, display
from matplotlib.figure import Figure

from common import write_text


class Output:
    """What one run of a notebook produces, in ``folder``, which is created if needed."""

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._metrics: dict[str, Any] = {}
        self._library_with = ""  # the figure that carries plotly.js for all

    def figure(self, figure: Figure, name: str, interactive: Any = None) -> None:
        """Save as ``name.png`` and show it under the cell, once, wherever in the cell this is called; on a screen its
        counterpart of `figures.interactive` where there is one."""
        partial = self.folder / f".{name}.{os.getpid()}.png"
        figure.savefig(partial, bbox_inches="tight")
        os.replace(partial, self.folder / f"{name}.png")
        plt.close(figure)  # or Jupyter would show a pyplot figure a second time
        if get_ipython() is None:
            return
        drawn = (self.folder / f"{name}.png").read_bytes()  # shown as it is: drawing takes longer than much of the rest
        if interactive is None:
            return display(Image(drawn, format="png"))
        # Again in a cell that is run again, or a saved notebook would come to lack it.
        self._library_with = self._library_with or name
        shown = interactive.html(library=self._library_with == name)
        png = f"data:image/png;base64,{b64encode(drawn).decode()}"
        printed = f'<img class="printed" style="display: none" alt="{name}" src="{png}">'
        display(HTML(f'<div class="interactive">{shown}</div>{printed}'))

    def metrics(self, **values: Any) -> dict[str, Any]:
        """Add to ``metrics.json`` (plain numbers, strings, lists, dicts) and return all so far."""
        self._metrics.update(values)
        self.json("metrics", self._metrics)
        return self._metrics

    def json(self, name: str, values: dict[str, Any]) -> None:
        """Write ``name.json``."""
        write_text(self.folder / f"{name}.json", json.dumps(values, indent=1, allow_nan=False))
