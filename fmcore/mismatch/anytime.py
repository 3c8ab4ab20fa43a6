"""The anytime heat map of an image that is still being scored, at the cost of one map per time."""

from __future__ import annotations

import numpy as np

from fmcore.mismatch.mismatch import HeatSettings, Mismatch, MismatchStep


class RunningHeatmap:
    """Averages the weighted maps of the steps added so far; each time is aggregated and smoothed once.

    The result has the very bits of ``Mismatch.collect(steps).heatmap(heat)``, which does all times anew.
    """

    def __init__(self, heat: HeatSettings):
        self.heat = heat
        self.count = 0
        self._sum: np.ndarray | float = 0.0

    def add(self, step: MismatchStep) -> np.ndarray:
        """The heat map ``(H, W)`` float32 of all steps up to and including this one."""
        single = Mismatch(np.array([step.t]), step.paths[None]).weighted(self.heat)[0]
        # float64, as in `Mismatch.running`: the sum must not depend on how many times follow.
        self._sum = self._sum + single.astype(np.float64)
        self.count += 1
        return (self._sum / self.count).astype(np.float32)
