"""A model: for each category a view, a field and a threshold, and all that scoring needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict

from fmcore.detector.calibration import NormalRange, Threshold
from fmcore.detector.saving import save_model
from fmcore.detector.score import Result, score
from fmcore.errors import SettingsError
from fmcore.fields.field import Field, VelocityField
from fmcore.mismatch import HeatSettings, PathSettings
from fmcore.views import View

FORMAT = 3


class PartInfo(BaseModel):
    """What rebuilds an empty view or field."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: str
    config: dict[str, Any]


class CategoryInfo(BaseModel):
    """One category; ``field`` is None where the model has one field for all. ``note`` says why there is no threshold;
    ``unlike`` names the good images that are unlike the others and did not count for it; ``scores`` are those of the
    held-out ones that did."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    view: PartInfo
    field: PartInfo | None = None
    threshold: Threshold | None = None
    note: str = ""
    unlike: tuple[str, ...] = ()
    scores: tuple[float, ...] = ()


class ModelInfo(BaseModel):
    """The JSON beside the weights."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[3] = FORMAT
    categories: dict[str, CategoryInfo]
    shared: PartInfo | None = None
    paths: PathSettings
    heat: HeatSettings
    training: dict[str, Any] = {}
    versions: dict[str, str] = {}
    files: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        """The kind of the field, of the first category where there are several."""
        return (self.shared or next(iter(self.categories.values())).field).kind


@dataclass(frozen=True)
class Model:
    """``views`` and ``fields`` by category; ``shared`` is the field of all categories, where there is one."""

    info: ModelInfo
    views: dict[str, View]
    fields: dict[str, Field]
    shared: Field | None
    normal_ranges: dict[str, NormalRange]

    @property
    def categories(self) -> tuple[str, ...]:
        return tuple(self.info.categories)

    def category(self, name: str | None = None) -> str:
        """``name`` checked against the model's categories; the only one there is if None.

        Raises:
            SettingsError: if it is unknown, or not given though the model has several.
        """
        known = self.categories
        if name is None and len(known) == 1:
            return known[0]
        if name not in known:
            said = "This model has several categories" if name is None else f"This model has no category '{name}'"
            raise SettingsError(f"{said}: choose one of {', '.join(known)}.")
        return name

    def view(self, category: str | None = None) -> View:
        return self.views[self.category(category)]

    def field(self, category: str | None = None) -> VelocityField:
        """The velocity field ``(x, t) -> v`` of a category."""
        name = self.category(category)
        return self.shared.conditioned(self.categories.index(name)) if self.shared is not None else self.fields[name]

    def threshold(self, category: str | None = None) -> Threshold | None:
        return self.info.categories[self.category(category)].threshold

    def note(self, category: str | None = None) -> str:
        """Why there is no threshold."""
        return self.info.categories[self.category(category)].note

    @property
    def device(self) -> torch.device:
        return next(iter(self.views.values())).device

    def to(self, device: str | torch.device) -> Model:
        """Itself, moved there."""
        for part in (*self.views.values(), *self.fields.values(), *([self.shared] if self.shared is not None else [])):
            part.to(device)
        return self

    def score(self, pictures: Any, category: str | None = None) -> Result | list[Result]:
        """`fmcore.detector.score.score` of one picture, or a list of results for a list of them."""
        if isinstance(pictures, Sequence) and not isinstance(pictures, str):
            return [score(self, picture, category) for picture in pictures]
        return score(self, pictures, category)

    def save(self, folder: str | Path, *, half: bool = False) -> None:
        """`fmcore.detector.saving.save_model`."""
        save_model(folder, self, half=half)
