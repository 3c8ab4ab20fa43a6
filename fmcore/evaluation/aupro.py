"""Per-region overlap: how well each defect is covered, every connected region counting alike whatever its size.

Bergmann et al., "The MVTec Anomaly Detection Dataset", IJCV 2021, section 5: the mean share of a region's
pixels above a threshold, against the false-positive rate over all pixels outside regions, up to a rate of 0.3.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.ndimage import label

from fmcore.evaluation.counts import aupro_of

_NEIGHBOURS = np.ones((3, 3), dtype=int)


def find_regions(mask: np.ndarray) -> tuple[np.ndarray, int]:
    """Connected regions of a bool mask ``(H, W)``, diagonal neighbours joined: an int map ``(H, W)`` with 0
    outside and 1 to n inside, and n."""
    regions, count = label(mask, structure=_NEIGHBOURS)
    return regions, int(count)


def region_weights(mask: np.ndarray) -> np.ndarray:
    """``(H, W)`` float64: 1 / (pixels of its region) inside regions, 0 outside; so each region sums to 1."""
    regions, count = find_regions(mask)
    areas = np.bincount(regions.ravel(), minlength=count + 1)
    weights = 1 / np.maximum(areas, 1)
    weights[0] = 0
    return weights[regions]


def aupro(maps: Sequence[np.ndarray], masks: Sequence[np.ndarray], limit: float = 0.3) -> float | None:
    """Exact AUPRO of maps ``(H, W)`` with bool masks of the same shapes, good images having empty masks.

    Integrated to ``limit`` by linear interpolation at exactly that rate and divided by it: 1 is perfect,
    ``limit / 2`` is chance or a constant. None where no mask marks anything, or everything is marked.
    Needs all maps at once; `fmcore.evaluation.pixel_metrics` is the streaming form.
    """
    inside = np.concatenate([np.asarray(mask, bool).ravel() for mask in masks])
    if inside.all() or not inside.any():
        return None
    weights = np.concatenate([region_weights(np.asarray(mask, bool)).ravel() for mask in masks])
    _, ranks = np.unique(np.concatenate([np.ravel(m) for m in maps]), return_inverse=True)
    bins = ranks.max() - ranks  # descending
    return float(aupro_of(np.bincount(bins, weights), np.bincount(bins, ~inside), limit))
