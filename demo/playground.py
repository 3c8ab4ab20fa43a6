"""The playground's requests: checks what a browser sends, asks fmcore, packs the answer as plain JSON.

Each public function takes one request, an object of plain JSON values, and never keeps anything of a visitor but
a network in training, under one memory limit. Nothing here waits for the queue of the other tabs.
"""

from __future__ import annotations

import base64
import functools
import gzip
import math
import threading
import time
from dataclasses import dataclass, field

import numpy as np
import torch

from demo import checks
from demo.shelf import Shelf
from demo.viewer import encode
from fmcore.decomposition.landscape import PlaneGrid, bias_variance, landscape
from fmcore.decomposition.probe import probe
from fmcore.errors import FlowMismatchingError, SettingsError
from fmcore.fields import EmpiricalField, ExactField, MixtureField, semicircle, three_clusters, two_moons
from fmcore.fields.mlp import PointTraining, PointTrainSettings, attainable_loss
from fmcore.mismatch.mismatch import HeatSettings, PathSettings
from fmcore.path import draw_noise

MAX_POINTS = 300
FEWEST_POINTS = 3
REACH = 20.0  # largest coordinate of anything a visitor places
MAX_SPREAD = 2.0
SAMPLES = 400  # of the law, drawn as dots
WORK = 24_000_000  # pairs of a state and a component of the law in one landscape: about a quarter of a second
SIDES = (16, 64)
NETWORK_COMPONENTS = 96  # a network's cost per state, in components of a mixture
TRAIN_POINTS = 4096
CHUNK_SECONDS = 0.25  # of training per request
LOSS_MEAN = 20  # steps per point of the loss curve
PATIENCE = 5.0  # seconds a heavy request waits for its turn
OWN = "own"
OWN_WINDOW = (-6.0, 6.0, -6.0, 6.0)

TRAININGS = Shelf(32 * 2**20)
# Landscapes and trainings take turns, so that however many visitors there are a drag finds a free core.
HEAVY = threading.BoundedSemaphore(1)


@dataclass
class Session:
    """A network in training: what one visitor's `train` requests go on with."""

    training: PointTraining
    floor: float
    losses: list[float] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)


@dataclass(frozen=True)
class Scene:
    """A law on offer: its field, window (left, right, bottom, top) and where the targets A and B start."""

    law: ExactField
    window: tuple[float, float, float, float]
    targets: tuple[tuple[float, float], tuple[float, float]]

    @property
    def components(self) -> int:
        """How many parts the law has, which decides what an evaluation costs."""
        return len(self.law.points if isinstance(self.law, EmpiricalField) else self.law.means)


@functools.cache
def _known() -> dict[str, Scene]:
    # As many strokes as make each one as long as it is wide: longer ones would have tails along the arc.
    return {
        "semicircle": Scene(semicircle(), (-6.5, 6.5, -3.25, 9.75), ((3.0, 7.0), (-2.25, 8.6))),
        "three_clusters": Scene(three_clusters(), (-6.5, 6.5, -5.75, 7.25), ((0.3, 4.2), (0.0, 0.0))),
        "two_moons": Scene(two_moons(strokes=28), (-6.0, 6.0, -6.0, 6.0), ((-1.5, 2.25), (1.0, 3.0))),
    }


def answering(handler):
    """A handler of untrusted JSON: expected errors come back as ``{"error": one sentence}``."""

    @functools.wraps(handler)
    def safe(request):
        try:
            if not isinstance(request, dict):
                raise SettingsError("A request must be an object with named values.")
            return handler(request)
        except FlowMismatchingError as error:
            message = str(error)
            return {"error": message if len(message) <= checks.MAX_MESSAGE else message[: checks.MAX_MESSAGE - 1] + "…"}

    return safe


@answering
def scene(request: dict) -> dict:
    """Samples of a law, the window to show, where the targets start, and as many noise draws as are allowed."""
    chosen = _scene(request)
    generator = torch.Generator().manual_seed(1)
    own = request.get("law") == OWN
    samples = _points(request, "points", MAX_POINTS) if own else chosen.law.sample(SAMPLES, generator)
    starts = draw_noise(checks.MAX_PATHS, (2,), _path_settings(request, checks.MAX_PATHS).noise_seed)
    return {
        "window": list(chosen.window),
        "targets": [list(target) for target in chosen.targets],
        "samples": _rounded(samples),
        "starts": _rounded(starts),
    }


@answering
def look(request: dict) -> dict:
    """The paths to each target, velocities along them, the mismatch's two terms per time, the running score."""
    chosen, heat = _scene(request), _heat_settings(request)
    starts = _points(request, "starts", checks.MAX_PATHS)
    targets = _points(request, "targets", 2)
    settings = _path_settings(request, len(starts))
    spread = _number(request, "spread", 0, MAX_SPREAD)
    with torch.inference_mode():
        found = probe(
            _field(request, chosen), targets, starts, times=settings.times, spread=spread, seed=settings.noise_seed + 2
        )
    return {
        "times": found[0].times.tolist(),
        "targets": [
            {
                "ends": _rounded(one.ends),
                "geometric": _rounded(one.geometric),
                "states": _rounded(one.states),
                "predicted": _rounded(one.predicted),
                "denoising": _rounded(one.denoising),
                "fisher": _rounded(one.fisher_per_time(heat)),
                "running": _rounded(one.running(heat)),
            }
            for one in found
        ],
    }


@answering
def scores(request: dict) -> dict:
    """The landscape at each time and running, as 8-bit codes on one logarithmic scale; bias and variance."""
    chosen, heat = _scene(request), _heat_settings(request)
    starts = _points(request, "starts", checks.MAX_PATHS)
    settings = _path_settings(request, len(starts))
    velocity = _field(request, chosen)
    components = NETWORK_COMPONENTS if request.get("network") else chosen.components
    side = int(math.sqrt(WORK / (components * settings.paths * settings.times)))
    left, right, bottom, top = chosen.window
    grid = PlaneGrid(left=left, right=right, bottom=bottom, top=top, side=min(max(side, SIDES[0]), SIDES[1]))
    normal = chosen.law.sample(64, torch.Generator().manual_seed(2))
    with _turn():
        found = landscape(velocity, grid, settings, noise=starts)
        trade = bias_variance(velocity, found, normal, settings, heat, noise=starts, repeats=8, repeated_points=16)
    low, high, codes = _log_codes(np.stack([found.per_time(heat), found.running(heat)]))
    return {
        "times": found.times.tolist(),
        "side": grid.side,
        "window": list(chosen.window),
        "scale": [low, high],
        "codes": base64.b64encode(gzip.compress(codes.tobytes(), compresslevel=1, mtime=0)).decode(),
        "basin": _rounded(trade.basin),
        "running_basin": _rounded(trade.running_basin),
        "spread": _rounded(trade.spread),
        "running_spread": _rounded(trade.running_spread),
    }


@answering
def train(request: dict) -> dict:
    """Start training a network on samples of the law, or go on with it for a moment; the browser asks again."""
    token = request.get("network")
    if token is None:
        law = _scene(request).law
        seed = _path_settings(request, 1).noise_seed
        points = law.sample(TRAIN_POINTS, torch.Generator().manual_seed(seed))
        session = Session(PointTraining(points, PointTrainSettings(seed=seed)), attainable_loss(law, samples=4096))
        # Weights four times over (network, average, Adam's two) and the points; generous rather than exact.
        size = 4 * 4 * sum(p.numel() for p in session.training.network.parameters()) + points.nbytes + 2**16
        token = TRAININGS.put(session, size)
    else:
        session = _session(token)
    with _turn(), session.lock:
        deadline = time.monotonic() + CHUNK_SECONDS
        losses = []
        for record in session.training.steps():
            losses.append(record.loss)
            if record.step % LOSS_MEAN == 0:
                session.losses.append(sum(losses[-LOSS_MEAN:]) / len(losses[-LOSS_MEAN:]))
                if time.monotonic() > deadline:
                    break
        done = session.training.done
    return {
        "network": token,
        "step": done,
        "steps": session.training.settings.steps,
        "every": LOSS_MEAN,
        "losses": [round(loss, 4) for loss in session.losses],
        "floor": session.floor,
    }


class _turn:
    """Wait for the one heavy computation before this one; refuse politely when it takes too long."""

    def __enter__(self) -> None:
        if not HEAVY.acquire(timeout=PATIENCE):
            raise SettingsError("Many visitors are computing at this moment: try again in a few seconds.")

    def __exit__(self, *error) -> None:
        HEAVY.release()


def _scene(request: dict) -> Scene:
    name = request.get("law")
    if name == OWN:
        points = _points(request, "points", MAX_POINTS)
        if len(points) < FEWEST_POINTS:
            raise SettingsError(f"Draw at least {FEWEST_POINTS} points, {len(points)} is too few for a law.")
        width = _number(request, "width", 0, MAX_SPREAD)
        count = len(points)
        law = (
            MixtureField.isotropic(torch.ones(count), points, torch.full((count,), width**2))
            if width >= 0.01
            else EmpiricalField(points)
        )
        x, y = points[count // 2].tolist()  # A on one of the points, B well beside them
        return Scene(law, OWN_WINDOW, ((x, y), (x, y + (2.5 if y < 0 else -2.5))))
    if not isinstance(name, str) or name not in _known():
        raise SettingsError(f"There is no such distribution: choose one of {', '.join([*_known(), OWN])}.")
    return _known()[name]


def _field(request: dict, chosen: Scene):
    token = request.get("network")
    return chosen.law if token is None else _session(token).training.network


def _session(token: object) -> Session:
    session = TRAININGS.get(token) if isinstance(token, str) and len(token) <= 64 else None
    if session is None:
        raise SettingsError("This network is no longer kept here: train it again.")
    return session


def _path_settings(request: dict, paths: int) -> PathSettings:
    own = PathSettings.parse(noise_seed=request.get("seed"))
    return checks.path_settings(own, paths, request.get("times"))


def _heat_settings(request: dict) -> HeatSettings:
    names = ("aggregator", "percentile", "exponent")
    return checks.heat_settings(*(request.get(name) for name in names), 0.0)


def _number(request: dict, name: str, low: float, high: float) -> float:
    value = request.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise SettingsError(f"'{name}' must be a number from {low:g} to {high:g}.")
    return float(value)


def _points(request: dict, name: str, most: int) -> torch.Tensor:
    """``(N, 2)`` float32 with 1 <= N <= most."""
    given = request.get(name)
    if not isinstance(given, list) or not given:
        raise SettingsError(f"'{name}' must be a list with at least one point.")
    if len(given) > most:
        raise SettingsError(f"{len(given)} {name} are too many: use at most {most}.")
    for point in given:
        if not isinstance(point, list) or len(point) != 2 or not all(map(_is_coordinate, point)):
            raise SettingsError(f"Each of the {name} must be two numbers between {-REACH:g} and {REACH:g}.")
    return torch.tensor(given, dtype=torch.float32)


def _is_coordinate(value: object) -> bool:
    # The comparison also refuses NaN.
    return isinstance(value, int | float) and not isinstance(value, bool) and -REACH <= value <= REACH


def _log_codes(maps: np.ndarray) -> tuple[float, float, np.ndarray]:
    """Ends of the scale, round numbers, and the codes; one scale for all times and both kinds of map."""
    final = maps[1, -1]
    low = _round_number(max(float(np.quantile(final, 0.03)), 1e-6), down=True)
    high = _round_number(max(float(np.quantile(final, 0.95)), 10 * low), down=False)
    return low, high, encode(np.log(np.maximum(maps, low) / low), math.log(high / low))


def _round_number(value: float, *, down: bool) -> float:
    """The next of 1, 2, 5, 10, .. below or above."""
    power = 10.0 ** math.floor(math.log10(value))
    steps = [step * power for step in (1, 2, 5, 10)]
    return max(s for s in steps if s <= value * 1.0001) if down else min(s for s in steps if s >= value * 0.9999)


def _rounded(values: np.ndarray | torch.Tensor) -> list:
    return np.round(np.asarray(values, dtype=np.float64), 4).tolist()
