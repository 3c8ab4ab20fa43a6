"""From a heat map to what is marked on it: the mask, and its connected regions."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.ndimage import find_objects, label, maximum, sum_labels


class Region(NamedTuple):
    """``box`` is left, top, width, height; ``area`` a number of pixels; ``peak`` the map's largest value in it."""

    box: tuple[int, int, int, int]
    area: int
    peak: float


def mark(heatmap: np.ndarray, threshold: float) -> np.ndarray:
    """``(H, W)`` bool: where the map exceeds half the threshold of the score, which adds the mean of the top to the
    maximum: a place above that alone would make the picture anomalous."""
    return heatmap > threshold / 2


def find_regions(heatmap: np.ndarray, threshold: float) -> list[Region]:
    """Connected regions of `mark`, diagonal neighbours joined, the highest peak first."""
    labels, count = label(mark(heatmap, threshold), structure=np.ones((3, 3)))
    numbers = np.arange(1, count + 1)
    areas, peaks = sum_labels(labels > 0, labels, numbers), maximum(heatmap, labels, numbers)
    found = []
    for (rows, columns), area, peak in zip(find_objects(labels), areas, peaks, strict=True):
        box = (columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start)
        found.append(Region(box, int(area), float(peak)))
    return sorted(found, key=lambda region: -region.peak)
