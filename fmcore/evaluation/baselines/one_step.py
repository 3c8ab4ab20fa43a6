"""One-step denoising residual at a single time: ``| E[x1 | x_t] - y |^2`` with ``E[x1 | x_t] = x_t + (1 - t) v``.

At one time it is the mismatch of that time, scaled by ``(1 - t)^2``, so that what separates this baseline from the
method is the aggregation alone: over many times, and by the minimum over paths.
"""

from __future__ import annotations

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from fmcore.evaluation.baselines.detector import Detector, squared_error
from fmcore.fields.source import source_noise
from fmcore.mismatch.mismatch import VelocityField
from fmcore.path import interpolate
from fmcore.settings import Settings


class OneStepSettings(Settings):
    """Each time is a setting of its own; by default it costs as many field calls as K = 4, T = 12."""

    times: tuple[float, ...] = Field((0.3, 0.5, 0.7, 0.8, 0.9, 0.95), min_length=1, description="t")
    paths: int = Field(48, ge=1, le=1024, description="K, noise draws that are averaged")
    noise_seed: int = Field(0, ge=0, lt=2**31)
    chunk: int = Field(16, ge=1, description="paths per call of the field")


class OneStepDetector(Detector):
    """Squared one-step residual of any field, one map per time."""

    def __init__(self, field: VelocityField, settings: OneStepSettings | None = None):
        self.field, self.settings = field, settings or OneStepSettings()

    def maps(self, image: Tensor) -> dict[str, np.ndarray]:
        s = self.settings
        noise = source_noise(self.field, "independent", s.paths, tuple(image.shape), s.noise_seed).to(image.device)
        found = {}
        for t in s.times:
            total = np.zeros(tuple(image.shape[1:]), dtype=np.float64)
            with torch.inference_mode():
                for x0 in noise.split(s.chunk):
                    x = interpolate(x0, image, t)
                    total += squared_error(x + (1 - t) * self.field(x, t), image) * len(x0)
            found[f"t={t:g}"] = (total / s.paths).astype(np.float32)
        return found

    @property
    def evaluations(self) -> int:
        return self.settings.paths
