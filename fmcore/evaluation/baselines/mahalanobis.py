"""The Gaussian without noise: Mahalanobis distance and principal-component residual of the image itself."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from fmcore.evaluation.baselines.detector import Detector
from fmcore.fields.gaussian import GaussianField


class MahalanobisDetector(Detector):
    """Two maps of a `GaussianField` ``N(m, S)`` at an image y, squared and summed over channels.

    ``whitened``: ``S^{-1/2} (y - m)``; its sum over the image is the squared Mahalanobis distance. ``residual``:
    what the principal components leave, ``(I - U U^T) (y - m)``: reconstruction by PCA.
    """

    def __init__(self, field: GaussianField):
        self.field = field

    def maps(self, image: Tensor) -> dict[str, np.ndarray]:
        with torch.inference_mode():
            whitened = self.field.whiten(image[None], 1.0)[0]
            centred = (image - self.field.mean).flatten()
            basis = self.field.components
            residual = (centred - basis.T @ (basis @ centred)).view_as(image)
        return {name: v.square().sum(0).cpu().numpy() for name, v in (("whitened", whitened), ("residual", residual))}
