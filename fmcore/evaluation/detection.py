"""All figures of a detector on one test set, whatever the detector: image and pixel metrics with their intervals."""

from __future__ import annotations

from typing import Any

import numpy as np

from fmcore.evaluation.bootstrap import Interval, draw_images, enough, interval_of_mean, intervals
from fmcore.evaluation.counts import auroc_of, average_precision_of, f1_max_of
from fmcore.evaluation.metrics import image_metrics
from fmcore.evaluation.pixel_metrics import NAMES as PIXEL_NAMES
from fmcore.evaluation.pixel_metrics import PixelMetrics

IMAGE_NAMES = ("image_auroc", "image_ap", "image_f1max")
NAMES = IMAGE_NAMES + PIXEL_NAMES  # every metric, in the order of tables


class DetectionMetrics:
    """Add each test image's score and, where its truth is known, its map and mask; then ask for the figures."""

    def __init__(self):
        self.scores: list[float] = []
        self.defective: list[bool] = []
        self.pixels = PixelMetrics()

    def add_score(self, score: float, *, defective: bool) -> None:
        """One image: ``score`` is higher where more anomalous."""
        self.scores.append(float(score))
        self.defective.append(bool(defective))

    def add_map(self, heatmap: np.ndarray, mask: np.ndarray | None) -> None:
        """Its map ``(H, W)`` and bool mask; None for a good image. Leave out defective images without a mask."""
        self.pixels.add(heatmap, mask)

    def figures(self, bootstrap: int = 1000, seed: int = 0) -> dict[str, Any]:
        """`NAMES` -> figure or None, and ``intervals``: `NAMES` -> 95 % interval ``[low, high]`` over images,
        or None; ``bootstrap`` is the number of draws, 0 for no intervals."""
        scores, labels = np.array(self.scores), np.array(self.defective, dtype=bool)
        found = self._image_intervals(scores, labels, bootstrap, seed) | self.pixels.intervals(bootstrap, seed)
        return image_metrics(scores, labels) | self.pixels.values() | {"intervals": found}

    def _image_intervals(self, scores: np.ndarray, labels: np.ndarray, draws: int, seed: int) -> dict[str, Interval]:
        if not draws or not enough(labels) or labels.all() or not labels.any():
            return dict.fromkeys(IMAGE_NAMES)
        every, ranks = np.unique(scores, return_inverse=True)
        bins = len(every) - 1 - ranks  # descending

        def measure(counts: np.ndarray) -> dict[str, np.ndarray]:
            parts = np.zeros((2, len(counts), len(every)))
            for part, chosen in zip(parts, (labels, ~labels), strict=True):
                # Several images may share a bin: added one by one, not assigned.
                np.add.at(part, (slice(None), bins[chosen]), counts[:, chosen])
            measures = (auroc_of, average_precision_of, f1_max_of)
            return {name: of(*parts) for name, of in zip(IMAGE_NAMES, measures, strict=True)}

        return intervals(measure, draw_images(labels, draws, seed), chunk=max(1, 1_000_000 // len(scores)))


def mean_figures(results: list[dict[str, Any]]) -> dict[str, Any]:
    """The plain mean over test sets of every metric that all of them have, with its interval; None for a
    metric that one of them lacks."""
    mean, found = {}, {}
    for name in NAMES:
        values = [result.get(name) for result in results]
        known = all(value is not None for value in values)
        mean[name] = float(np.mean(values)) if known else None
        edges = [(result.get("intervals") or {}).get(name) for result in results]
        found[name] = interval_of_mean(values, edges) if known else None
    return mean | {"intervals": found}
