"""Bootstrap intervals over images: how far a figure would move had other images been photographed.

Whole images are drawn, never single pixels, which are far from independent; good and defective images are drawn
apart, so that every draw has as many of each as the test set.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np

Interval = list[float] | None


def draw_images(labels: np.ndarray, draws: int, seed: int) -> np.ndarray:
    """How often each image is drawn: ``(draws, N)`` whole numbers as float32, from bool ``labels`` ``(N,)``;
    each row holds as many of either label as ``labels`` does."""
    rng = np.random.default_rng(seed)
    counts = np.zeros((draws, len(labels)), dtype=np.float32)
    for value in (False, True):
        members = np.flatnonzero(labels == value)
        if len(members):
            counts[:, members] = rng.multinomial(len(members), np.full(len(members), 1 / len(members)), draws)
    return counts


def enough(labels: np.ndarray) -> bool:
    """Whether an interval can be given: no label has a single image, whose draws would all be alike."""
    return bool(len(labels)) and 1 not in (np.count_nonzero(labels), np.count_nonzero(~labels))


def intervals(
    measure: Callable[[np.ndarray], dict[str, np.ndarray]], counts: np.ndarray, *, chunk: int = 64, level: float = 0.95
) -> dict[str, Interval]:
    """Percentile intervals ``[low, high]`` of what ``measure`` gives for each row of ``counts``; None for a
    metric that is NaN in some draw.

    Args:
        measure: ``(R, N)`` counts -> metric name -> ``(R,)`` values.
        chunk: draws per call, which bounds the memory.
    """
    parts = list(_measured(measure, counts, chunk))
    if not parts:
        return {}
    found = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    edges = [50 * (1 - level), 50 * (1 + level)]
    return {
        name: None if np.isnan(values).any() else [float(edge) for edge in np.percentile(values, edges)]
        for name, values in found.items()
    }


def interval_of_mean(values: list[float], found: list[Interval]) -> Interval:
    """Interval of the mean of independent figures from their own intervals (MOVER, Zou and Donner, Statistics
    in Medicine 2008): distances from value to edge add in squares. None where one has none."""
    if not found or any(edges is None for edges in found):
        return None
    mean, count = sum(values) / len(values), len(values)
    below = math.sqrt(sum((value - low) ** 2 for value, (low, _) in zip(values, found, strict=True))) / count
    above = math.sqrt(sum((high - value) ** 2 for value, (_, high) in zip(values, found, strict=True))) / count
    return [mean - below, mean + above]


def _measured(measure: Callable, counts: np.ndarray, chunk: int) -> Iterator[dict[str, np.ndarray]]:
    for first in range(0, len(counts), chunk):
        yield measure(counts[first : first + chunk])
