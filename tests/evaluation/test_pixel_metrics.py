"""Streaming pixel metrics against scikit-learn, exact AUPRO and repeated images, and their memory."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score
from test_aupro import aupro

from fmcore.evaluation.metrics import PIXEL_NAMES as NAMES
from fmcore.evaluation.metrics import PixelMetrics, draw_images, score_bins


def heat_maps(seed: int, count: int = 12, size: int = 64, scale: float = 1.0):
    """Maps as a model gives them: non-negative, smooth, heavy-tailed; a third of the images is good."""
    rng = np.random.default_rng(seed)
    masks = np.zeros((count, size, size), dtype=bool)
    for mask in masks[count // 3 :]:
        for _ in range(rng.integers(1, 4)):
            top, left, height, width = *rng.integers(0, size - 20, 2), *rng.integers(2, 20, 2)
            mask[top : top + height, left : left + width] = True
    noise = gaussian_filter(rng.standard_normal(masks.shape) ** 2, (0, 1.5, 1.5))
    lift = gaussian_filter(masks.astype(float), (0, 2, 2)) * rng.gamma(1, 3.0, (count, 1, 1))
    return (scale * (noise + lift) ** 2).astype(np.float32), masks


def gathered(maps, masks) -> PixelMetrics:
    metrics = PixelMetrics()
    for heatmap, mask in zip(maps, masks, strict=True):
        metrics.add(heatmap, mask)
    return metrics


def exact(maps, masks) -> dict[str, float]:
    truth, scores = np.ravel(masks), np.ravel(maps)
    precision, recall, _ = precision_recall_curve(truth, scores)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    values = (roc_auc_score(truth, scores), average_precision_score(truth, scores), f1.max(), aupro(maps, masks))
    return dict(zip(NAMES, values, strict=True))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("scale", [1.0, 1e-6, 1e9])
def test_quantised_figures_are_near_the_exact_ones(seed, scale):
    maps, masks = heat_maps(seed, scale=scale)
    found, expected = gathered(maps, masks).values(), exact(maps, masks)
    assert 0.3 < expected["pixel_ap"] < 0.95  # a case where ties would show
    assert found == {name: pytest.approx(value, abs=2e-4) for name, value in expected.items()}


def test_negative_scores_are_in_order_too():
    maps, masks = heat_maps(1)
    shifted = np.log(maps + 1e-3)
    assert shifted.min() < -1 and shifted.max() > 1
    assert gathered(shifted, masks).values() == {
        k: pytest.approx(v, abs=1e-3) for k, v in exact(shifted, masks).items()
    }


def test_bins_keep_the_order_and_split_an_octave_into_1024():
    scores = np.sort(np.random.default_rng(0).standard_normal(5000).astype(np.float32) ** 3)
    bins = score_bins(scores)
    assert (np.diff(bins) >= 0).all() and len(np.unique(bins)) > 2000
    ends = score_bins(np.array([1.0, 2.0, 4.0, 0.25, 0.5]))
    assert ends[1] - ends[0] == ends[2] - ends[1] == ends[4] - ends[3] == 1024
    assert score_bins(np.array([-0.0])) == score_bins(np.array([0.0]))
    close = np.array([1.0, 1.0 + 1 / 1023], dtype=np.float32)
    assert len(np.unique(score_bins(close))) == 2 and len(np.unique(score_bins(-close))) == 2


def test_known_detectors():
    rng, (_, masks) = np.random.default_rng(5), heat_maps(5)
    share = masks.mean()
    perfect = gathered(masks * 1.0, masks)
    assert perfect.values() == dict.fromkeys(NAMES, pytest.approx(1.0))
    assert perfect.intervals(50, 0) == dict.fromkeys(NAMES, pytest.approx([1.0, 1.0]))
    constant = gathered(np.ones(masks.shape), masks).values()
    assert [constant[n] for n in NAMES] == pytest.approx([0.5, share, 2 * share / (1 + share), 0.15])
    inverted = gathered(1.0 - masks, masks).values()
    assert [inverted[n] for n in NAMES] == pytest.approx([0.0, share, 2 * share / (1 + share), 0.0])
    chance = gathered(rng.random(masks.shape), masks).values()
    assert [chance[n] for n in NAMES] == pytest.approx([0.5, share, 2 * share / (1 + share), 0.15], abs=0.02)


def test_a_draw_counts_images_as_often_as_they_were_drawn():
    maps, masks = heat_maps(2)
    metrics = gathered(maps, masks)
    counts = draw_images(np.array(metrics.defective), 1, 3)
    low_high = metrics.intervals(1, 3)  # one draw: both ends are its value
    index = np.repeat(np.arange(len(maps)), counts[0].astype(int))
    repeated = gathered(maps[index], masks[index]).values()
    assert low_high == {name: pytest.approx([value] * 2, abs=1e-3) for name, value in repeated.items()}
    assert all(abs(repeated[name] - value) > 5e-3 for name, value in metrics.values().items())


def test_intervals_hold_the_figure_and_repeat_with_the_seed():
    metrics = gathered(*heat_maps(0, count=30))
    found, values = metrics.intervals(300, 0), metrics.values()
    for name in NAMES:
        low, high = found[name]
        assert low < values[name] < high and 0.005 < high - low < 0.5
    assert metrics.intervals(300, 0) == found != metrics.intervals(300, 1)


def test_undefined_figures_and_intervals_are_none():
    maps, masks = heat_maps(0)
    nothing = dict.fromkeys(NAMES)
    assert PixelMetrics().values() == PixelMetrics().intervals(10, 0) == nothing
    good = gathered(maps, np.zeros_like(masks))
    assert good.values() == good.intervals(10, 0) == nothing
    assert gathered(maps, masks).intervals(0, 0) == nothing
    single = gathered(maps[3:], masks[3:])  # one good image left
    assert None not in single.values().values() and single.intervals(10, 0) == nothing
    without_good = gathered(maps[4:], masks[4:])
    assert None not in without_good.intervals(10, 0).values()
    assert gathered(maps[:1], [None]).defective == [False]


def test_an_image_is_kept_as_counts_not_as_a_map_and_not_in_memory():
    maps, masks = heat_maps(0, count=3, size=256)
    kept = gathered(maps, masks)._images.tell()
    assert 1000 < kept < 0.1 * maps.nbytes
    again = gathered(np.tile(maps, (1, 4, 4)), np.tile(masks, (1, 4, 4)))  # 16 times the pixels, the same room
    assert again._images.tell() <= kept
    tracemalloc.start()
    many = gathered(np.tile(maps, (20, 1, 1)), np.tile(masks, (20, 1, 1)))
    assert tracemalloc.get_traced_memory()[0] < 8 * kept and many._images.tell() == 20 * kept
    tracemalloc.stop()
