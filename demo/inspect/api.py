"""The programming interface to models: `score` and `fit`, typed, so that gradio documents and checks names.

The functions are those that a client calls; what they are given is checked as what comes from the page is.
"""

from typing import Literal, TypedDict

import gradio as gr

from demo.common import checks, embedded, own
from demo.common.blocks import LONG_WORK, MODEL_WORK
from demo.common.checks import plain_errors
from demo.inspect import fitting
from demo.inspect.handlers import parsed
from fmcore.data.picture import read_picture
from fmcore.detector.score import judge, score_steps
from fmcore.mismatch import AGGREGATORS, Mismatch

Aggregator = Literal[tuple(AGGREGATORS)]


class ScoreAnswer(TypedDict):
    """``anomalous`` is None where no threshold applies, and ``note`` then says why; ``heatmap`` has the rows of the
    map on the model's own grid, where it was asked for; ``settings`` are those that were used."""

    score: float
    threshold: float | None
    anomalous: bool | None
    note: str
    category: str
    settings: dict[str, float | int | str | None]
    heatmap: list[list[float]] | None


class FitAnswer(TypedDict):
    """``model`` is what `score` takes as its model, until it makes room for others; ``threshold`` is None for too few
    pictures; ``unlike`` names good pictures unlike the others; ``said`` has all of it in words."""

    model: str
    threshold: float | None
    unlike: list[str]
    said: str


def build_api() -> None:
    """Add the endpoints; to be called inside ``gr.Blocks``."""
    work, long_work = ({k: v for k, v in w.items() if k.startswith("concurrency")} for w in (MODEL_WORK, LONG_WORK))
    gr.api(score, api_name="score", **work)
    gr.api(fit, api_name="fit", **long_work)


@plain_errors
def score(
    picture: gr.FileData | None = None,
    example: int | None = None,
    model: str = embedded.FEATURES,
    category: str | None = None,
    paths: int | None = None,
    times: int | None = None,
    aggregator: Aggregator | None = None,
    alpha: float | None = None,
    exponent: float | None = None,
    smoothing: float | None = None,
    heatmap: bool = False,
) -> ScoreAnswer:
    """Score one picture, as the page and the command line do.

    Args:
        picture: an image file; or None, with the number of an ``example`` of the category, from 0.
        model: "features", "unet", "gaussian", or what ``/fit`` returned.
        category: of the model; may be left out where it has one only.
        paths: K, noise draws, 1 to 16; 0 is the mean over all noise, where the model has it. None, as for all that
            follow: the model's own, with which alone there is a verdict.
        times: T, 1 to 48. aggregator, alpha, exponent (0 to 8), smoothing (0 to 16): of the heat map.
        heatmap: whether the answer holds the map.
    """
    found, category = own.find_model(*_named(model, category))
    own_paths, own_heat = found.info.paths, found.info.heat
    kept = (
        own_paths.paths,
        own_paths.times,
        own_heat.aggregator,
        own_heat.alpha,
        own_heat.exponent,
        own_heat.smoothing,
    )
    asked = (paths, times, aggregator, alpha, exponent, smoothing)
    values = [mine if value is None else value for value, mine in zip(asked, kept, strict=True)]
    path_settings, heat_settings = parsed(found, values)
    if picture is None and example is not None:
        path = embedded.example(category, example).path
    else:
        path = checks.sent(picture)[0]
    read = read_picture(path, max_pixels=checks.MAX_PIXELS)
    mismatch = Mismatch.collect(score_steps(found, read, path_settings, category))
    verdict = judge(found, mismatch, path_settings, heat_settings, category)
    return ScoreAnswer(
        score=verdict.score,
        threshold=verdict.threshold,
        anomalous=verdict.anomalous,
        note=verdict.note,
        category=category,
        settings={**path_settings.model_dump(), **heat_settings.model_dump()},
        heatmap=verdict.heatmap.tolist() if heatmap is True else None,
    )


@plain_errors
def fit(pictures: list[gr.FileData]) -> FitAnswer:
    """Fit a model to 5 to 500 good pictures of one kind of object, by the default of the command line; seconds.

    Args:
        pictures: image files, good ones only; from 19 on the model has a threshold.
    """
    *_, (said, token) = fitting.fit_own(pictures, trusted=False)
    info = own.MODELS.get(token).info.categories[own.OWN_CATEGORY]
    threshold = info.threshold and info.threshold.value
    return FitAnswer(model=token, threshold=threshold, unlike=list(info.unlike), said=said)


def _named(model: object, category: object) -> tuple[object, object, str | None]:
    """Name, category and token, as `own.find_model` takes them."""
    fitted = isinstance(model, str) and own.MODELS.get(model) is not None
    return (own.OWN, None, model) if fitted else (model, category, None)
