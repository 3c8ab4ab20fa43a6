"""From a model and a picture to heat map, score and verdict: the one route of the command line and the app."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fmcore.data.picture import Picture
from fmcore.detector.model import Model
from fmcore.detector.tiles import view_sizes
from fmcore.mismatch.mismatch import HeatSettings, Mismatch, MismatchStep, PathSettings, image_score, mismatch_steps


@dataclass(frozen=True)
class Verdict:
    """``score`` is raw; ``anomalous`` is None where no threshold applies, and ``note`` then says why."""

    heatmap: np.ndarray
    score: float
    threshold: float | None
    anomalous: bool | None
    note: str


def score_steps(model: Model, picture: Picture, paths: PathSettings | None = None, category: str | None = None):
    """`mismatch_steps` of a picture under a model's field; ``paths`` default to the model's own."""
    info = model.info
    views = [picture.tensor(n, info.channels).to(model.device) for n in view_sizes(info.size, info.tile_view)]
    tiles = model.tiles_of(category)
    return mismatch_steps(model.field(category), views[0], paths or info.paths, tiles=tiles, fine=views[-1])


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
    paths, heat, category = paths or model.info.paths, heat or model.info.heat, model.category(category)
    heatmap = mismatch.heatmap(heat)
    score = image_score(heatmap)
    threshold = model.info.thresholds.get(category)
    if threshold is None:
        return Verdict(heatmap, score, None, None, model.info.notes.get(category, "No threshold is stored."))
    if paths != model.info.paths or heat != model.info.heat:
        return Verdict(heatmap, score, None, None, "No verdict: the threshold was measured with other settings.")
    return Verdict(heatmap, score, threshold.value, score > threshold.value, "")


def score_picture(model: Model, picture: Picture, category: str | None = None) -> Verdict:
    """All at once, with the model's own settings."""
    steps: list[MismatchStep] = list(score_steps(model, picture, category=category))
    return judge(model, Mismatch.collect(steps), category=category)
