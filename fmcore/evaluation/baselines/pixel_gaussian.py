"""The simplest model of all: an independent Gaussian over the colour of each pixel."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from fmcore.errors import DataError
from fmcore.evaluation.baselines.detector import Detector


class PixelGaussianDetector(Detector):
    """Squared Mahalanobis distance of each pixel's colour to the colours of normal images at that pixel.

    Args:
        images: ``(N, C, H, W)`` normal images, N >= 2.
        floors: standard deviations added to each covariance, in units of the range [-1, 1]; each is a setting.

    Raises:
        DataError: for fewer than two images.
    """

    def __init__(self, images: Tensor, floors: tuple[float, ...] = (0.02, 0.05, 0.15)):
        if len(images) < 2:
            raise DataError(f"Pixel Gaussians need at least 2 images, but {len(images)} was given: add good images.")
        self.mean = images.mean(0)
        centred = (images - self.mean).permute(2, 3, 1, 0)  # (H, W, C, N)
        covariance = centred @ centred.mT / (len(images) - 1)
        identity = torch.eye(images.shape[1])
        self.precisions = {f"floor={s:g}": torch.linalg.inv(covariance + s**2 * identity) for s in floors}

    def maps(self, image: Tensor) -> dict[str, np.ndarray]:
        gap = (image - self.mean).permute(1, 2, 0)[..., None]
        return {name: (gap.mT @ p @ gap)[..., 0, 0].clamp_min(0).numpy() for name, p in self.precisions.items()}
