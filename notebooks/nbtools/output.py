"""The folder a notebook leaves behind: figures, tables and one ``metrics.json``, each written atomically."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure


class Output:
    """Collects what one run of a notebook produces.

    Args:
        folder: created if needed.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._metrics: dict[str, Any] = {}

    def figure(self, figure: Figure, name: str) -> Figure:
        """Save as ``name.png`` and hand the figure back, so that a cell ending with this call shows it."""
        partial = self.folder / f".{name}.{os.getpid()}.png"
        figure.savefig(partial, dpi=150, bbox_inches="tight")
        os.replace(partial, self.folder / f"{name}.png")
        return figure

    def metrics(self, **values: Any) -> dict[str, Any]:
        """Add figures to ``metrics.json`` (plain numbers, strings, lists, dicts) and return all so far."""
        self._metrics.update(values)
        partial = self.folder / f".metrics.{os.getpid()}.json"
        partial.write_text(json.dumps(self._metrics, indent=1, allow_nan=False))
        os.replace(partial, self.folder / "metrics.json")
        return self._metrics
