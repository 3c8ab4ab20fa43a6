"""What is marked on a picture at the threshold: outlines for the screen, and the regions with their areas."""

from __future__ import annotations

from typing import Any

import numpy as np

from demo.common.messages import outline
from fmcore.detector.model import Model
from fmcore.detector.score import Verdict, find_regions, mark

MOST = 6  # regions that are listed


def marks(model: Model, category: str, verdict: Verdict, height: int, width: int) -> tuple[np.ndarray, dict[str, Any]]:
    """Outline of what exceeds half the threshold on a picture ``(height, width)``, empty without a threshold; and
    ``regions``, the highest peak first, each with its ``area`` in per cent of the picture, and how many ``more``."""
    if verdict.threshold is None:
        return np.empty((0, 4), np.int16), {"regions": [], "more": 0, "marked_area": None}
    whole = model.view(category).enlarge(verdict.heatmap, height, width)
    regions = find_regions(whole, verdict.threshold)
    listed = [{"area": 100 * r.area / whole.size, "box": r.box, "peak": r.peak} for r in regions[:MOST]]
    area = 100 * sum(r.area for r in regions) / whole.size
    told = {"regions": listed, "more": len(regions) - len(listed), "marked_area": area}
    return outline(mark(whole, verdict.threshold)), told
