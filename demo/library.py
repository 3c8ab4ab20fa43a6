"""The models and examples that come with the app: where they are, read when first needed, then kept."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path

import numpy as np

from fmcore.data.folders import TestItem, find_test_items
from fmcore.data.picture import read_picture
from fmcore.detector.model import FILE, Model, ModelInfo, load_model, read_info
from fmcore.errors import DataError, SettingsError

LABELS = {"unet": "Learned network", "gaussian": "Gaussian field"}
OPENING = "chip"  # the category shown first
THUMBNAIL = 96  # pixels


def embedded_folder() -> Path:
    """Holds one folder per model and ``examples/<category>`` in MVTec layout."""
    return Path(os.environ.get("FLOW_MISMATCHING_EMBEDDED") or Path(__file__).parent / "embedded")


def model_names() -> list[str]:
    """Names of the finished models, the recommended one first."""
    return [name for name in LABELS if (embedded_folder() / name / FILE).is_file()]


def model(name: str) -> Model:
    """A model by name, loaded once.

    Raises:
        SettingsError: if there is none of that name.
    """
    known = model_names()
    if name not in known:
        raise SettingsError(f"There is no model '{name}': choose one of {', '.join(known) or '(none is installed)'}.")
    return _load(embedded_folder() / name)


def info(name: str) -> ModelInfo | None:
    """What is written beside a model's weights, without loading them; None if there is no such model."""
    return read_info(embedded_folder() / name) if name in model_names() else None


def categories(name: str) -> list[str]:
    """Categories of a model; none if there is no such model."""
    found = info(name)
    return list(found.categories) if found else []


def first_category(name: str) -> str | None:
    """The category to show first: `OPENING` where the model has it."""
    known = categories(name)
    return OPENING if OPENING in known else next(iter(known), None)


def examples(category: str | None) -> list[TestItem]:
    """Test images of a category, defective ones first; none where the category has no examples."""
    if category not in {known for name in model_names() for known in categories(name)}:  # it becomes part of a path
        return []
    return _examples(embedded_folder() / "examples" / category)


def example(category: str | None, index: object) -> TestItem:
    """One example by its place in `examples`.

    Raises:
        SettingsError: if ``index`` is no whole number or out of range.
    """
    items = examples(category)
    if not items:
        raise SettingsError(f"Category '{category}' has no examples: upload an image instead.")
    if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < len(items):
        raise SettingsError(f"There is no example {index!r} of '{category}': choose 0 to {len(items) - 1}.")
    return items[index]


@lru_cache(maxsize=64)
def thumbnail(path: Path) -> np.ndarray:
    """A small ``(h, w, 3)`` uint8 picture for the gallery."""
    return read_picture(path).rgb(THUMBNAIL)


@lru_cache(maxsize=4)
def _load(folder: Path) -> Model:
    return load_model(folder)


@lru_cache(maxsize=32)
def _examples(folder: Path) -> list[TestItem]:
    try:
        return sorted(find_test_items(folder), key=lambda item: item.is_good)
    except DataError:
        return []
