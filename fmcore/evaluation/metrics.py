"""Detection metrics from counts: how many positives and negatives have a score in each bin.

Functions ``..._of`` take counts ``(..., B)`` of any weight, the last axis by **descending** score, to ``(...)``; scores
of one bin are ties, NaN marks what is undefined. One code for the scores of images (a bin per value), for the pixels of
a test set, and for thousands of bootstrap draws, whose weights no metrics library takes.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import label

from fmcore.evaluation.bootstrap import Interval, intervals

# Every metric of a detector in the order, and by the names, in which the field prints them.
TITLES = {
    "image_auroc": "image AUROC",
    "image_ap": "image AP",
    "image_f1max": "image F1-max",
    "pixel_auroc": "pixel AUROC",
    "pixel_ap": "pixel AP",
    "pixel_f1max": "pixel F1-max",
    "aupro": "AUPRO at 0.3",
}
NAMES = tuple(TITLES)
IMAGE_NAMES, PIXEL_NAMES = NAMES[:3], NAMES[3:]
BINS_PER_OCTAVE = 1024
_SHIFT = 23 - (BINS_PER_OCTAVE.bit_length() - 1)  # low bits of a float32's fraction that are dropped


def score_metrics_of(positives: np.ndarray, negatives: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """AUROC, average precision and largest F1 of counts; NaN without both classes.

    AUROC is the probability that a positive scores above a negative, ties counted half. Average precision adds up
    precision times the recall gained in each bin (no trapezoid, which flatters constant detectors). The largest
    ``2 TP / (TP + FP + P)`` over thresholds is the best that one chosen in hindsight could reach; flagging everything
    gives ``2 p / (1 + p)`` at prevalence ``p``, so it never falls below that.
    """
    found, wrong = (np.cumsum(counts, -1, dtype=np.float64) for counts in (positives, negatives))
    all_positives, all_negatives = found[..., -1], wrong[..., -1]
    with np.errstate(divide="ignore", invalid="ignore"):
        auroc = ((found - positives / 2) * negatives).sum(-1) / (all_positives * all_negatives)
        precision = found / np.maximum(found + wrong, 1e-300)
        average = (positives * precision).sum(-1) / all_positives
        best = (2 * found / (found + wrong + all_positives[..., None])).max(-1)
    known = (all_positives > 0) & (all_negatives > 0)
    return tuple(np.where(known, value, np.nan) for value in (auroc, average, best))


def aupro_of(overlaps: np.ndarray, negatives: np.ndarray, limit: float = 0.3) -> np.ndarray:
    """Area under per-region overlap against false-positive rate, from 0 to exactly ``limit`` (interpolated linearly),
    divided by ``limit``: 1 is perfect, ``limit / 2`` is chance (Bergmann et al., IJCV 2021, section 5).

    ``overlaps`` is, per bin, the sum over regions of the share of their pixels there, so that every region counts
    alike; ``negatives`` are pixels outside all regions. NaN without either.
    """
    overlap, rate = (np.cumsum(counts, -1, dtype=np.float64) for counts in (overlaps, negatives))
    with np.errstate(invalid="ignore"):
        overlap, rate = overlap / overlap[..., -1:], rate / rate[..., -1:]
    start = np.zeros_like(overlap[..., :1])
    overlap, rate = np.concatenate([start, overlap], -1), np.concatenate([start, rate], -1)
    width = np.diff(rate)
    # Each segment is cut where the rate reaches the limit; segments beyond it are cut to nothing.
    share = np.clip((limit - rate[..., :-1]) / np.maximum(width, 1e-300), 0, 1)
    height = overlap[..., :-1] + np.diff(overlap) * share / 2
    return (width * share * height).sum(-1) / limit


def auroc(scores: np.ndarray, labels: np.ndarray) -> float | None:
    """AUROC of ``scores`` for bool ``labels`` of any one shape; None without both classes."""
    return image_metrics(scores, labels)["image_auroc"]


def image_metrics(scores: np.ndarray, labels: np.ndarray) -> dict[str, float | None]:
    """`IMAGE_NAMES` -> figure of scores ``(N,)`` and bool labels ``(N,)``, True where defective."""
    _, bins = np.unique(-np.ravel(scores), return_inverse=True)
    counts = (np.bincount(bins, chosen, bins.max() + 1) for chosen in (np.ravel(labels), ~np.ravel(labels)))
    return _known(IMAGE_NAMES, score_metrics_of(*counts))


def image_intervals(scores: np.ndarray, labels: np.ndarray, draws: int, seed: int) -> dict[str, Interval]:
    """Their 95 % bootstrap intervals ``[low, high]`` over images, or None: for ``draws`` 0, an undefined figure, or a
    single good or defective image."""
    return intervals(lambda counts: _of_draws(counts, scores, labels), IMAGE_NAMES, labels, draws, seed)


def auroc_difference(
    labels: np.ndarray, first: np.ndarray, second: np.ndarray, *, draws: int = 4000, seed: int = 0
) -> tuple[float, Interval]:
    """Image AUROC of one detector minus that of another, and its 95 % bootstrap interval or None, from bool labels
    ``(N,)``, both values among them, and the scores of either ``(S, N)``, a row per seed, of which the mean counts."""

    def gain(counts: np.ndarray) -> list[np.ndarray]:
        means = [np.mean([_of_draws(counts, row, labels)[0] for row in scores], 0) for scores in (first, second)]
        return [means[0] - means[1]]

    value = float(gain(np.ones((1, len(labels)), np.float32))[0][0])
    return value, intervals(gain, ("gain",), labels, draws, seed)["gain"]


def _of_draws(counts: np.ndarray, scores: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, ...]:
    """`score_metrics_of` images drawn as often as the rows of ``counts`` ``(R, N)`` say."""
    every, bins = np.unique(-scores, return_inverse=True)
    bin_of = np.eye(len(every), dtype=np.float32)[bins]  # (N, B)
    return score_metrics_of(*(counts[:, chosen] @ bin_of[chosen] for chosen in (labels, ~labels)))


def region_weights(mask: np.ndarray) -> np.ndarray:
    """``(H, W)`` float64 of a bool mask: 1 / (pixels of its region) inside, 0 outside, so that each region sums to 1.
    Diagonal neighbours belong to one region."""
    regions, count = label(mask, structure=np.ones((3, 3), dtype=int))
    weights = 1 / np.maximum(np.bincount(regions.ravel(), minlength=count + 1), 1)
    weights[0] = 0
    return weights[regions]


def score_bins(scores: np.ndarray) -> np.ndarray:
    """Number of each score's bin, int64, growing with the score; float32 of either sign, finite."""
    # The bits of a positive float, read as an integer, grow with it; adding 0 makes -0 a 0.
    bits = (np.asarray(scores, dtype=np.float32) + np.float32(0)).view(np.int32).astype(np.int64)
    return np.where(bits >= 0, bits, -(bits & 0x7FFFFFFF)) >> _SHIFT


class PixelMetrics:
    """Pixel figures, gathered image by image; only counts per bin of the score are kept, 10 to 100 kB per image.

    Each octave of the score is cut into `BINS_PER_OCTAVE` equal bins, so that scores which differ by less than 0.1 %
    count as ties: that moves the figures by about 0.0002 at most on heat maps (tested). Intervals use wider bins.
    """

    def __init__(self):
        self.defective: list[bool] = []
        self._images: list[tuple[np.ndarray, np.ndarray]] = []  # bins (B,), and what `add` counts in each (3, B)

    def add(self, heatmap: np.ndarray, mask: np.ndarray | None) -> None:
        """One image: its map ``(H, W)``, finite, higher where more anomalous, and its bool mask; None if good."""
        mask = np.zeros(heatmap.shape, bool) if mask is None else np.asarray(mask, bool)
        bins, index = np.unique(score_bins(heatmap), return_inverse=True)
        parts = (mask, ~mask, region_weights(mask))  # pixels inside masks, pixels outside, shares of regions
        rows = [np.bincount(index.ravel(), part.ravel(), len(bins)) for part in parts]
        self._images.append((bins.astype(np.int32), np.stack(rows).astype(np.float32)))
        self.defective.append(bool(mask.any()))

    def values(self) -> dict[str, float | None]:
        """`PIXEL_NAMES` -> figure over all images; None where no pixel, or every pixel, is marked."""
        return _known(PIXEL_NAMES, _of_pixels(*self._table().sum(1, dtype=np.float64)))

    def intervals(self, draws: int, seed: int) -> dict[str, Interval]:
        """As `image_intervals`."""
        labels, (inside, outside, overlaps) = np.array(self.defective, dtype=bool), self._table(coarser=2)

        def measure(counts: np.ndarray) -> tuple[np.ndarray, ...]:
            marked = counts[:, labels]  # good images have nothing inside masks
            return _of_pixels(marked @ inside[labels], counts @ outside, marked @ overlaps[labels])

        chunk = max(1, 1_000_000 // outside.shape[1])
        return intervals(measure, PIXEL_NAMES, labels, draws, seed, chunk=chunk)

    def _table(self, coarser: int = 0) -> np.ndarray:
        """``(3, N, B)``: the counts of all images by descending score, in bins ``2^coarser`` as wide."""
        every = np.unique(np.concatenate([np.zeros(1, np.int32), *(bins >> coarser for bins, _ in self._images)]))[::-1]
        table = np.zeros((3, len(self._images), len(every)), dtype=np.float32)
        for number, (bins, rows) in enumerate(self._images):
            index = np.searchsorted(-every, -(bins >> coarser))
            table[:, number] = [np.bincount(index, row, len(every)) for row in rows]
        return table


def _of_pixels(inside: np.ndarray, outside: np.ndarray, overlaps: np.ndarray) -> tuple[np.ndarray, ...]:
    return *score_metrics_of(inside, outside), aupro_of(overlaps, outside)


def _known(names: tuple[str, ...], values: tuple[np.ndarray, ...]) -> dict[str, float | None]:
    return {name: None if np.isnan(value) else float(value) for name, value in zip(names, values, strict=True)}
