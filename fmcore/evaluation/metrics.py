"""Detection metrics from counts, and bootstrap intervals over images.

Functions ``..._of`` take counts ``(..., B)``, how many positives and negatives have a score in each bin, of any weight,
the last axis by **descending** score, to ``(...)``; scores of one bin are ties, NaN marks what is undefined. One code
for the scores of images, for the pixels of a test set, and for thousands of bootstrap draws.

The bootstrap draws whole images, never single pixels, which are far from independent, and good and defective ones
apart. Two detectors get the same draws, so that the interval of their difference is far narrower than their own.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Sequence

import numpy as np
from scipy.ndimage import label

Interval = list[float] | None  # low and high end, with 95 % of the draws between them

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
BLOCK = 128  # images whose counts are spread over all bins together
COARSER = 4  # bins of `PixelMetrics` that are one for its intervals
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
    """Intervals, by name, of what ``measure``, counts ``(R, N)`` -> an ``(R,)`` per name, gives for ``draws`` draws,
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


def image_metrics(scores: np.ndarray, labels: np.ndarray) -> dict[str, float | None]:
    """`IMAGE_NAMES` -> figure of scores ``(N,)`` and bool labels ``(N,)``, True where defective."""
    scores, labels = np.ravel(scores), np.ravel(labels)
    return _known(IMAGE_NAMES, *_of_draws(np.ones((1, len(scores))), scores, labels))


def image_intervals(scores: np.ndarray, labels: np.ndarray, draws: int, seed: int) -> dict[str, Interval]:
    """Their 95 % bootstrap `intervals` over images."""
    return intervals(lambda counts: _of_draws(counts, scores, labels), IMAGE_NAMES, labels, draws, seed)


def auroc_difference(
    labels: np.ndarray, first: np.ndarray, second: np.ndarray, *, draws: int = 4000, seed: int = 0
) -> tuple[float, Interval] | None:
    """Image AUROC of one detector minus that of another, and its 95 % bootstrap interval or None, from bool labels
    ``(N,)`` and the scores of either ``(S, N)``, a row per seed, of which the mean counts. None without both labels."""
    if labels.all() or not labels.any():
        return None

    def gain(counts: np.ndarray) -> list[np.ndarray]:
        means = [np.mean([_of_draws(counts, row, labels)[0] for row in scores], 0) for scores in (first, second)]
        return [means[0] - means[1]]

    return gain(np.ones((1, len(labels))))[0].item(), intervals(gain, ("gain",), labels, draws, seed)["gain"]


def _of_draws(counts: np.ndarray, scores: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, ...]:
    """`score_metrics_of` images drawn as often as the rows of ``counts`` ``(R, N)`` say."""
    order = np.argsort(-scores)
    _, starts = np.unique(-scores[order], return_index=True)  # of each distinct score
    drawn, marked = counts[:, order], labels[order]
    return score_metrics_of(*(np.add.reduceat(drawn * chosen, starts, axis=1) for chosen in (marked, ~marked)))


def region_weights(mask: np.ndarray) -> np.ndarray:
    """``(H, W)`` float64 of a bool mask: 1 / (pixels of its region) inside, 0 outside, so that each region sums to 1.
    Diagonal neighbours belong to one region."""
    regions, count = label(mask, structure=np.ones((3, 3), dtype=int))
    weights = 1 / np.maximum(np.bincount(regions.ravel(), minlength=count + 1), 1)
    weights[0] = 0
    return weights[regions]


def score_bins(scores: np.ndarray) -> np.ndarray:
    """Number of each score's bin, int32, growing with the score; float32 of either sign, finite."""
    # The bits of a positive float, read as an integer, grow with it; adding 0 makes -0 a 0.
    bits = (np.asarray(scores, dtype=np.float32) + np.float32(0)).view(np.int32)
    return np.where(bits >= 0, bits, -(bits & 0x7FFFFFFF)) >> _SHIFT


class PixelMetrics:
    """Pixel figures, gathered image by image; what is kept is a histogram of all pixels, and in a temporary file a
    coarse one per image for the intervals, so that memory does not grow with their number.

    Each octave of the score is cut into `BINS_PER_OCTAVE` equal bins, so that scores which differ by less than 0.1 %
    count as ties: that moves the figures by about 0.0002 at most on heat maps. Intervals use `COARSER` bins.
    """

    def __init__(self):
        self.defective: list[bool] = []
        # Bins in use, ascending, and in each what `add` counts: of all images (3, B), and coarse of every one.
        self._all = np.zeros(1, np.int32), np.zeros((3, 1))
        self._images = tempfile.TemporaryFile(prefix="fmcore-")

    def add(self, heatmap: np.ndarray, mask: np.ndarray | None) -> None:
        """One image: its map ``(H, W)``, finite, higher where more anomalous, and its bool mask; None if good."""
        mask = np.zeros(heatmap.shape, bool) if mask is None else np.asarray(mask, bool)
        parts = (~mask, mask, region_weights(mask))  # pixels outside masks, pixels inside, shares of regions
        self.defective.append(bool(mask.any()))
        found = _histogram(score_bins(heatmap).ravel(), np.stack(parts).reshape(3, -1))
        self._all = _histogram(*(np.concatenate(pair, -1) for pair in zip(self._all, found, strict=True)))
        bins, counts = _histogram(found[0] // COARSER, found[1][: 3 if mask.any() else 1])
        np.save(self._images, np.stack([bins, *counts.astype(np.float32).view(np.int32)]))

    def values(self) -> dict[str, float | None]:
        """`PIXEL_NAMES` -> figure over all images; None where no pixel, or every pixel, is marked."""
        return _known(PIXEL_NAMES, *_of_pixels(*self._all[1][:, ::-1]))

    def intervals(self, draws: int, seed: int) -> dict[str, Interval]:
        """As `image_intervals`."""
        labels, every = np.array(self.defective, dtype=bool), np.unique(self._all[0] // COARSER)[::-1]

        def measure(counts: np.ndarray) -> tuple[np.ndarray, ...]:
            sums = np.zeros((3, len(counts), len(every)))
            self._images.seek(0)
            for first in range(0, len(labels), BLOCK):  # dense counts of few images at a time
                block = counts[:, first : first + BLOCK]
                dense = np.zeros((3, block.shape[1], len(every)), np.float32)  # good images have nothing inside masks
                for row in range(block.shape[1]):
                    bins, *found = np.load(self._images)
                    dense[: len(found), row, np.searchsorted(-every, -bins)] = np.stack(found).view(np.float32)
                sums += block @ dense
            return _of_pixels(*sums)

        return intervals(measure, PIXEL_NAMES, labels, draws, seed, chunk=max(1, 1_000_000 // len(every)))


def _histogram(bins: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distinct ``bins`` of ``(n,)``, ascending, and the sums there of each row of ``weights`` ``(m, n)``."""
    every, index = np.unique(bins, return_inverse=True)
    return every, np.stack([np.bincount(index, row, len(every)) for row in weights])


def _of_pixels(outside: np.ndarray, inside: np.ndarray, overlaps: np.ndarray) -> tuple[np.ndarray, ...]:
    return *score_metrics_of(inside, outside), aupro_of(overlaps, outside)


def _known(names: tuple[str, ...], *values: np.ndarray) -> dict[str, float | None]:
    return {name: None if np.isnan(value) else value.item() for name, value in zip(names, values, strict=True)}
