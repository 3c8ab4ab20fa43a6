"""The flow of any field run backwards: from the image to the noise it would have come from.

``z = y + integral from 1 to 0 of v(x_t, t) dt``; the map is ``|z|^2`` summed over channels, which is, up to a
constant, minus the log density of ``z`` under the noise: small where the image is likely. It needs no noise and no
training beyond the field. For the field of a Gaussian ``N(m, S)`` the exact flow ends at ``S^{-1/2} (y - m)``, so
that the sum of the map is the squared Mahalanobis distance.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field
from torch import Tensor

from fmcore.evaluation.baselines.detector import Detector, squared_error
from fmcore.evaluation.baselines.ode import integrate
from fmcore.fields.source import source_of, whiten
from fmcore.mismatch.mismatch import VelocityField
from fmcore.settings import Settings


class TimeReversedSettings(Settings):
    """Each number of steps is a setting of its own; the most expensive costs as K = 4, T = 12 of the mismatch."""

    steps: tuple[int, ...] = Field((1, 6, 48), min_length=1, description="steps from the data to the noise")
    method: Literal["euler", "heun"] = Field("euler", description="Heun costs two calls per step")
    start: float = Field(0.999, gt=0, le=1, description="time at which the image is put; fields may fail at 1 itself")


class TimeReversedDetector(Detector):
    """Squared noise of the image under any field, one map per number of steps."""

    def __init__(self, field: VelocityField, settings: TimeReversedSettings | None = None):
        self.field, self.settings = field, settings or TimeReversedSettings()

    def maps(self, image: Tensor) -> dict[str, np.ndarray]:
        s = self.settings
        found = {}
        for steps in s.steps:
            noise = integrate(self.field, image[None], s.start, 0.0, steps=steps, method=s.method)
            white = whiten(source_of(self.field), noise)
            found[f"steps={steps}"] = squared_error(white, white * 0)
        return found

    @property
    def evaluations(self) -> int:
        return max(self.settings.steps) * (1 if self.settings.method == "euler" else 2)
