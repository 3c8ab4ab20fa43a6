"""Heat maps as PNG files: one perceptually uniform colour map, one scale for all images of a run."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from fmcore.data.picture import resize_map

HEAT, PART = "_heat.png", ".part"


def is_heatmap(path: Path) -> bool:
    """Whether `HeatmapWriter` wrote the file: by its name and the scale stored in it."""
    return path.name.endswith(HEAT) and "scale" in stored_in(path)


def stored_in(path: Path) -> dict[str, str]:
    """The texts in a PNG file."""
    try:
        with Image.open(path, formats=("PNG",)) as picture:
            return dict(getattr(picture, "text", {}))
    # Pillow raises many types on damaged files; one that is none of ours is for the caller to report.
    except Exception:
        return {}


def replace(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Have ``write`` fill a file that gets its name when it is whole: a reader, or the next run, never sees a part."""
    # Short, as the name may be as long as a name can be; of this thread alone.
    temporary = path.with_name(f".{os.getpid()}-{threading.get_ident()}{PART}")
    with temporary.open("wb") as file:
        write(file)
    os.replace(temporary, path)


class HeatmapWriter:
    """Writes heat maps into an existing folder, coloured from 0 to ``scale``; None: the first map sets it."""

    def __init__(self, folder: Path, scale: float | None = None):
        from matplotlib import colormaps  # here, as only writing pictures needs it

        self.folder, self.scale = folder, scale
        self.table = (colormaps["inferno"](np.arange(256))[:, :3] * 255).round().astype(np.uint8)

    @property
    def legend(self) -> str:
        """One sentence on how to read the files; empty before there is a scale."""
        colours = f"Colours of all heat maps run from 0 (black) to {self.scale or 0:.4g} and above (pale yellow)."
        return colours if self.scale else ""

    def write(self, name: str, heatmap: np.ndarray, *, height: int, width: int, **texts: str) -> Path:
        """``<folder>/<name>_heat.png`` at the image's own size; ``heatmap`` is ``(H, W)``, non-negative; ``texts`` are
        stored with it."""
        self.scale = self.scale or float(heatmap.max()) or 1.0
        levels = np.clip(resize_map(heatmap, height=height, width=width) / self.scale * 255, 0, 255)
        (path := self.folder / f"{name}{HEAT}").parent.mkdir(parents=True, exist_ok=True)
        info = PngInfo()
        for name, text in {"scale": f"0 to {self.scale!r}", **texts}.items():
            info.add_text(name, text)
        coloured = Image.fromarray(self.table[levels.round().astype(np.uint8)])
        replace(path, lambda file: coloured.save(file, "PNG", pnginfo=info))
        return path
