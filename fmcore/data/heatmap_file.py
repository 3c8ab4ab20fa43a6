"""Heat maps as PNG files: one perceptually uniform colour map, one scale for all images of a run."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from fmcore.data.picture import resize_map
from fmcore.detector.calibration import NormalRange
from fmcore.mismatch.mismatch import HeatSettings

_SUFFIX = "_heat.png"
_KEY = "scale"


def is_heatmap(path: Path) -> bool:
    """Whether a file is a heat map that `HeatmapWriter` wrote: by its name and the scale stored in it."""
    if not path.name.endswith(_SUFFIX):
        return False
    try:
        with Image.open(path, formats=("PNG",)) as picture:
            return _KEY in getattr(picture, "text", {})
    # Pillow raises many types on damaged files; one that is none of ours is for the caller to report.
    except Exception:
        return False


class HeatmapWriter:
    """Writes heat maps into a folder, coloured on the scale of the model's normal range.

    Args:
        folder: existing folder.
        normal_range: of the model's category; without one, the first map written sets the scale.
        heat: the settings the maps were made with.
    """

    def __init__(self, folder: Path, normal_range: NormalRange | None, heat: HeatSettings):
        # Imported here: only writing pictures needs it.
        from matplotlib import colormaps

        self.folder = folder
        self.scale = normal_range.scale(heat.exponent) if normal_range else None
        self.table = (colormaps["inferno"](np.arange(256))[:, :3] * 255).round().astype(np.uint8)

    @property
    def legend(self) -> str:
        """One sentence on how to read the files."""
        return (
            f"Colours of all heat maps run from 0 (black) to {self.scale:.4g} and above (pale yellow)."
            if self.scale
            else ""
        )

    def write(self, name: str, heatmap: np.ndarray, *, height: int, width: int) -> Path:
        """``<folder>/<name>_heat.png`` at the image's own size; ``heatmap`` is ``(H, W)``, non-negative."""
        if self.scale is None:
            self.scale = float(heatmap.max()) or 1.0
        levels = np.clip(resize_map(heatmap, height=height, width=width) / self.scale * 255, 0, 255)
        path = self.folder / f"{name}{_SUFFIX}"
        path.parent.mkdir(parents=True, exist_ok=True)
        info = PngInfo()
        info.add_text(_KEY, f"0 to {self.scale!r}")
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        Image.fromarray(self.table[levels.round().astype(np.uint8)]).save(temporary, "PNG", pnginfo=info)
        os.replace(temporary, path)
        return path
