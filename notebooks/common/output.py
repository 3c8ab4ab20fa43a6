"""The folder a notebook leaves behind: figures and one ``metrics.json``, each written atomically."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from IPython import get_ipython
from IPython.core.pylabtools import select_figure_formats
from IPython.display import display
from matplotlib.figure import Figure

from common import write_text


class Output:
    """What one run of a notebook produces, in ``folder``, which is created if needed."""

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._metrics: dict[str, Any] = {}
        if (shell := get_ipython()) is not None:
            select_figure_formats(shell, {"png"})  # figures are shown even where pyplot was never used

    def figure(self, figure: Figure, name: str) -> None:
        """Save as ``name.png`` and show it under the cell, once, wherever in the cell this is called."""
        partial = self.folder / f".{name}.{os.getpid()}.png"
        figure.savefig(partial, dpi=150, bbox_inches="tight")
        os.replace(partial, self.folder / f"{name}.png")
        plt.close(figure)  # or Jupyter would show a pyplot figure a second time
        if get_ipython() is not None:
            display(figure)

    def metrics(self, **values: Any) -> dict[str, Any]:
        """Add to ``metrics.json`` (plain numbers, strings, lists, dicts) and return all so far."""
        self._metrics.update(values)
        write_text(self.folder / "metrics.json", json.dumps(self._metrics, indent=1, allow_nan=False))
        return self._metrics
