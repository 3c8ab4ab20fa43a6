"""Nearest normal images in pixel space: no model at all."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fmcore.errors import DataError
from fmcore.evaluation.baselines.detector import Detector


class NearestDetector(Detector):
    """Squared difference to normal images, summed over channels.

    ``image k``: to the mean of the k nearest images as a whole (squared distance). ``pixel r``: at each pixel the
    smallest over all images and over shifts of up to r pixels.

    Args:
        images: ``(N, C, H, W)`` normal images; all are kept.

    Raises:
        DataError: for an empty batch.
    """

    def __init__(self, images: Tensor, *, neighbours: tuple[int, ...] = (1, 3, 10), reaches: tuple[int, ...] = (0, 1)):
        if not len(images):
            raise DataError("The nearest normal image needs at least one image: add good images.")
        self.images, self.reaches = images.float(), reaches
        self.neighbours = tuple(k for k in neighbours if k <= len(images))

    def maps(self, image: Tensor) -> dict[str, np.ndarray]:
        gaps = (self.images - image).square().sum(1)  # (N, H, W)
        order = gaps.flatten(1).sum(1).argsort(stable=True)
        found = {}
        for k in self.neighbours:
            found[f"image {k}"] = (self.images[order[:k]].mean(0) - image).square().sum(0).numpy()
        for reach in self.reaches:
            found[f"pixel {reach}"] = self._by_pixel(image, reach)
        return found

    def _by_pixel(self, image: Tensor, reach: int) -> np.ndarray:
        height, width = image.shape[1:]
        padded = F.pad(image[None], [reach] * 4, mode="replicate")[0] if reach else image
        least = torch.full((height, width), torch.inf)
        # The image is shifted rather than the set: the same differences, without a padded copy of the set.
        for top in range(2 * reach + 1):
            for left in range(2 * reach + 1):
                moved = padded[:, top : top + height, left : left + width]
                nearest = (self.images - moved).square().sum(1).amin(0)
                back = torch.full_like(least, torch.inf)
                dy, dx = top - reach, left - reach
                inside = nearest[max(0, -dy) : height - max(0, dy), max(0, -dx) : width - max(0, dx)]
                back[max(0, dy) : height + min(0, dy), max(0, dx) : width + min(0, dx)] = inside
                least = torch.minimum(least, back)
        return least.numpy()
