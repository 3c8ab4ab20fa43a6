"""Decomposing a picture for the app: the chosen law, progress, and results kept on the server."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from demo.common.checks import MAX_PIXELS
from demo.common.messages import outline
from demo.common.store import Store
from demo.decomposition.request import OF_MIX, Request
from demo.decomposition.view import terms_message, working_message
from fmcore.data.picture import read_mask, read_picture
from fmcore.decomposition.laws import (
    Law,
    decompose_law,
    empirical_law,
    exact_terms,
    gaussian_law,
    image_law,
    network_law,
    path_count,
)
from fmcore.decomposition.sampled import NAMES, Terms
from fmcore.errors import SettingsError
from fmcore.fields import ExactField, ImageGaussianField, VelocityUNet
from fmcore.path import interior_times
from fmcore.training import TrainSettings
from fmcore.views import View

SCREEN = 384  # longest side of a picture sent to the browser
PAUSE = 0.2  # seconds between two anytime results
# Half a minute on two cores, in the queue of long jobs.
NETWORK = TrainSettings(minutes=0.5, batch=8)
WIDTHS = (32, 64)

# All visitors together; one result takes 4 T size^2 floats, 3 MB by default and 6 MB at the app's limits and 128 px.
RESULTS = Store(300_000_000)


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
            "settings": request.settings.model_dump(),
        }


def run_request(request: Request, exponent: float) -> Iterator[tuple[str | None, object]]:
    """Compute, or take from the store.

    Yields:
        Message for the browser (None: the result is finished), and the token of the result or None.

    Raises:
        ImageError: if the picture can't be read. TrainingError: if the network of the mix fails.
    """
    if is_there(request):
        yield None, request.key
        return
    run = secrets.token_hex(4)  # by which the browser ignores what arrives after the run was cancelled
    yield working_message(run, request.name, "Reading"), None
    view = request.model.view(request.category)
    picture = read_picture(request.path, max_pixels=MAX_PIXELS)
    image = picture.rgb(SCREEN)
    marked = None
    if request.mask is not None:
        marked = outline(read_mask(request.mask, height=image.shape[0], width=image.shape[1]))
    y, law = view(picture), None
    for text, law in _laws(request, view, y):  # noqa: B007 (the last one is used)
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
                done = Decomposed(request, law.exact, paths, closed, image, marked, terms)
                if len(steps) < count:
                    yield done.message(run, exponent, with_image=shown_at is None), None
                    shown_at = time.monotonic()
    size = image.nbytes + sum(maps.nbytes for maps in terms.maps.values())
    yield None, RESULTS.put(done, size, request.key)


def is_there(request: Request) -> bool:
    """Whether the result is in the store already."""
    return request.key is not None and RESULTS.get(request.key) is not None


def waiting_message(request: Request) -> str:
    """For the browser, until a long job's turn comes."""
    return working_message(secrets.token_hex(4), request.name, "Waiting for its turn: one long job at a time")


def show_result(token: object, exponent: float) -> str:
    """The stored result under this weight.

    Raises:
        SettingsError: if it is gone.
    """
    result = RESULTS.get(tuple(token) if isinstance(token, list) else token)
    if result is None:
        raise SettingsError("This result has made room for others: press 'Decompose' again.")
    return result.message(secrets.token_hex(4), exponent)


def _laws(request: Request, view: View, y: Tensor) -> Iterator[tuple[str, Law | None]]:
    """A line of progress or nothing, and the law once it is there."""
    match request.law:
        case "image":
            yield "", image_law(y)
        case "noisy":
            yield "", image_law(y, request.noise)
        case kind:
            mix = torch.stack([view(read_picture(path, max_pixels=MAX_PIXELS)) for path in request.mix])
            if kind == "empirical":
                yield "", empirical_law(mix)
            elif kind == "gaussian":
                yield "", gaussian_law(mix)
            else:
                yield from _learned(mix)


def _learned(mix: Tensor) -> Iterator[tuple[str, Law | None]]:
    yield "Preparing the network", None
    # On top of a Gaussian field of the mix, as the embedded network is on top of one of good pictures.
    start = ImageGaussianField.fit(mix)
    network = VelocityUNet.new([start], tuple(mix.shape[1:]), 1, widths=WIDTHS, blocks=1, seed=0)
    shown_at, law = 0.0, None
    with closing(network_law(mix, network, NETWORK)) as records:
        for record, law in records:  # noqa: B007 (the last one is used)
            if time.monotonic() - shown_at > PAUSE:
                yield f"Training on the mix, {record.progress:.0%} done", None
                shown_at = time.monotonic()
    yield "", law
