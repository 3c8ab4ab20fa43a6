"""The method itself (Eqs. 2-4) behind the interface of the baselines, with its own settings to choose from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from fmcore.evaluation.baselines.detector import Detector
from fmcore.evaluation.normalisation import DenoisingFloor
from fmcore.mismatch.mismatch import (
    HeatSettings,
    Mismatch,
    PathSettings,
    VelocityField,
    mismatch_steps,
    recommended_exponent,
)


class MismatchDetector(Detector):
    """Velocity mismatch of any field; every combination of aggregator, exponent and first time is a setting.

    Args:
        field: any ``(x, t) -> v``.
        paths: K, T and the noise; the record of one image serves all settings.
        aggregators, exponents: choices of Eqs. 3 and 4, besides the recommended exponent.
        first_times: only times of at least this value count.
        tiles: the second field where ``paths.tiles`` is above zero.
        view: pixels per side of an image as that field sees it; 0: as many as the first sees.
        floor: where given, the mismatch is divided by that of normal images (`fmcore.evaluation.normalisation`).
    """

    def __init__(
        self,
        field: VelocityField,
        paths: PathSettings | None = None,
        *,
        aggregators: Sequence[str] = ("min", "mean"),
        exponents: Sequence[float] = (0.0, 2.0, 4.0),
        first_times: Sequence[float] = (0.0, 0.5),
        tiles: VelocityField | None = None,
        view: int = 0,
        floor: DenoisingFloor | None = None,
    ):
        self.field, self.paths, self.tiles, self.view, self.floor = field, paths or PathSettings(), tiles, view, floor
        self.recommended = HeatSettings(exponent=recommended_exponent(self.paths), smoothing=0.0)
        self.choices = [
            (first, HeatSettings.parse(aggregator=a, exponent=float(r), smoothing=0.0))
            for a in aggregators
            for r in sorted({*exponents, self.recommended.exponent})
            for first in first_times
        ]

    def maps(self, image: Tensor, fine: Tensor | None = None) -> dict[str, np.ndarray]:
        record = Mismatch.collect(mismatch_steps(self.field, image, self.paths, tiles=self.tiles, fine=fine))
        found = {}
        for first, heat in self.choices:
            times = [j for j, t in enumerate(record.times) if t >= first] or [len(record.times) - 1]
            part = record.subset(times)
            heatmap = part.heatmap(heat) if self.floor is None else self.floor.heatmap(part, heat)
            found[_name(first, heat)] = heatmap
        return found

    @property
    def default(self) -> str | None:
        """Minimum over paths, all times, weighted by the recommended exponent, where these are among the choices."""
        first, heat = 0.0, self.recommended
        return _name(first, heat) if (first, heat) in self.choices else None

    @property
    def evaluations(self) -> int:
        return self.paths.paths * self.paths.times


def _name(first: float, heat: HeatSettings) -> str:
    return f"{heat.aggregator} r={heat.exponent:g} t>={first:g}"
