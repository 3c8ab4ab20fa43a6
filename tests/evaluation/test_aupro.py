"""AUPRO against a brute-force computation, and the detectors whose value is known."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from fmcore.evaluation.metrics import aupro_of, region_weights


def aupro(maps, masks, limit: float = 0.3) -> float | None:
    """Exact AUPRO by the package's counts, every score a bin of its own; None where it is undefined."""
    inside = np.concatenate([np.asarray(mask, bool).ravel() for mask in masks])
    weights = np.concatenate([region_weights(np.asarray(mask, bool)).ravel() for mask in masks])
    _, ranks = np.unique(np.concatenate([np.ravel(m) for m in maps]), return_inverse=True)
    bins = ranks.max() - ranks  # descending
    found = float(aupro_of(np.bincount(bins, weights), np.bincount(bins, ~inside), limit))
    return None if np.isnan(found) else found


def flood(mask: np.ndarray) -> list[set]:
    """Connected regions with diagonals, by flood fill."""
    left, regions = {tuple(p) for p in np.argwhere(mask)}, []
    while left:
        region, front = set(), [left.pop()]
        while front:
            y, x = front.pop()
            region.add((y, x))
            near = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & left
            left -= near
            front += near
        regions.append(region)
    return regions


def brute_force(maps: np.ndarray, masks: np.ndarray, limit: float) -> float:
    """One threshold after the other, one region after the other; the curve's area on a fine grid of rates."""
    regions = [(i, region) for i, mask in enumerate(masks) for region in flood(mask)]
    rates, overlaps = [0.0], [0.0]
    for threshold in np.unique(maps)[::-1]:
        flagged = maps >= threshold
        rates.append(flagged[~masks].mean())
        overlaps.append(np.mean([np.mean([flagged[i][p] for p in region]) for i, region in regions]))
    grid = np.unique([*np.linspace(0, limit, 2001), *(r for r in rates if r < limit)])
    # Where the rate stands still the curve jumps: looking just inside each piece sees the right side of it.
    area = 0.0
    for left, right in itertools.pairwise(grid):
        inside = np.interp([left + (right - left) * 1e-9, right - (right - left) * 1e-9], rates, overlaps)
        area += (right - left) * inside.mean()
    return area / limit


def blocks(seed: int, count: int = 6, size: int = 24):
    rng = np.random.default_rng(seed)
    masks = np.zeros((count, size, size), dtype=bool)
    for mask in masks[:-2]:
        for _ in range(rng.integers(1, 4)):
            top, left, height, width = *rng.integers(0, size - 8, 2), *rng.integers(1, 8, 2)
            mask[top : top + height, left : left + width] = True
    return rng, masks


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("levels", [4, 40])  # few levels: many ties, and the limit inside a long segment
@pytest.mark.parametrize("limit", [0.3, 0.05])
def test_aupro_equals_brute_force(seed, levels, limit):
    rng, masks = blocks(seed)
    maps = np.round((rng.random(masks.shape) + 0.5 * masks * rng.random((len(masks), 1, 1))) * levels)
    assert aupro(maps, masks, limit) == pytest.approx(brute_force(maps, masks, limit), abs=1e-6)


def test_detectors_of_known_value():
    rng, masks = blocks(7, count=40, size=40)
    assert aupro(masks.astype(float), masks) == pytest.approx(1.0)
    assert aupro(-masks.astype(float), masks) == 0.0
    assert aupro(np.full(masks.shape, 7.0), masks) == pytest.approx(0.15)
    assert aupro(rng.random(masks.shape), masks) == pytest.approx(0.15, abs=0.02)


def test_a_small_region_counts_as_much_as_a_large_one():
    mask = np.zeros((1, 40, 40), dtype=bool)
    mask[0, :20, :20] = True
    mask[0, 30, 30] = True
    large_only = np.where(mask & (np.arange(40) < 25), 1.0, 0.0)
    # Half the regions from the start; the rest only with everything, on a line from (0, 0.5) to (1, 1).
    assert aupro(large_only, mask) == pytest.approx(0.5 + 0.5 * 0.15)


def test_never_above_one_when_no_rate_is_near_the_limit():
    mask = np.zeros((1, 10, 10), dtype=bool)
    mask[0, 0] = True
    assert aupro(mask * 1.0, mask) == pytest.approx(1.0)
    sparse = np.where(mask, 2.0, 0.0)
    sparse[0, 9] = 1.0  # the only rates are 0, 0.11 and 1
    assert aupro(sparse, mask) == pytest.approx(1.0)


def test_undefined_without_regions_or_without_anything_else():
    assert aupro(np.ones((2, 4, 4)), np.zeros((2, 4, 4), bool)) is None
    assert aupro(np.ones((2, 4, 4)), np.ones((2, 4, 4), bool)) is None


def test_maps_may_differ_in_size():
    rng, masks = blocks(3)
    maps = rng.random(masks.shape)
    bigger = [
        (np.kron(m, np.ones((2, 2))), np.kron(k, np.ones((2, 2), bool))) for m, k in zip(maps, masks, strict=True)
    ]
    assert aupro(*zip(*bigger, strict=True)) == pytest.approx(aupro(maps, masks))


def test_regions_join_at_corners_and_their_weights_add_to_one():
    mask = np.array([[1, 0, 0, 1], [0, 1, 0, 1], [0, 0, 0, 0], [1, 0, 0, 0]], bool)
    assert region_weights(mask).tolist() == [[0.5, 0, 0, 0.5], [0, 0.5, 0, 0.5], [0, 0, 0, 0], [1, 0, 0, 0]]
