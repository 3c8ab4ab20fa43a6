"""Bootstrap over images: how far a figure, or the difference of two detectors, would move with other images.

Whole images are drawn, never single pixels, which are far from independent; good and defective images are drawn
apart. Two detectors get the same draws: they see the same easy and the same hard images, so the interval of a
difference is far narrower than two intervals side by side suggest.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

Interval = list[float] | None  # low and high end, with 95 % of the draws between them


def draw_images(labels: np.ndarray, draws: int, seed: int) -> np.ndarray:
    """How often each image is drawn: ``(draws, N)`` whole numbers as float32, from bool ``labels`` ``(N,)``; each row
    holds as many of either label as ``labels`` does."""
    rng = np.random.default_rng(seed)
    counts = np.zeros((draws, len(labels)), dtype=np.float32)
    for members in (np.flatnonzero(~labels), np.flatnonzero(labels)):
        if len(members):
            counts[:, members] = rng.multinomial(len(members), np.full(len(members), 1 / len(members)), draws)
    return counts


def intervals(
    measure: Callable[[np.ndarray], Sequence[np.ndarray]],
    names: Sequence[str],
    labels: np.ndarray,
    draws: int,
    seed: int,
    *,
    chunk: int = 256,
) -> dict[str, Interval]:
    """Intervals, by name, of what ``measure``, ``(R, N)`` counts -> an ``(R,)`` per name, gives for ``draws`` draws,
    ``chunk`` at a time. None where it is NaN in some draw; all None without draws, or where a label has a single image,
    whose draws would all be alike."""
    if not draws or not len(labels) or 1 in (labels.sum(), (~labels).sum()):
        return dict.fromkeys(names)
    counts = draw_images(labels, draws, seed)
    parts = [measure(counts[first : first + chunk]) for first in range(0, draws, chunk)]
    values = [np.concatenate(found) for found in zip(*parts, strict=True)]
    edges = [None if np.isnan(v).any() else np.percentile(v, [2.5, 97.5]).tolist() for v in values]
    return dict(zip(names, edges, strict=True))


def interval_of_mean(values: Sequence[float], found: Sequence[Interval]) -> Interval:
    """Interval of the mean of independent figures from their own intervals (MOVER, Zou and Donner, Statistics
    in Medicine 2008): distances from value to edge add in squares. None where one has none."""
    if None in found:
        return None
    mean, count = sum(values) / len(values), len(values)
    below, above = (math.hypot(*(e[i] - v for v, e in zip(values, found, strict=True))) / count for i in (0, 1))
    return [mean - below, mean + above]
