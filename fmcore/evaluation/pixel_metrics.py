"""Pixel AUROC, AP, F1-max and AUPRO, gathered image by image in little memory, with bootstrap intervals.

Only counts are kept: how many pixels, outside and inside the masks, have a score in each bin, and which share of
each region. The bins are fixed in advance and fit every scale: each octave of the score is cut into
`BINS_PER_OCTAVE` equal parts, so two scores share a bin only if they differ by less than 0.05 %. Pixels that share
a bin count as ties, which moves the figures by about 0.0001 at most on heat maps (tested). Scores that differ by
less beside a large common offset are not told apart: subtract it. Intervals use bins eight times as wide, kept
for each image.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fmcore.evaluation.aupro import region_weights
from fmcore.evaluation.bootstrap import Interval, draw_images, enough, intervals
from fmcore.evaluation.counts import aupro_of, auroc_of, average_precision_of, f1_max_of

BINS_PER_OCTAVE = 2048
_COARSER = 3  # bits: bins of an image, for intervals, are 2^3 as wide
_SHIFT = 23 - (BINS_PER_OCTAVE.bit_length() - 1)  # low bits of a float32's fraction that are dropped
NAMES = ("pixel_auroc", "pixel_ap", "pixel_f1max", "aupro")


def score_bins(scores: np.ndarray) -> np.ndarray:
    """Number of each score's bin, int64, growing with the score; float32 of either sign, finite.

    The bits of a positive float, read as an integer, grow with it: cutting off the low bits of the fraction
    leaves 2^11 equal bins per power of two.
    """
    bits = (np.asarray(scores, dtype=np.float32) + np.float32(0)).view(np.int32).astype(np.int64)  # -0 becomes 0
    return np.where(bits >= 0, bits, -(bits & 0x7FFFFFFF)) >> _SHIFT


@dataclass(frozen=True)
class _Counts:
    """What pixels have a score in which bin: ``bins`` ``(B,)`` ascending, and ``rows`` ``(3, B)``: pixels inside
    masks, pixels outside, shares of regions."""

    bins: np.ndarray
    rows: np.ndarray

    @classmethod
    def of(cls, bins: np.ndarray, rows: np.ndarray) -> _Counts:
        """Columns of one bin added up."""
        used, index = np.unique(bins, return_inverse=True)
        return cls(used, np.stack([np.bincount(index, row, len(used)) for row in rows]))

    def __add__(self, other: _Counts) -> _Counts:
        return _Counts.of(np.concatenate([self.bins, other.bins]), np.concatenate([self.rows, other.rows], axis=1))


class PixelMetrics:
    """Add one image after the other, then ask for the figures. Memory: some 10 to 100 kB per image.

    Args:
        aupro_limit: false-positive rate up to which the per-region overlap is integrated.
    """

    def __init__(self, aupro_limit: float = 0.3):
        self.aupro_limit = aupro_limit
        self.defective: list[bool] = []
        self._images: list[_Counts] = []
        self._total = _Counts(np.zeros(0, np.int64), np.zeros((3, 0)))

    def add(self, heatmap: np.ndarray, mask: np.ndarray | None) -> None:
        """Count one image: its map ``(H, W)``, finite and higher where more anomalous, and its bool mask
        ``(H, W)``; None or an empty one for a good image."""
        mask = np.zeros(heatmap.shape, bool) if mask is None else np.asarray(mask, bool)
        inside = mask.ravel()
        counts = _Counts.of(score_bins(heatmap).ravel(), np.stack([inside, ~inside, region_weights(mask).ravel()]))
        self._total += counts
        coarse = _Counts.of(counts.bins >> _COARSER, counts.rows)
        self._images.append(_Counts(coarse.bins.astype(np.int32), coarse.rows.astype(np.float32)))
        self.defective.append(bool(inside.any()))

    def values(self) -> dict[str, float | None]:
        """`NAMES` -> figure over all images; all None where no pixel, or every pixel, is marked."""
        if not self._images:
            return dict.fromkeys(NAMES)
        found = self._measure(*self._total.rows[:, None, ::-1])
        return {name: None if np.isnan(value[0]) else float(value[0]) for name, value in found.items()}

    def intervals(self, draws: int, seed: int) -> dict[str, Interval]:
        """`NAMES` -> 95 % bootstrap interval over images, or None: for ``draws`` 0, an undefined figure, or
        a single good or defective image."""
        labels = np.array(self.defective, dtype=bool)
        if not draws or not labels.any() or not enough(labels):
            return dict.fromkeys(NAMES)
        inside, outside, overlaps = self._by_image()
        inside, overlaps = inside[labels], overlaps[labels]  # good images have neither

        def measure(counts: np.ndarray) -> dict[str, np.ndarray]:
            marked = counts[:, labels]
            return self._measure(marked @ inside, counts @ outside, marked @ overlaps)

        return intervals(measure, draw_images(labels, draws, seed), chunk=max(1, 1_000_000 // inside.shape[1]))

    def _by_image(self) -> np.ndarray:
        """``(3, N, B)`` float32 over the bins that any image uses, by descending score."""
        every = np.unique(np.concatenate([image.bins for image in self._images]))
        table = np.zeros((3, len(self._images), len(every)), dtype=np.float32)
        for number, image in enumerate(self._images):
            table[:, number, len(every) - 1 - np.searchsorted(every, image.bins)] = image.rows
        return table

    def _measure(self, inside: np.ndarray, outside: np.ndarray, overlaps: np.ndarray) -> dict[str, np.ndarray]:
        """Counts ``(R, B)`` by descending score -> name -> ``(R,)``."""
        found = (
            auroc_of(inside, outside),
            average_precision_of(inside, outside),
            f1_max_of(inside, outside),
            aupro_of(overlaps, outside, self.aupro_limit),
        )
        return dict(zip(NAMES, found, strict=True))
