"""From a model and a picture to heat map, score and verdict: the one route of command line, app and notebooks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np
from scipy.ndimage import find_objects, label, maximum, sum_labels

from fmcore.data.picture import Picture
from fmcore.mismatch import HeatSettings, Mismatch, MismatchStep, PathSettings, image_score, mismatch_steps, within

if TYPE_CHECKING:
    from fmcore.detector.model import Model


@dataclass(frozen=True)
class Verdict:
    """``heatmap`` is on the view's grid ``(h, w)``; of `score`, at the picture's own size ``(H, W)``. ``score`` is raw;
    ``anomalous`` is None where no threshold applies, and ``note`` then says why."""

    heatmap: np.ndarray
    score: float
    threshold: float | None
    anomalous: bool | None
    note: str

    def against(self, threshold: float) -> Self:
        """The same score judged by another threshold."""
        return replace(self, threshold=threshold, anomalous=self.score > threshold, note="")

    @property
    def mask(self) -> np.ndarray | None:
        """`mark` of the heat map, bool; None without a threshold."""
        return None if self.threshold is None else mark(self.heatmap, self.threshold)

    @property
    def regions(self) -> list[Region]:
        """`find_regions`; none without a threshold."""
        return [] if self.threshold is None else find_regions(self.heatmap, self.threshold)


class Region(NamedTuple):
    """``box`` is left, top, width, height; ``area`` a number of pixels; ``peak`` the map's largest value in it."""

    box: tuple[int, int, int, int]
    area: int
    peak: float


def mark(heatmap: np.ndarray, threshold: float) -> np.ndarray:
    """``(H, W)`` bool: where the map exceeds half the threshold of the score, which adds the mean of the top to the
    maximum: a place above that alone would make the picture anomalous."""
    return heatmap > threshold / 2


def find_regions(heatmap: np.ndarray, threshold: float) -> list[Region]:
    """Connected regions of `mark`, diagonal neighbours joined, the highest peak first."""
    labels, count = label(mark(heatmap, threshold), structure=np.ones((3, 3)))
    numbers, found = np.arange(1, count + 1), []
    areas, peaks = sum_labels(labels > 0, labels, numbers), maximum(heatmap, labels, numbers)
    for (rows, columns), area, peak in zip(find_objects(labels), areas, peaks, strict=True):
        box = (columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start)
        found.append(Region(box, int(area), float(peak)))
    return sorted(found, key=lambda region: -region.peak)


def score_steps(
    model: Model, picture: Picture, paths: PathSettings | None = None, category: str | None = None
) -> Iterator[MismatchStep]:
    """`mismatch_steps` of a picture under a model's view and field; ``paths`` default to the model's own."""
    view = model.view(category)
    return within(mismatch_steps(model.field(category), view(picture), paths or model.info.paths), view.roi_of_grid)


def judge(
    model: Model,
    mismatch: Mismatch,
    paths: PathSettings | None = None,
    heat: HeatSettings | None = None,
    category: str | None = None,
    threshold: float | None = None,
) -> Verdict:
    """Heat map and score of a finished mismatch, against ``threshold`` or the category's own, which holds only for the
    settings it was measured with: with any other there is no verdict."""
    heatmap, note = mismatch.heatmap(heat or model.info.heat), ""
    if threshold is None:
        own = model.threshold(category)
        if own is None:
            note = model.note(category) or "No threshold is stored."
        elif not model.is_own(paths, heat):
            note = "No verdict: the threshold was measured with other settings."
        else:
            threshold = own.value
    score = image_score(heatmap)
    return Verdict(heatmap, score, threshold, None if threshold is None else score > threshold, note)


def score(
    model: Model,
    picture: Any,
    category: str | None = None,
    *,
    paths: PathSettings | None = None,
    heat: HeatSettings | None = None,
    threshold: float | None = None,
) -> Verdict:
    """One picture (a path, a PIL image, an array: `Picture.of`), by default with the model's own settings.

    Raises:
        ImageError: if it cannot be used. SettingsError: for an unknown category.
    """
    picture, view = Picture.of(picture), model.view(category)
    mismatch = Mismatch.collect(score_steps(model, picture, paths, category))
    found = judge(model, mismatch, paths, heat, category, threshold)
    heatmap = view.inside(view.enlarge(found.heatmap, *picture.size_in_file))
    return replace(found, heatmap=heatmap, note=found.note or view.remark(picture))
