"""What every detector offers: from one image, a heat map for each of its settings.

Settings that share work are answered in one pass, so that choosing among them costs no more than using one.
Smoothing and the image score (Eq. 4) are the same for all detectors and are applied afterwards.
"""

from __future__ import annotations

import abc
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from fmcore.errors import SettingsError
from fmcore.mismatch.mismatch import image_score, smooth


class Detector(abc.ABC):
    """A detector of one category, fitted to its normal images.

    ``default`` names the setting to use where none can be chosen on data; None where there is no such setting.
    ``view`` is above zero where `maps` also takes ``fine``, the same image at that many pixels per side.
    """

    default: str | None = None
    view: int = 0

    @abc.abstractmethod
    def maps(self, image: Tensor) -> dict[str, np.ndarray]:
        """Heat maps of one image ``(C, H, W)`` in [-1, 1]: setting -> ``(H, W)`` float32, non-negative, unsmoothed.

        The settings are the same for every image, and so is their order; higher is more anomalous.
        """

    @property
    def evaluations(self) -> int:
        """Calls of a velocity field or network per image for one setting; 0 where there is none."""
        return 0


@dataclass(frozen=True)
class Detection:
    """Smoothed heat map ``(H, W)`` and image score of one setting."""

    heatmap: np.ndarray
    score: float


def detect(detector: Detector, image: Tensor, *, setting: str | None = None, smoothing: float = 2.0) -> Detection:
    """Heat map and score of an image ``(C, H, W)``; ``setting`` may be left out where there is only one.

    Raises:
        SettingsError: for a setting that the detector does not have, or if it has several and none is named.
    """
    maps = detector.maps(image)
    if setting is None and len(maps) == 1:
        setting = next(iter(maps))
    if setting not in maps:
        raise SettingsError(f"This detector has no setting '{setting}': choose one of {', '.join(maps)}.")
    heatmap = smooth(maps[setting], smoothing)
    return Detection(heatmap, image_score(heatmap))


def squared_error(image: Tensor, other: Tensor) -> np.ndarray:
    """``sum over channels of (image - other)^2`` of ``(..., C, H, W)``, averaged over leading axes: ``(H, W)``."""
    error = (image - other).float().square().sum(-3)
    return error.reshape(-1, *error.shape[-2:]).mean(0).cpu().numpy()
