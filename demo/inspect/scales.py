"""Where the colours of each time's maps begin and end: by what maps of good pictures reach at that time.

One scale for all times would leave the early ones black, since the weight t^r is small there; a scale from zero would
leave maps of features bright all over, since what must be expected of good pictures is far from zero there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fmcore.detector.calibration import NormalRange


@dataclass(frozen=True)
class ColourScales:
    """Ends of the colour scales, low and high, ``(T, 2)``: of each time's weighted map, and of the average up to it.

    ``of_good``: whether they come from what good pictures reach; else they are zero and this picture's own largest
    values.
    """

    weighted: np.ndarray
    running: np.ndarray
    of_good: bool


def scales_of_good(normal_range: NormalRange, exponent: float, times: np.ndarray) -> ColourScales:
    """From the least that good pictures have (at half of all places) to three times as far as their most (at nine
    places in ten), at each of ``times`` ``(T,)``."""
    weights = (normal_range.times**exponent)[:, None, None]
    count = np.arange(1, len(weights) + 1)[:, None, None]
    lower, upper = weights * normal_range.lower, weights * normal_range.upper
    averages = np.cumsum(lower, 0) / count, np.cumsum(upper, 0) / count
    found = []
    for low, high in ((lower, upper), averages):
        least, most = np.quantile(low, 0.5, axis=(1, 2)), np.quantile(high, 0.9, axis=(1, 2))
        ends = (np.interp(times, normal_range.times, end) for end in (least, least + 3 * (most - least)))
        found.append(_apart(*ends))
    return ColourScales(*found, True)


def scales_of_picture(weighted: np.ndarray, running: np.ndarray) -> ColourScales:
    """By the largest values of a picture's own maps ``(T, H, W)``, where no range of good pictures is known."""
    highs = (maps.max((1, 2)) for maps in (weighted, running))
    return ColourScales(*(_apart(np.zeros(len(high)), high) for high in highs), False)


def _apart(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    return np.stack([low, np.where(high > low, high, low + 1.0)], 1)
