"""Detection metrics, computed by torchmetrics; an undefined metric is None, never NaN or 0."""

from __future__ import annotations

import numpy as np
import torch


def auroc(scores: np.ndarray, labels: np.ndarray) -> float | None:
    """Area under the exact ROC curve of ``scores`` for bool ``labels`` of the same shape, ties counted half;
    None where only one class is present."""
    return _binary("binary_auroc", scores, labels)


def average_precision(scores: np.ndarray, labels: np.ndarray) -> float | None:
    """Average precision (no trapezoid, which flatters constant detectors); None without both classes."""
    return _binary("binary_average_precision", scores, labels)


def _binary(name: str, scores: np.ndarray, labels: np.ndarray) -> float | None:
    labels = np.asarray(labels, dtype=bool)
    if labels.all() or not labels.any():
        return None
    # Imported late: it takes as long as the rest of the package, and scoring does not need it.
    from torchmetrics.functional import classification

    # Ranks instead of values: torchmetrics would squash values outside [0, 1] by a sigmoid, which rounds
    # large scores to ties.
    _, ranks = np.unique(np.asarray(scores).ravel(), return_inverse=True)
    scaled = torch.from_numpy(ranks / max(1, ranks.max()))
    return float(getattr(classification, name)(scaled, torch.from_numpy(labels.ravel().astype(np.int64))))
