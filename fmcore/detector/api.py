"""Fitting in one call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fmcore.data.folders import find_good_images
from fmcore.detector.fit import fit
from fmcore.detector.model import Model
from fmcore.detector.settings import FitSettings
from fmcore.errors import DataError


def fit_model(good: Any, device: str, settings: dict[str, Any]) -> Model:
    """The model of `fmcore.fit`. Raises `DataError` for what is neither a folder nor pictures."""
    if isinstance(good, str | Path):
        pictures: Mapping[str, Sequence[Any]] = find_good_images(good).categories
    elif isinstance(good, Mapping):
        pictures = good
    elif isinstance(good, Sequence):
        pictures = {"images": good}
    else:
        raise DataError(f"Good images are a folder, a list of pictures or a dict of lists, not {type(good).__name__}.")
    model = None
    for record in fit(pictures, FitSettings.parse(**settings), device=device):
        model = record.model
    return model
