"""The Fisher term alone as a heat map, and how well it finds defects beside the full mismatch.

Along the paths to an image ``y`` (the same K noise draws and T times as Eqs. 2-4),

    F[k, j] = sum over channels of (v_p(x_{t_j}^k, t_j) - v_q(x_{t_j}^k, t_j))^2,

aggregated over paths and weighted by ``t^r`` like the mismatch ``D``: only ``u`` is replaced by ``v_q``, the
field of the unlabelled test mix. What no field could predict (the denoising term) is then left out. Labels
serve the AUROC alone. With the exact empirical q the softmax finds ``y`` itself in the mix for all t but the
smallest, so ``v_q = u`` and F is D again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from fmcore.data.folders import TestItem
from fmcore.data.picture import read_mask, read_picture, resize_map
from fmcore.errors import DataError, ImageError, SettingsError
from fmcore.evaluation.metrics import auroc
from fmcore.fields.source import source_noise, source_of
from fmcore.mismatch.mismatch import HeatSettings, Mismatch, MismatchStep, PathSettings, VelocityField, image_score
from fmcore.path import interior_times, interpolate
from fmcore.settings import Settings

KINDS = ("mismatch", "fisher")


class FisherSettings(Settings):
    """How the two maps are made and compared."""

    paths: PathSettings = PathSettings()
    heat: HeatSettings = HeatSettings()
    pixel_size: int = Field(256, ge=16, le=1024, description="masks and maps are compared at this width and height")


@dataclass(frozen=True)
class FisherStep:
    """One time of one image: mismatch ``D`` and Fisher part ``F`` of the same paths, each ``(K, H, W)``."""

    mismatch: MismatchStep
    fisher: MismatchStep


@dataclass(frozen=True)
class FisherMaps:
    """Both recorded maps of one image; `Mismatch.heatmap` of either makes its heat map."""

    mismatch: Mismatch
    fisher: Mismatch

    @classmethod
    def collect(cls, steps: Iterable[FisherStep]) -> FisherMaps:
        """From the steps of one image, in any number."""
        steps = list(steps)
        return cls(*(Mismatch.collect(getattr(step, kind) for step in steps) for kind in KINDS))


@dataclass(frozen=True)
class TestSet:
    """Readable test images: ``images`` ``(N, C, size, size)``, ``defective`` ``(N,)`` bool, ``masks`` one
    ``(pixel_size, pixel_size)`` bool per image, empty for good ones and None where no file marks the defect."""

    __test__ = False  # not a pytest class

    images: Tensor
    defective: np.ndarray
    masks: tuple[np.ndarray | None, ...]
    unreadable: tuple[str, ...]


@dataclass(frozen=True)
class FisherRecord:
    """The ``done``-th of ``total`` images: both maps, and the AUROCs over the images so far on the last record.

    ``result`` is ``{"mismatch": {"image_auroc", "pixel_auroc"}, "fisher": {...}}``, each None where undefined.
    """

    done: int
    total: int
    maps: FisherMaps
    result: dict | None = None


def read_test_set(items: list[TestItem], *, size: int, channels: int, pixel_size: int = 256) -> TestSet:
    """Decode test images once; a file that can't be read is left out and its reason kept.

    Raises:
        DataError: if no image could be read.
    """
    images, defective, masks, unreadable = [], [], [], []
    for item in items:
        try:
            image = read_picture(item.path).tensor(size, channels)
            mask = np.zeros((pixel_size, pixel_size), dtype=bool) if item.is_good else None
            if item.mask is not None:
                mask = read_mask(item.mask, height=pixel_size, width=pixel_size)
        except ImageError as error:
            unreadable.append(str(error))
            continue
        images.append(image)
        defective.append(not item.is_good)
        masks.append(mask)
    if not images:
        first = f" The first: {unreadable[0]}" if unreadable else ""
        raise DataError(f"None of the {len(items)} test images could be read.{first}")
    return TestSet(torch.stack(images), np.array(defective), tuple(masks), tuple(unreadable))


def fisher_steps(
    p: VelocityField, q: VelocityField, image: Tensor, settings: PathSettings, *, chunk: int = 16
) -> Iterator[FisherStep]:
    """Mismatch and Fisher part along the paths to ``image`` ``(C, H, W)``, for T ascending times.

    The mismatch is bit for bit that of `fmcore.mismatch.mismatch.mismatch_steps` with the same settings and chunk.

    Raises:
        SettingsError: for fields of different sources, or settings with a structural mismatch or with tiles.
    """
    if settings.structure or settings.tiles:
        raise SettingsError("The Fisher part is a difference of two velocities alone: set structure = 0 and tiles = 0.")
    if source_of(p) != source_of(q):
        raise SettingsError("Two fields are compared along the same paths: fit both with the same source of noise.")
    noise = source_noise(p, "independent", settings.paths, tuple(image.shape), settings.noise_seed).to(image.device)
    for index, t in enumerate(interior_times(settings.times)):
        parts: dict[str, list[Tensor]] = {kind: [] for kind in KINDS}
        with torch.inference_mode():
            for x0 in noise.split(chunk):
                x = interpolate(x0, image, t)
                predicted = p(x, t)
                for kind, other in zip(KINDS, (image - x0, q(x, t)), strict=True):
                    parts[kind].append((predicted - other).float().square().sum(1).cpu())
        yield FisherStep(*(MismatchStep(index, t, torch.cat(parts[kind]).numpy()) for kind in KINDS))


def compare_fisher(
    p: VelocityField, q: VelocityField, test: TestSet, settings: FisherSettings
) -> Iterator[FisherRecord]:
    """Both heat maps of every test image; the last record carries image and pixel AUROC of each.

    Pixel AUROC counts good images and defective ones with a mask; it is None where no mask exists.

    Raises:
        DataError: for masks of another size than ``settings.pixel_size``.
    """
    scores: dict[str, list[float]] = {kind: [] for kind in KINDS}
    maps: dict[str, list[np.ndarray]] = {kind: [] for kind in KINDS}
    total, size = len(test.images), settings.pixel_size
    if any(mask is not None and mask.shape != (size, size) for mask in test.masks):
        raise DataError(f"The masks were not read at {size} pixels: give `read_test_set` the same pixel_size.")
    for index, (image, mask) in enumerate(zip(test.images, test.masks, strict=True)):
        both = FisherMaps.collect(fisher_steps(p, q, image, settings.paths))
        for kind in KINDS:
            heatmap = getattr(both, kind).heatmap(settings.heat)
            scores[kind].append(image_score(heatmap))
            if mask is not None:
                maps[kind].append(resize_map(heatmap, height=size, width=size))
        result = None
        if index + 1 == total:
            truth = [mask for mask in test.masks if mask is not None]
            result = {kind: _aurocs(scores[kind], maps[kind], test.defective, truth) for kind in KINDS}
        yield FisherRecord(index + 1, total, both, result)


def _aurocs(scores: list[float], maps: list[np.ndarray], defective: np.ndarray, masks: list[np.ndarray]) -> dict:
    return {
        "image_auroc": auroc(np.array(scores), defective),
        "pixel_auroc": auroc(np.stack(maps), np.stack(masks)) if any(mask.any() for mask in masks) else None,
    }
