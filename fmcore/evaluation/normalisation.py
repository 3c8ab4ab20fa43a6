"""An extension that is off by default: the mismatch in units of what normal images leave at that time and place.

On normal images the mismatch is the denoising floor, the larger the less predictable a place is (texture, a
glossy edge). With ``F_j`` its mean over held-out normal images, blurred and kept above a share of its own mean,

    heat = (1/T) sum_j w(t_j) D_j / F_j.

It is calibration, which the method itself does without. It can help where places differ in how predictable they
are, and harms where defects lie just there; `fmcore.evaluation.benchmark` measures both.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from pydantic import Field

from fmcore.errors import DataError, SettingsError
from fmcore.mismatch.mismatch import HeatSettings, Mismatch, smooth
from fmcore.settings import Settings


class FloorSettings(Settings):
    """How the level of normal images is estimated."""

    blur: float = Field(0.03, ge=0, le=0.5, description="sigma of the blur of the level, in image widths")
    least: float = Field(0.3, ge=0, le=10, description="smallest level, as a share of the mean over the image")


@dataclass(frozen=True)
class DenoisingFloor:
    """Level ``(T, H, W)`` of the unaggregated mismatch of normal images at the ``times`` ``(T,)``, positive."""

    times: np.ndarray
    level: np.ndarray

    @classmethod
    def measure(cls, mismatches: Iterable[Mismatch], settings: FloorSettings | None = None) -> DenoisingFloor:
        """From the mismatch of held-out normal images, all at the same times; one image is in memory at a time.

        Raises:
            DataError: if there is no image, or their times or sizes differ.
        """
        settings = settings or FloorSettings()
        total, times, count = None, None, 0
        for mismatch in mismatches:
            level = mismatch.maps.mean(axis=1, dtype=np.float64)
            if total is None:
                total, times = np.zeros_like(level), mismatch.times
            if level.shape != total.shape or not np.array_equal(times, mismatch.times):
                raise DataError("The normal images of a denoising floor must share size and times: score them alike.")
            total += level
            count += 1
        if total is None:
            raise DataError("A denoising floor needs at least one held-out normal image: add good images.")
        mean = total / count
        least = settings.least * mean.mean(axis=(1, 2), keepdims=True) + 1e-12
        level = np.maximum(smooth(mean, settings.blur * mean.shape[-1]), least)
        return cls(times, level.astype(np.float32))

    def heatmap(self, mismatch: Mismatch, heat: HeatSettings) -> np.ndarray:
        """``(1/T') sum_j t_j^r D_j / F_j``, smoothed: ``(H, W)``; about the mean of ``t^r`` on normal images.

        Raises:
            SettingsError: for a time at which the level was not measured.
        """
        places = {float(t): j for j, t in enumerate(self.times)}
        try:
            chosen = [places[float(t)] for t in mismatch.times]
        except KeyError as error:
            raise SettingsError(f"The denoising floor was not measured at t = {error}: use the same times.") from None
        level = self.level[chosen][:, None]
        return Mismatch(mismatch.times, mismatch.maps / level).heatmap(heat)
