"""Where the colours of each time's maps end: by what maps of good pictures reach at that time.

One scale for all times would leave the early ones black, since the weight t^r is small there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fmcore.detector.calibration import NormalRange


@dataclass(frozen=True)
class ColourScales:
    """Upper ends of the colour scales ``(T,)``: of each time's weighted map, and of the average up to it.

    ``of_good``: whether they are a multiple of what good pictures reach; else they are this picture's own largest
    values.
    """

    weighted: np.ndarray
    running: np.ndarray
    of_good: bool


def scales_of_good(normal_range: NormalRange, exponent: float, times: np.ndarray) -> ColourScales:
    """By `NormalRange.scale`, at each of ``times`` ``(T,)``: the last average ends exactly there."""
    weighted = (normal_range.times**exponent)[:, None, None] * normal_range.upper
    running = np.cumsum(weighted, axis=0) / np.arange(1, len(weighted) + 1)[:, None, None]
    now, so_far = (
        np.interp(times, normal_range.times, 3 * np.quantile(maps, 0.9, axis=(1, 2))) for maps in (weighted, running)
    )
    so_far[-1] = normal_range.scale(exponent)
    return ColourScales(_positive(now), _positive(so_far), True)


def scales_of_picture(weighted: np.ndarray, running: np.ndarray) -> ColourScales:
    """By the largest values of a picture's own maps ``(T, H, W)``, where no range of good pictures is known."""
    return ColourScales(_positive(weighted.max((1, 2))), _positive(running.max((1, 2))), False)


def _positive(ends: np.ndarray) -> np.ndarray:
    return np.where(ends > 0, ends, 1.0)
