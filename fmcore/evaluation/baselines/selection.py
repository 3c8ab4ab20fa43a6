"""Choosing a detector's setting without test labels, and what that choice costs.

Every setting, with every blur, is measured on held-out normal images against synthetic defects pasted onto them.
The best by the mean of image and pixel AUROC is used; the same table on the test set says what the best choice in
hindsight would have been.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from fmcore.data.synthetic_defects import SyntheticDefects
from fmcore.evaluation.baselines.detector import Detector
from fmcore.evaluation.metrics import auroc
from fmcore.mismatch.mismatch import image_score, smooth

Choice = tuple[str, float]  # setting, blur in image widths


class SettingsTable:
    """Image and pixel AUROC of every setting and blur, gathered image by image.

    Of each map only the score and a fixed random sample of pixels are kept, since there are many settings.

    Args:
        smoothings: sigmas of the blur, in image widths.
        pixels: pixels kept per image, the same ones in all.
    """

    def __init__(self, smoothings: tuple[float, ...], *, pixels: int = 512, seed: int = 0):
        self.smoothings, self.pixels, self.seed = smoothings, pixels, seed
        self.scores: dict[Choice, list[float]] = {}
        self.values: dict[Choice, list[np.ndarray]] = {}
        self.labels: list[bool] = []
        self.marks: list[np.ndarray] = []

    def add(self, maps: dict[str, np.ndarray], *, defective: bool, mask: np.ndarray | None) -> None:
        """Maps ``(H, W)`` of one image by setting; ``mask`` ``(H, W)`` bool, None for a good image or where the
        truth is not known: a defective image then counts in image figures only."""
        height, width = next(iter(maps.values())).shape
        rng = np.random.default_rng(self.seed)
        chosen = rng.choice(height * width, min(self.pixels, height * width), replace=False)
        known = mask is not None or not defective
        for setting, values in maps.items():
            for blur in self.smoothings:
                blurred = smooth(values, blur * width)
                self.scores.setdefault((setting, blur), []).append(image_score(blurred))
                if known:
                    self.values.setdefault((setting, blur), []).append(blurred.ravel()[chosen])
        self.labels.append(defective)
        if known:
            self.marks.append(mask.ravel()[chosen] if mask is not None else np.zeros(len(chosen), dtype=bool))

    def figures(self) -> dict[Choice, dict[str, float | None]]:
        """Choice -> ``image_auroc`` and ``pixel_auroc`` (over the sampled pixels), None where undefined."""
        labels = np.array(self.labels)
        marks = np.concatenate(self.marks) if self.marks else np.zeros(0, dtype=bool)
        found = {}
        for choice, scores in self.scores.items():
            pixels = auroc(np.concatenate(self.values[choice]), marks) if len(marks) else None
            found[choice] = {"image_auroc": auroc(np.array(scores), labels), "pixel_auroc": pixels}
        return found


def criterion(figures: dict[str, float | None]) -> float:
    """Mean of image and pixel AUROC, of those that are defined; 0 where none is."""
    known = [figures[k] for k in ("image_auroc", "pixel_auroc") if figures[k] is not None]
    return float(np.mean(known)) if known else 0.0


def best(figures: dict[Choice, dict[str, float | None]]) -> Choice:
    """The choice of the highest criterion; of equal ones the first."""
    return max(figures, key=lambda choice: criterion(figures[choice]))


def measure_settings(
    detector: Detector, normal: Tensor, defects: SyntheticDefects, smoothings: tuple[float, ...], seed: int = 0
) -> Iterator[int | SettingsTable]:
    """The number of images done, one by one; the last item is the finished `SettingsTable`.

    Args:
        normal: ``(N, C, H, W)`` held-out normal images. defects: their defective copies.
    """
    table = SettingsTable(smoothings, seed=seed)
    done = 0
    for image in normal:
        table.add(detector.maps(image), defective=False, mask=None)
        yield (done := done + 1)
    for image, mask in zip(defects.images, defects.masks, strict=True):
        table.add(detector.maps(image), defective=True, mask=mask)
        yield (done := done + 1)
    yield table


def split_images(images: Tensor, share: float, seed: int) -> tuple[Tensor, Tensor]:
    """Training and held-out images: a random ``share`` is held out, at least two and at most all but two."""
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
    held = min(max(2, round(share * len(images))), len(images) - 2)
    return images[order[held:]], images[order[:held]]
