"""Decomposing a picture for the app: checks, the chosen law, progress, and results kept on the server."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from demo import checks, library, viewer
from demo.decomposition_view import LAWS, terms_message, working_message
from demo.shelf import Shelf
from fmcore.data.picture import read_mask, read_picture
from fmcore.decomposition.decomposition import DecompositionSettings
from fmcore.decomposition.laws import (
    Law,
    decompose_law,
    empirical_law,
    exact_terms,
    gaussian_law,
    image_law,
    network_law,
    noisy_image_law,
    path_count,
)
from fmcore.decomposition.terms import NAMES, Terms
from fmcore.detector.model import Model
from fmcore.detector.settings import FitSettings
from fmcore.errors import SettingsError
from fmcore.fields import ExactField
from fmcore.mismatch.mismatch import HeatSettings, PathSettings
from fmcore.path import interior_times

ENDS = {"picture": "this picture", "mix": "every picture of the mix"}
OF_MIX = ("empirical", "gaussian", "network")
MAX_SAMPLES = 64
MAX_TIMES = 24
MAX_NOISE = 0.5
SCREEN = 384  # longest side of a picture sent to the browser
PAUSE = 0.2  # seconds between two anytime results
CHUNK = 8  # paths per call of the fields
# Half a minute on two cores; the public app runs one model job at a time.
NETWORK = FitSettings(minutes=0.5, widths=(32, 64), batch=8, paths=PathSettings())  # a field alone, no tiles

# All visitors together; one result takes 4 T size^2 floats, 3 MB by default and 6 MB at the app's limits and 128 px.
RESULTS = Shelf(300_000_000)


@dataclass(frozen=True)
class Request:
    """What was asked for, checked."""

    model: Model
    model_name: str
    category: str
    name: str
    path: Path
    mask: Path | None
    mix: tuple[Path, ...]
    law: str
    noise: float
    ends: str
    settings: DecompositionSettings
    example: int | None

    @property
    def key(self) -> tuple | None:
        """Names the result where visitors can share it, as they can for examples."""
        if self.example is None:
            return None
        noise = self.noise if self.law == "noisy" else None
        return (self.model_name, self.category, self.example, self.law, noise, self.ends, self.settings)


@dataclass(frozen=True)
class Decomposed:
    """Terms so far, with what it takes to draw them again under another weight.

    ``exact``: of v_q. ``paths``: behind each estimate. ``closed``: the Fisher term without draws, where known.
    """

    request: Request
    exact: bool
    paths: int
    closed: list[float] | None
    image: np.ndarray
    outline: np.ndarray | None
    terms: Terms

    def message(self, run: str, exponent: float, *, with_image: bool = True) -> str:
        """For the browser."""
        request, model = self.request, self.request.model
        normal_range = model.normal_ranges.get(request.category)
        return terms_message(
            self.terms,
            run=run,
            name=f"The mix: {len(request.mix)} pictures." if request.ends == "mix" else request.name,
            law=request.law,
            exact=self.exact,
            one_of_mix=request.ends == "picture" and request.law in OF_MIX,
            paths=self.paths,
            total=request.settings.times,
            exponent=exponent,
            least_scale=normal_range.scale(exponent) if normal_range is not None else 0.0,
            divergence=self.exact and isinstance(model.field(request.category), ExactField),
            closed_fisher=self.closed,
            image=self.image if with_image else None,
            outline=None if request.ends == "mix" else self.outline,
            seen=f"One of {len(request.mix)} pictures" if request.ends == "mix" else "The picture",
        )

    def table(self) -> dict:
        """Everything but the maps, for the programming interface."""
        terms, request = self.terms, self.request
        return {
            "category": request.category,
            "law": request.law,
            "exact": self.exact,
            "ends": request.ends,
            "paths": self.paths,
            "times": terms.times.tolist(),
            **{name: terms.values[name].tolist() for name in NAMES},
            "errors": {name: terms.errors[name].tolist() for name in NAMES},
            "posterior": None if terms.posterior is None else terms.posterior.tolist(),
            "closed_fisher": self.closed,
            "settings": request.settings.model_dump(exclude={"chunk"}),
        }


def check_request(
    files: object,
    example: object,
    model: object,
    category: object,
    law: object,
    noise: object,
    ends: object,
    samples: object,
    times: object,
    seed: object,
) -> Request:
    """Everything a request can carry, checked before anything is computed.

    Raises:
        SettingsError: for an unknown name, a wrong type or a value out of range.
    """
    if not isinstance(model, str) or not (category is None or isinstance(category, str)):
        raise SettingsError("Model and category must be names: choose one of the list.")
    found = library.model(model)
    category = found.category(category)
    law, ends = _choice("Law", law, LAWS), _choice("End of the paths", ends, ENDS)
    if isinstance(noise, bool) or not isinstance(noise, int | float) or not 0 < noise <= MAX_NOISE:
        raise SettingsError(f"Noise s = {noise!r} is not usable: choose a number above 0 and at most {MAX_NOISE}.")
    settings = DecompositionSettings.parse(samples=samples, times=times, seed=seed, chunk=CHUNK)
    for what, value, limit in (("paths", settings.samples, MAX_SAMPLES), ("times", settings.times, MAX_TIMES)):
        if value > limit:
            raise SettingsError(f"{value} {what} are more than the app allows: choose at most {limit}.")
    examples = library.examples(category)
    if files:
        paths = checks.uploads(files)
        name, path, mask, example = f"{paths[0].name}.", paths[0], None, None
    else:
        paths, item = [], library.example(category, example)
        name = f"Example: {category}, {item.defect.replace('_', ' ')}."
        path, mask = item.path, item.mask
    mix = tuple([item.path for item in examples] + paths)
    if law in OF_MIX and len(mix) < 3:
        raise SettingsError(f"A test mix needs at least 3 pictures, but there are {len(mix)}: upload more at once.")
    ends = ends if law in OF_MIX else "picture"
    return Request(found, model, category, name, path, mask, mix, law, float(noise), ends, settings, example)


def run_request(request: Request, exponent: float) -> Iterator[tuple[str | None, object]]:
    """Compute, or take from the shelf.

    Yields:
        Message for the browser (None: the result is finished), and the token of the result or None.

    Raises:
        ImageError: if the picture can't be read. TrainingError: if the network of the mix fails.
    """
    if request.key is not None and RESULTS.get(request.key) is not None:
        yield None, request.key
        return
    run = secrets.token_hex(4)  # by which the browser ignores what arrives after the run was cancelled
    yield working_message(run, request.name, "Reading"), None
    info = request.model.info
    picture = read_picture(request.path)
    image = picture.rgb(SCREEN)
    outline = None
    if request.mask is not None:
        outline = viewer.outline(read_mask(request.mask, height=image.shape[0], width=image.shape[1]))
    y = picture.tensor(info.size, info.channels)
    law = None
    for text, law in _laws(request, y):  # noqa: B007 (the last one is used)
        if text:
            yield working_message(run, request.name, text), None
    p, count = request.model.field(request.category), request.settings.times
    exact = exact_terms(p, law, interior_times(count))
    closed = [terms.fisher for terms in exact] if exact else None
    end = y if request.ends == "picture" and request.law in OF_MIX else None
    paths = path_count(law, request.settings, image=end)
    steps, shown_at = [], None
    with closing(decompose_law(p, law, request.settings, image=end)) as records:
        for step in records:
            steps.append(step)
            if shown_at is None or time.monotonic() - shown_at > PAUSE or len(steps) == count:
                terms = Terms.collect(steps)
                done = Decomposed(request, law.exact, paths, closed, image, outline, terms)
                if len(steps) < count:
                    yield done.message(run, exponent, with_image=shown_at is None), None
                    shown_at = time.monotonic()
    size = image.nbytes + sum(maps.nbytes for maps in terms.maps.values())
    yield None, RESULTS.put(done, size, request.key)


def show_result(token: object, exponent: float) -> str:
    """The stored result under this weight.

    Raises:
        SettingsError: if it is gone.
    """
    result = RESULTS.get(tuple(token) if isinstance(token, list) else token)
    if result is None:
        raise SettingsError("This result has made room for others: press 'Decompose' again.")
    return result.message(secrets.token_hex(4), exponent)


def exponent_of(value: object) -> float:
    """The exponent r of the weight, checked; raises `SettingsError`."""
    return HeatSettings.parse(exponent=value).exponent


def _choice(what: str, value: object, known: dict[str, str]) -> str:
    if not isinstance(value, str) or value not in known:
        raise SettingsError(f"{what} {value!r} is not on offer: choose one of {', '.join(known)}.")
    return value


def _laws(request: Request, y: Tensor) -> Iterator[tuple[str, Law | None]]:
    """A line of progress or nothing, and the law once it is there."""
    match request.law:
        case "image":
            yield "", image_law(y)
        case "noisy":
            yield "", noisy_image_law(y, request.noise)
        case kind:
            info = request.model.info
            mix = torch.stack([read_picture(path).tensor(info.size, info.channels) for path in request.mix])
            if kind == "empirical":
                yield "", empirical_law(mix)
            elif kind == "gaussian":
                yield "", gaussian_law(mix)
            else:
                yield from _learned(mix)


def _learned(mix: Tensor) -> Iterator[tuple[str, Law | None]]:
    shown_at = 0.0
    with closing(network_law(mix, NETWORK)) as records:
        for record in records:
            if record.law is not None:
                yield "", record.law
            elif time.monotonic() - shown_at > PAUSE:
                what = "Training on the mix, step" if record.stage == "training" else "Preparing the network,"
                yield f"{what} {record.done} of {record.total}", None
                shown_at = time.monotonic()
