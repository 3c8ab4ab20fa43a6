"""Detection metrics of scores and labels, computed by torchmetrics; an undefined metric is None, never NaN or 0.

These are exact and need all scores at once: right for the scores of images. Those of pixels are gathered
image by image in `fmcore.evaluation.pixel_metrics`.
"""

from __future__ import annotations

import numpy as np
import torch

# The metrics of a detector in the order, and by the names, in which the field prints them.
TITLES = {
    "image_auroc": "image AUROC",
    "image_ap": "image AP",
    "image_f1max": "image F1-max",
    "pixel_auroc": "pixel AUROC",
    "pixel_ap": "pixel AP",
    "pixel_f1max": "pixel F1-max",
    "aupro": "AUPRO at 0.3",
}


def auroc(scores: np.ndarray, labels: np.ndarray) -> float | None:
    """Area under the exact ROC curve of ``scores`` for bool ``labels`` of the same shape, ties counted half;
    None where only one class is present."""
    found = _binary("binary_auroc", scores, labels)
    return None if found is None else float(found)


def average_precision(scores: np.ndarray, labels: np.ndarray) -> float | None:
    """Average precision (no trapezoid, which flatters constant detectors); None without both classes."""
    found = _binary("binary_average_precision", scores, labels)
    return None if found is None else float(found)


def f1_max(scores: np.ndarray, labels: np.ndarray) -> float | None:
    """Largest F1 over all thresholds: the best a threshold chosen in hindsight could reach; None without
    both classes. Flagging everything gives ``2 p / (1 + p)`` at prevalence ``p``, so it never falls below that."""
    found = _binary("binary_precision_recall_curve", scores, labels)
    if found is None:
        return None
    precision, recall, _ = (part.double() for part in found)
    return float((2 * precision * recall / (precision + recall).clamp(min=1e-12)).max())


def image_metrics(scores: np.ndarray, labels: np.ndarray) -> dict[str, float | None]:
    """``image_auroc``, ``image_ap`` and ``image_f1max`` of scores ``(N,)`` and bool labels ``(N,)``, True
    where the image is defective."""
    return {
        "image_auroc": auroc(scores, labels),
        "image_ap": average_precision(scores, labels),
        "image_f1max": f1_max(scores, labels),
    }


def _binary(name: str, scores: np.ndarray, labels: np.ndarray):
    labels = np.asarray(labels, dtype=bool)
    if labels.all() or not labels.any():
        return None
    # Imported late: it takes as long as the rest of the package, and scoring does not need it.
    from torchmetrics.functional import classification

    # Ranks instead of values: torchmetrics would squash values outside [0, 1] by a sigmoid, which rounds
    # large scores to ties.
    _, ranks = np.unique(np.asarray(scores).ravel(), return_inverse=True)
    scaled = torch.from_numpy(ranks / max(1, ranks.max()))
    return getattr(classification, name)(scaled, torch.from_numpy(labels.ravel().astype(np.int64)))
