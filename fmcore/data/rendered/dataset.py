"""Writing rendered images as a data set in the folder layout of MVTec AD."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from pydantic import Field

from fmcore.data.rendered.sample import CATEGORIES, defects_of, render
from fmcore.settings import Settings

_IMAGES_PER_FOLDER = 100_000  # seeds of different folders are this far apart
_FOLDERS = 64  # seeds of different settings.seed are this many folders apart


class RenderSettings(Settings):
    """What to render."""

    categories: tuple[str, ...] = Field(CATEGORIES, description="names with commas")
    train: int = Field(300, ge=0, le=_IMAGES_PER_FOLDER, description="good images to train on, per category")
    test_good: int = Field(30, ge=0, le=_IMAGES_PER_FOLDER, description="good images to test on, per category")
    test_per_defect: int = Field(12, ge=0, le=_IMAGES_PER_FOLDER, description="images of each kind of defect")
    size: int = Field(128, ge=32, le=512, description="pixels per side")
    seed: int = Field(0, ge=0, description="no two seeds have an image in common")


class RenderRecord(NamedTuple):
    """Progress: ``done`` of ``total`` images of the whole data set are written, the last one of ``category``."""

    category: str
    done: int
    total: int


class _Folder(NamedTuple):
    """One folder of images: where it lies in a category, what it shows and which block of seeds it uses."""

    path: str
    defect: str | None
    split: str
    count: int
    block: int


def write_dataset(out: Path, settings: RenderSettings) -> Iterator[RenderRecord]:
    """Render a data set into ``out``, yielding one record after every image.

    The layout of each category is MVTec AD's: ``train/good/000.png``, ``test/good/000.png``,
    ``test/<defect>/000.png`` and ``ground_truth/<defect>/000_mask.png`` (mode L, 0 or 255).  Every file is
    written under a temporary name and renamed, so an interrupted run leaves no half image.  No two images of
    a data set share a seed, nor do those of two data sets with different ``settings.seed``.

    Raises SettingsError for an unknown category, before anything is written.
    """
    folders = {category: _folders(category, settings) for category in settings.categories}
    return _write(Path(out), settings, folders)


def _write(out: Path, settings: RenderSettings, folders: dict[str, list[_Folder]]) -> Iterator[RenderRecord]:
    total, done = sum(folder.count for each in folders.values() for folder in each), 0
    for category, each in folders.items():
        for folder in each:
            for index in range(folder.count):
                seed = (settings.seed * _FOLDERS + folder.block) * _IMAGES_PER_FOLDER + index
                sample = render(category, seed, defect=folder.defect, split=folder.split, size=settings.size)
                _save(out / category / folder.path / f"{index:03d}.png", sample.image)
                if folder.defect is not None:
                    mask = out / category / "ground_truth" / folder.defect / f"{index:03d}_mask.png"
                    _save(mask, np.where(sample.mask, 255, 0).astype(np.uint8))
                done += 1
                yield RenderRecord(category, done, total)


def _folders(category: str, settings: RenderSettings) -> list[_Folder]:
    good = [
        _Folder("train/good", None, "train", settings.train, 0),
        _Folder("test/good", None, "test", settings.test_good, 1),
    ]
    return good + [
        _Folder(f"test/{defect}", defect, "test", settings.test_per_defect, 2 + number)
        for number, defect in enumerate(defects_of(category))
    ]


def _save(path: Path, pixels: np.ndarray) -> None:
    """Write a PNG atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        Image.fromarray(pixels).save(partial, format="PNG")
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
