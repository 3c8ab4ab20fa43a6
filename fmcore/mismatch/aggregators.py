"""How the mismatch of K paths becomes one number per pixel and time (Eq. 3), by name.

A new aggregator is one function under `aggregator`; settings, the command line's options and the app's controls know
it from then on. Its one parameter, where it has one, is ``alpha`` of `fmcore.mismatch.heatmap.HeatSettings`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Parameter:
    """The range (both ends allowed) and default of an aggregator's parameter."""

    description: str
    default: float
    low: float
    high: float


@dataclass(frozen=True)
class Aggregator:
    """``reduce(maps, alpha)`` takes ``(..., K, H, W)`` to ``(..., H, W)``; alpha is None without a `Parameter`."""

    name: str
    description: str
    reduce: Callable[[np.ndarray, float | None], np.ndarray]
    parameter: Parameter | None = None


AGGREGATORS: dict[str, Aggregator] = {}


def aggregator(name: str, description: str, parameter: Parameter | None = None) -> Callable:
    """Decorator: register a function as `Aggregator.reduce`."""

    def register(reduce: Callable[[np.ndarray, float | None], np.ndarray]) -> Callable:
        AGGREGATORS[name] = Aggregator(name, description, reduce, parameter)
        return reduce

    return register


@aggregator("min", "the path that agrees best")
def _minimum(maps: np.ndarray, alpha: None) -> np.ndarray:
    return maps.min(axis=-3)


@aggregator("mean", "the average path")
def _mean(maps: np.ndarray, alpha: None) -> np.ndarray:
    return maps.mean(axis=-3)


@aggregator("median", "the middle path; of an even number the mean of the two in the middle")
def _median(maps: np.ndarray, alpha: None) -> np.ndarray:
    return np.median(maps, axis=-3).astype(maps.dtype)


@aggregator(
    "percentile",
    "the ceil(alpha K)-th smallest of K, not interpolated",
    Parameter("share of paths below", default=0.25, low=0.01, high=1.0),
)
def _percentile(maps: np.ndarray, alpha: float) -> np.ndarray:
    # The tiny slack keeps 0.1 * 10 from becoming 2 through rounding.
    rank = max(1, math.ceil(alpha * maps.shape[-3] - 1e-9))
    return np.partition(maps, rank - 1, axis=-3).take(rank - 1, axis=-3)
