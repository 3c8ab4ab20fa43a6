"""The programming interface to models: `score` and `fit`, typed, so that gradio documents and checks names.

The functions are those that a client calls; what they are given is checked as what comes from the page is.
"""

from typing import Literal, TypedDict

import gradio as gr

from demo.common import checks, embedded, own
from demo.common.blocks import LONG_WORK, MODEL_WORK
from demo.common.checks import plain_errors
from demo.common.text_files import files_as_text
from demo.inspect import fitting
from demo.inspect.handlers import parsed
from demo.inspect.marks import marks
from demo.inspect.view import UNLIKE, cells_of, is_foreign
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


class Region(TypedDict):
    """A connected place that is marked at the threshold; ``box`` is left, top, width, height in pixels of the picture;
    ``area`` in per cent of it; ``peak`` the map's largest value there."""

    box: list[int]
    area: float
    peak: float


class ExplainAnswer(TypedDict):
    """Where and when a picture is unlike good ones. ``times`` and, at the map's brightest place ``peak`` (row, column),
    its ``mismatch`` at each of them beside the range ``lower`` to ``upper`` of good pictures, where one is stored.
    ``heatmap`` has the rows of the map on the model's own grid."""

    score: float
    threshold: float | None
    anomalous: bool | None
    note: str
    category: str
    regions: list[Region]
    marked_area: float | None
    peak: list[int]
    times: list[float]
    mismatch: list[float]
    lower: list[float] | None
    upper: list[float] | None
    heatmap: list[list[float]]


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
    gr.api(explain, api_name="explain", **work)
    gr.api(fit, api_name="fit", **long_work)


@plain_errors
@files_as_text
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
        picture: an image file, or its data as "data:image/png;base64,..."; None with an example.
        example: in place of a picture, the number of an embedded example of the category, from 0.
        model: "features", "unet", "gaussian", what ``/fit`` returned, or an id of the Hub that the app offers.
        category: of the model, as "gear"; may be left out where it has one only.
        paths: K, noise draws, 1 to 16; 0: all noise, where the model can. None: its own, as a verdict needs.
        times: T, places along a path, 1 to 48. None: the model's own, as a verdict needs; so with all that follow.
        aggregator: what is taken of the draws.
        alpha: the aggregator's parameter, where it has one: of "percentile" the share of draws below.
        exponent: r, each time counts by t^r, 0 to 8.
        smoothing: blur of the heat map in cells of its grid, 0 to 16.
        heatmap: whether the answer holds the heat map, as rows of numbers.

    Returns:
        score, threshold, anomalous (None: no threshold applies, note says why), category, settings, heatmap
    """
    found, category = own.named_model(model, category)
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
    read = read_picture(_path(picture, example, category), max_pixels=checks.MAX_PIXELS)
    mismatch = Mismatch.collect(score_steps(found, read, path_settings, category))
    verdict = judge(found, mismatch, path_settings, heat_settings, category)
    return ScoreAnswer(
        score=verdict.score,
        threshold=verdict.threshold,
        anomalous=verdict.anomalous,
        note=verdict.note or (UNLIKE if is_foreign(found, category, heat_settings, verdict) else ""),
        category=category,
        settings={**path_settings.model_dump(), **heat_settings.model_dump()},
        heatmap=verdict.heatmap.tolist() if heatmap is True else None,
    )


@plain_errors
@files_as_text
def explain(
    picture: gr.FileData | None = None,
    example: int | None = None,
    model: str = embedded.FEATURES,
    category: str | None = None,
) -> ExplainAnswer:
    """Where and when one picture is unlike good ones, with the model's own settings.

    Args:
        picture: an image file, or its data as "data:image/png;base64,..."; None with an example.
        example: in place of a picture, the number of an embedded example of the category, from 0.
        model: "features", "unet", "gaussian", what ``/fit`` returned, or an id of the Hub that the app offers.
        category: of the model, as "gear"; may be left out where it has one only.

    Returns:
        score, threshold, anomalous, regions (box: left, top, width, height), mismatch by time, heatmap
    """
    found, category = own.named_model(model, category)
    read = read_picture(_path(picture, example, category), max_pixels=checks.MAX_PIXELS)
    mismatch = Mismatch.collect(score_steps(found, read, category=category))
    verdict = judge(found, mismatch, category=category)
    _, marked = marks(found, category, verdict, *read.size_in_file)
    row, column = divmod(int(verdict.heatmap.argmax()), verdict.heatmap.shape[1])
    lower = upper = None
    if (band := found.normal_ranges.get(category)) is not None:
        height, width = verdict.heatmap.shape
        cell = cells_of(height, band.lower.shape[1])[row], cells_of(width, band.lower.shape[2])[column]
        lower, upper = (part[:, cell[0], cell[1]].tolist() for part in (band.lower, band.upper))
    return ExplainAnswer(
        score=verdict.score,
        threshold=verdict.threshold,
        anomalous=verdict.anomalous,
        note=verdict.note or (UNLIKE if is_foreign(found, category, found.info.heat, verdict) else ""),
        category=category,
        regions=[Region(box=list(r["box"]), area=r["area"], peak=r["peak"]) for r in marked["regions"]],
        marked_area=marked["marked_area"],
        peak=[row, column],
        times=mismatch.times.tolist(),
        mismatch=mismatch.per_time(found.info.heat)[:, row, column].tolist(),
        lower=lower,
        upper=upper,
        heatmap=verdict.heatmap.tolist(),
    )


@plain_errors
@files_as_text
def fit(pictures: list[gr.FileData]) -> FitAnswer:
    """Fit a model to 5 to 500 good pictures of one kind of object, by the default of the command line; seconds.

    Args:
        pictures: image files or zip files of them, good ones only; from 19 on the model has a threshold.

    Returns:
        model (its name for the other tools), threshold, unlike (good pictures unlike the others), said
    """
    *_, (said, token) = fitting.fit_own(pictures, trusted=False)
    info = own.MODELS.get(token).info.categories[own.OWN_CATEGORY]
    threshold = info.threshold and info.threshold.value
    return FitAnswer(model=token, threshold=threshold, unlike=list(info.unlike), said=said)


def _path(picture: gr.FileData | None, example: int | None, category: str):
    if picture is None and example is not None:
        return embedded.example(category, example).path
    return checks.sent(picture, most=1)[0]
