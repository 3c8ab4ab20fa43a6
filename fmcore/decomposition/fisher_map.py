"""The Fisher term alone as a heat map, and how well it finds defects beside the full mismatch.

On the same paths to an image ``y``, and with the same aggregation and weights as the mismatch ``D`` (Eqs. 2-4),

    F[k, j] = sum over channels of (v_p(x_{t_j}^k, t_j) - v_q(x_{t_j}^k, t_j))^2:

only ``u`` is replaced by ``v_q``, the field of the unlabelled test mix, so that what no field could predict is left
out. With the exact empirical q the softmax finds ``y`` itself in the mix for all t but the smallest: F is D again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from scipy.stats import mannwhitneyu
from torch import Tensor

from fmcore.data.folders import TestItem
from fmcore.data.picture import Picture, read_mask, read_picture, resize_map
from fmcore.errors import DataError, ImageError, SettingsError
from fmcore.fields.field import VelocityField
from fmcore.mismatch import HeatSettings, Mismatch, PathSettings, gap, image_score
from fmcore.path import draw_noise, interior_times

CHUNK = 16  # paths per call of the fields


class FisherMaps(NamedTuple):
    """Mismatch ``D`` and Fisher part ``F`` of one image; `Mismatch.heatmap` of either makes its heat map."""

    mismatch: Mismatch
    fisher: Mismatch


class LabelledImages(NamedTuple):
    """Readable test images ``(N, C, H, W)``, which are ``defective`` ``(N,)``, and a bool mask of each: empty for good
    ones, None where no file marks the defect."""

    images: Tensor
    defective: np.ndarray
    masks: tuple[np.ndarray | None, ...]
    unreadable: tuple[str, ...]


class FisherRecord(NamedTuple):
    """The ``done``-th of ``total`` images: both maps, and on the last record the AUROCs over all of them,
    ``{"mismatch": {"image_auroc", "pixel_auroc"}, "fisher": {...}}``, each None where undefined."""

    done: int
    total: int
    maps: FisherMaps
    result: dict | None


def read_test_set(items: list[TestItem], view: Callable[[Picture], Tensor], *, pixel_size: int = 256) -> LabelledImages:
    """Decode test images once, as ``view`` sees them, and masks at ``pixel_size`` squared; a file that can't be read is
    left out and its reason kept. Raises `DataError` if none could be read."""
    read, unreadable = [], []
    for item in items:
        try:
            mask = np.zeros((pixel_size, pixel_size), dtype=bool) if item.is_good else None
            if item.mask is not None:
                mask = read_mask(item.mask, height=pixel_size, width=pixel_size)
            read.append((view(read_picture(item.path)), not item.is_good, mask))
        except ImageError as error:
            unreadable.append(str(error))
    if not read:
        reasons = "".join(f" The first: {reason}" for reason in unreadable[:1])
        raise DataError(f"None of the {len(items)} test images could be read.{reasons}")
    images, defective, masks = zip(*read, strict=True)
    return LabelledImages(torch.stack(images), np.array(defective), masks, tuple(unreadable))


@torch.inference_mode()
def fisher_maps(p: VelocityField, q: VelocityField, image: Tensor, settings: PathSettings) -> FisherMaps:
    """Mismatch and Fisher part along the paths to ``image`` ``(C, H, W)``; the mismatch is bit for bit that of
    `fmcore.mismatch_steps` with the same settings. Raises `SettingsError` for no paths (K = 0)."""
    if not settings.paths:
        raise SettingsError("Mismatch and Fisher part are compared path by path: set paths to at least 1.")
    noise, times = draw_noise(settings.paths, tuple(image.shape), settings.noise_seed), interior_times(settings.times)
    found = []
    for t in times:
        for x0 in noise.to(image.device).split(CHUNK):
            from_p, from_q = gap(p, image, x0, t), gap(q, image, x0, t)
            found.append(torch.stack([from_p, from_p - from_q]).float().square().sum(2))
    maps = torch.cat(found, 1).view(2, len(times), -1, *image.shape[1:]).cpu().numpy()
    return FisherMaps(*(Mismatch(np.array(times), part) for part in maps))


def compare_fisher(
    p: VelocityField,
    q: VelocityField,
    test: LabelledImages,
    paths: PathSettings,
    heat: HeatSettings,
    enlarge: Callable = resize_map,
) -> Iterator[FisherRecord]:
    """Both maps of every test image, and at the end their AUROCs; that of pixels counts good images and defective ones
    with a mask, at the masks' size. ``enlarge(map (H, W), height=, width=)`` is the way of the images' view."""
    truth = {"image_auroc": test.defective, "pixel_auroc": [mask for mask in test.masks if mask is not None]}
    found = {kind: {name: [] for name in truth} for kind in FisherMaps._fields}
    for done, (image, mask) in enumerate(zip(test.images, test.masks, strict=True), 1):
        maps, result = fisher_maps(p, q, image, paths), None
        for scores, mismatch in zip(found.values(), maps, strict=True):
            heatmap = mismatch.heatmap(heat)
            scores["image_auroc"].append(image_score(heatmap))
            if mask is not None:
                scores["pixel_auroc"].append(enlarge(heatmap, height=mask.shape[0], width=mask.shape[1]))
        if done == len(test.images):
            result = {
                kind: {name: _auroc(scores[name], truth[name]) for name in truth} for kind, scores in found.items()
            }
        yield FisherRecord(done, len(test.images), maps, result)


def _auroc(scores: list, labels: np.ndarray | list) -> float | None:
    """The share of pairs that the scores order rightly, ties counted half; None where only one class is present. (The
    metrics of a detector are a layer above.)"""
    scores, labels = np.ravel(scores), np.ravel(labels).astype(bool)
    if labels.all() or not labels.any():
        return None
    wins = mannwhitneyu(scores[labels], scores[~labels], method="asymptotic").statistic
    return float(wins / (labels.sum() * (~labels).sum()))
