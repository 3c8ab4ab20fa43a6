"""What the page asks of the Draw tab: a good picture to begin with, and the score of what was drawn on it."""

from __future__ import annotations

import numpy as np

from demo.common import embedded
from demo.common.answering import MOST_SIDE, Turn, answering, drawn_picture
from demo.common.messages import data_url, encode, zipped
from demo.common.own import find_model
from demo.inspect.view import known_scales
from fmcore.data.picture import Picture, read_picture
from fmcore.detector.model import Model
from fmcore.detector.score import judge, score_steps
from fmcore.errors import SettingsError
from fmcore.mismatch import Mismatch
from fmcore.path import interior_times

TURN = Turn(2)


def offered() -> list[dict]:
    """The models to choose from, and the categories of each that have good examples."""
    return [
        {"name": name, "label": embedded.LABELS[name], "categories": _categories(name)}
        for name in embedded.model_names()
        if _categories(name)
    ]


@answering
def begin(request: dict) -> dict:
    """The good example of this ``number`` (they are taken in turn) under a ``model`` and ``category``, scored."""
    model, category = find_model(request.get("model"), request.get("category"), None)
    good = [item for item in embedded.examples(category) if item.is_good]
    number = request.get("number")
    if not good or isinstance(number, bool) or not isinstance(number, int):
        raise SettingsError(f"There is no good example {number!r} of '{category}': choose another category.")
    pixels = read_picture(good[number % len(good)].path).rgb(MOST_SIDE)
    return {"image": data_url(pixels), **_scored(model, category, Picture(pixels))}


@answering
def score(request: dict) -> dict:
    """Score, verdict and heat map of a drawn ``picture``."""
    model, category = find_model(request.get("model"), request.get("category"), None)
    return _scored(model, category, drawn_picture(request.get("picture")))


def _scored(model: Model, category: str, picture: Picture) -> dict:
    with TURN:
        mismatch = Mismatch.collect(score_steps(model, picture, category=category))
    verdict = judge(model, mismatch, category=category)
    last = np.array(interior_times(model.info.paths.times)[-1:])
    scales = known_scales(model, category, model.info.heat, last)
    low, high = scales.running[-1] if scales else (0.0, float(verdict.heatmap.max()) or 1.0)
    codes = encode(verdict.heatmap, high, low)
    return {
        "score": verdict.score,
        "threshold": verdict.threshold,
        "anomalous": verdict.anomalous,
        "note": verdict.note,
        "arrays": [["map", "uint8", [1, *codes.shape]]],
        "blob": zipped(codes.tobytes()),
    }


def _categories(name: str) -> list[str]:
    return [c for c in embedded.categories(name) if any(item.is_good for item in embedded.examples(c))]
