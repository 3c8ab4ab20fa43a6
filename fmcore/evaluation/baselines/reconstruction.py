"""Reconstruction with a flow: noise the image to t0, integrate back to the data, compare with the image.

``x_t0 = (1 - t0) x0 + t0 y``; ``y_hat`` is the flow of the field from ``t0`` to 1; the map is ``|y_hat - y|^2``
averaged over noise draws. It is what diffusion-based detectors do (AnoDDPM, DDAD and others), here with the very
field that the mismatch uses.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field
from torch import Tensor

from fmcore.evaluation.baselines.detector import Detector, squared_error
from fmcore.evaluation.baselines.ode import integrate
from fmcore.fields.source import source_noise
from fmcore.mismatch.mismatch import VelocityField
from fmcore.path import interpolate
from fmcore.settings import Settings


class ReconstructionSettings(Settings):
    """Each start is a setting of its own; by default it costs as many field calls as K = 4, T = 12."""

    starts: tuple[float, ...] = Field((0.3, 0.5, 0.7, 0.8, 0.9, 0.95), min_length=1, description="t0")
    steps: int = Field(12, ge=1, le=1000, description="steps from t0 to 1")
    method: Literal["euler", "heun"] = Field("euler", description="Heun costs two calls per step")
    paths: int = Field(4, ge=1, le=64, description="K, noise draws")
    noise_seed: int = Field(0, ge=0, lt=2**31)


class ReconstructionDetector(Detector):
    """Squared reconstruction error of any field, one map per start time t0."""

    def __init__(self, field: VelocityField, settings: ReconstructionSettings | None = None):
        self.field, self.settings = field, settings or ReconstructionSettings()

    def maps(self, image: Tensor) -> dict[str, np.ndarray]:
        return {f"t0={start:g}": squared_error(self.reconstruct(image, start), image) for start in self.settings.starts}

    def reconstruct(self, image: Tensor, start: float) -> Tensor:
        """Reconstructions ``(K, C, H, W)`` of an image ``(C, H, W)``."""
        s = self.settings
        noise = source_noise(self.field, "independent", s.paths, tuple(image.shape), s.noise_seed).to(image.device)
        return integrate(self.field, interpolate(noise, image, start), start, 1.0, steps=s.steps, method=s.method)

    @property
    def evaluations(self) -> int:
        s = self.settings
        return s.paths * (s.steps if s.method == "euler" else 2 * s.steps - 1)
