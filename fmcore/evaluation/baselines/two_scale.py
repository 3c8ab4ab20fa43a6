"""An extension that is off by default: heat maps of two resolutions, averaged.

A field of small images sees large defects as a whole, one of large images sees fine ones at all. Each map is divided by
its mean over held-out normal images, so that both have level 1 there, and the smaller one is brought to the size of the
larger by bilinear interpolation:

    heat = (H_full / m_full + H_half / m_half) / 2.

It costs a second field, half as wide, and its evaluations.
"""

from __future__ import annotations

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from fmcore.data.picture import resize_map
from fmcore.errors import DataError, SettingsError
from fmcore.evaluation.baselines.detector import Detector


def halved(images: Tensor) -> Tensor:
    """Images ``(..., C, H, W)`` at half the width and height, each pixel the mean of four.

    Raises:
        SettingsError: if a side is odd.
    """
    if images.shape[-1] % 2 or images.shape[-2] % 2:
        raise SettingsError(
            f"An image of {images.shape[-1]} x {images.shape[-2]} pixels has no half: give an even size."
        )
    flat = images.reshape(-1, *images.shape[-3:])
    return F.avg_pool2d(flat, 2).reshape(*images.shape[:-2], images.shape[-2] // 2, images.shape[-1] // 2)


class TwoScaleDetector(Detector):
    """Average of two detectors with the same settings, the second of images of half the size.

    Args:
        full, half: the detectors.
        held: ``(N, C, H, W)`` held-out normal images at full size, from which the levels are taken.

    Raises:
        DataError: without held-out images. SettingsError: if the detectors have different settings.
    """

    def __init__(self, full: Detector, half: Detector, held: Tensor):
        if not len(held):
            raise DataError("Levels of two scales need at least one held-out normal image: add good images.")
        self.full, self.half = full, half
        self.default = full.default
        self.levels = []
        for detector, images in ((full, held), (half, halved(held))):
            sums: dict[str, float] = {}
            for image in images:
                for setting, heatmap in detector.maps(image).items():
                    sums[setting] = sums.get(setting, 0.0) + float(heatmap.mean()) / len(images)
            self.levels.append(sums)
        if self.levels[0].keys() != self.levels[1].keys():
            raise SettingsError("Two scales need detectors with the same settings.")

    def maps(self, image: Tensor) -> dict[str, np.ndarray]:
        height, width = image.shape[-2:]
        fine, coarse = self.full.maps(image), self.half.maps(halved(image))
        found = {}
        for setting, heatmap in fine.items():
            wide = resize_map(coarse[setting], height=height, width=width)
            levels = [max(level[setting], 1e-12) for level in self.levels]
            found[setting] = ((heatmap / levels[0] + wide / levels[1]) / 2).astype(np.float32)
        return found

    @property
    def evaluations(self) -> int:
        return self.full.evaluations + self.half.evaluations
