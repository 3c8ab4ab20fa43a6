"""What the page asks of the playground: fmcore computes, the answer is packed as plain JSON.

Each public function takes one request, an object of plain JSON values, and never keeps anything of a visitor but
a network in training, under one memory limit. Nothing here waits for the queue of the other tabs.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch

from demo.common import checks
from demo.common.answering import answering
from demo.common.messages import encode, zipped
from demo.common.store import Store
from demo.playground.request import heat_settings, number, path_settings, points
from demo.playground.scenes import MAX_POINTS, MAX_SPREAD, OWN, Scene, chosen_scene
from fmcore.decomposition.landscape import PlaneGrid, bias_variance, landscape, probe
from fmcore.errors import SettingsError
from fmcore.fields.mlp import STEPS, PointNetwork, PointTrainRecord, attainable_loss, train_points
from fmcore.path import draw_noise

SAMPLES = 400  # of the law, drawn as dots
WORK = 24_000_000  # pairs of a state and a component of the law in one landscape: about a quarter of a second
SIDES = (16, 64)
NETWORK_COMPONENTS = 96  # a network's cost per state, in components of a mixture
TRAIN_POINTS = 4096
CHUNK_SECONDS = 0.25  # of training per request
LOSS_MEAN = 20  # steps per point of the loss curve
PATIENCE = 5.0  # seconds a heavy request waits for its turn

TRAININGS = Store(32 * 2**20)
# Landscapes and trainings take turns, so that however many visitors there are a drag finds a free core.
HEAVY = threading.BoundedSemaphore(1)


@dataclass
class Session:
    """A network in training: what one visitor's `train` requests go on with."""

    network: PointNetwork
    records: Iterator[PointTrainRecord]
    floor: float
    step: int = 0
    losses: list[float] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)


@answering
def scene(request: dict) -> dict:
    """Samples of a law, the window to show, where the targets start, and as many noise draws as are allowed."""
    chosen = chosen_scene(request)
    generator = torch.Generator().manual_seed(1)
    own = request.get("law") == OWN
    samples = points(request, "points", MAX_POINTS) if own else chosen.law.sample(SAMPLES, generator)
    starts = draw_noise(checks.MAX_PATHS, (2,), path_settings(request, checks.MAX_PATHS).noise_seed)
    return {
        "window": list(chosen.window),
        "targets": [list(target) for target in chosen.targets],
        "samples": _rounded(samples),
        "starts": _rounded(starts),
    }


@answering
def look(request: dict) -> dict:
    """The paths to each target, velocities along them, the mismatch's two terms per time, the running score."""
    chosen, heat = chosen_scene(request), heat_settings(request)
    starts = points(request, "starts", checks.MAX_PATHS)
    targets = points(request, "targets", 2)
    settings = path_settings(request, len(starts))
    spread = number(request, "spread", 0, MAX_SPREAD)
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
    chosen, heat = chosen_scene(request), heat_settings(request)
    starts = points(request, "starts", checks.MAX_PATHS)
    settings = path_settings(request, len(starts))
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
        "codes": zipped(codes.tobytes()),
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
        law = chosen_scene(request).law
        seed = path_settings(request, 1).noise_seed
        sample = law.sample(TRAIN_POINTS, torch.Generator().manual_seed(seed))
        network = PointNetwork(sample, seed)
        session = Session(network, train_points(network, sample, seed=seed), attainable_loss(law, samples=4096))
        # Weights four times over (network, average, Adam's two) and the points; generous rather than exact.
        size = 4 * 4 * sum(p.numel() for p in network.parameters()) + sample.nbytes + 2**16
        token = TRAININGS.put(session, size)
    else:
        session = _session(token)
    with _turn(), session.lock:
        deadline = time.monotonic() + CHUNK_SECONDS
        losses = []
        for record in session.records:
            session.step = record.step
            losses.append(record.loss)
            if record.step % LOSS_MEAN == 0:
                session.losses.append(sum(losses[-LOSS_MEAN:]) / len(losses[-LOSS_MEAN:]))
                if time.monotonic() > deadline:
                    break
        done = session.step
    return {
        "network": token,
        "step": done,
        "steps": STEPS,
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


def _field(request: dict, chosen: Scene):
    token = request.get("network")
    return chosen.law if token is None else _session(token).network


def _session(token: object) -> Session:
    session = TRAININGS.get(token) if isinstance(token, str) and len(token) <= 64 else None
    if session is None:
        raise SettingsError("This network is no longer kept here: train it again.")
    return session


def _log_codes(maps: np.ndarray) -> tuple[float, float, np.ndarray]:
    """Ends of the scale, round numbers, and the codes; one scale for all times and both kinds of map."""
    final = maps[1, -1]
    low = _roundnumber(max(float(np.quantile(final, 0.03)), 1e-6), down=True)
    high = _roundnumber(max(float(np.quantile(final, 0.95)), 10 * low), down=False)
    return low, high, encode(np.log(np.maximum(maps, low) / low), math.log(high / low))


def _roundnumber(value: float, *, down: bool) -> float:
    """The next of 1, 2, 5, 10, .. below or above."""
    power = 10.0 ** math.floor(math.log10(value))
    steps = [step * power for step in (1, 2, 5, 10)]
    return max(s for s in steps if s <= value * 1.0001) if down else min(s for s in steps if s >= value * 0.9999)


def _rounded(values: np.ndarray | torch.Tensor) -> list:
    return np.round(np.asarray(values, dtype=np.float64), 4).tolist()
