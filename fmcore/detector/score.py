"""From a model and a picture to heat map, score and verdict: the one route of command line, app and notebooks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fmcore.data.picture import Picture
from fmcore.detector.regions import Region, find_regions, mark
from fmcore.mismatch import HeatSettings, Mismatch, MismatchStep, PathSettings, image_score, mismatch_steps

if TYPE_CHECKING:
    from fmcore.detector.model import Model


@dataclass(frozen=True)
class Verdict:
    """``heatmap`` ``(h, w)`` on the view's grid; ``score`` is raw; ``anomalous`` is None where no threshold applies,
    and ``note`` then says why."""

    heatmap: np.ndarray
    score: float
    threshold: float | None
    anomalous: bool | None
    note: str


@dataclass(frozen=True)
class Result(Verdict):
    """A verdict whose ``heatmap`` has the picture's own size ``(H, W)``."""

    @property
    def mask(self) -> np.ndarray | None:
        """``(H, W)`` bool, what is marked (`fmcore.detector.regions.mark`); None without a threshold."""
        return None if self.threshold is None else mark(self.heatmap, self.threshold)

    @property
    def regions(self) -> list[Region]:
        """Connected marked regions, the highest peak first; none without a threshold."""
        return [] if self.threshold is None else find_regions(self.heatmap, self.threshold)


def score_steps(
    model: Model, picture: Picture, paths: PathSettings | None = None, category: str | None = None
) -> Iterator[MismatchStep]:
    """`mismatch_steps` of a picture under a model's view and field; ``paths`` default to the model's own."""
    return mismatch_steps(model.field(category), model.view(category)(picture), paths or model.info.paths)


def judge(
    model: Model,
    mismatch: Mismatch,
    paths: PathSettings | None = None,
    heat: HeatSettings | None = None,
    category: str | None = None,
) -> Verdict:
    """Heat map and score of a finished mismatch, against the category's threshold.

    A threshold holds only for the settings it was measured with; with any other there is no verdict.
    """
    paths, heat = paths or model.info.paths, heat or model.info.heat
    heatmap = mismatch.heatmap(heat)
    score = image_score(heatmap)
    threshold = model.threshold(category)
    if threshold is None:
        return Verdict(heatmap, score, None, None, model.note(category) or "No threshold is stored.")
    if paths != model.info.paths or heat != model.info.heat:
        return Verdict(heatmap, score, None, None, "No verdict: the threshold was measured with other settings.")
    return Verdict(heatmap, score, threshold.value, score > threshold.value, "")


def score(model: Model, picture: Any, category: str | None = None) -> Result:
    """One picture (a path, a PIL image, an array: `Picture.of`) with the model's own settings.

    Raises:
        ImageError: if it cannot be used. SettingsError: for an unknown category.
    """
    picture = Picture.of(picture)
    verdict = judge(model, Mismatch.collect(score_steps(model, picture, category=category)), category=category)
    heatmap = model.view(category).enlarge(verdict.heatmap, *picture.size_in_file)
    note = verdict.note or model.view(category).remark(picture)
    return Result(heatmap, verdict.score, verdict.threshold, verdict.anomalous, note)
