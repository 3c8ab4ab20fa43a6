"""Ablations: how K, T, aggregator, exponent and smoothing change the separation of labelled images.

The field runs once per image, with the most paths and times of interest; a `Mismatch` then gives every smaller
choice for free. Fewer paths are the first of many; fewer times are those of the coarser grid ``j / (T' + 1)``,
which lies on the finer one where ``T' + 1`` divides ``T + 1``, so T = 23 also holds 1, 2, 3, 5, 7 and 11.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from fmcore.data.folders import TestItem, Unreadable, detect_channels, find_test_items, load_images, split_loaded
from fmcore.data.picture import read_mask, read_picture
from fmcore.errors import DataError, ImageError, SettingsError
from fmcore.evaluation.estimator_study import NESTED
from fmcore.evaluation.metrics import auroc
from fmcore.fields.gaussian import fit_gaussian
from fmcore.mismatch.mismatch import HeatSettings, Mismatch, PathSettings, VelocityField, image_score, mismatch_steps
from fmcore.settings import Settings


@dataclass(frozen=True)
class LabelledImages:
    """Test images ``(N, C, size, size)`` in [-1, 1], whether each is defective ``(N,)``, masks ``(N, size, size)``
    bool, and which images count for pixel metrics ``(N,)``: good ones, and defective ones with a mask."""

    images: Tensor
    defective: np.ndarray
    masks: np.ndarray
    masked: np.ndarray
    unreadable: tuple[Unreadable, ...]


def find_labelled(data: str | Path, *, limit: int | None = None) -> list[TestItem]:
    """Test items of one MVTec-layout category, of which some must be good and some defective.

    Args:
        limit: at most so many good ones, and as many defective ones, evenly over the defects; None takes all.

    Raises:
        DataError: if there is no such folder or no test image, or only one of the two classes.
    """
    items = find_test_items(data)
    good, bad = [i for i in items if i.is_good], [i for i in items if not i.is_good]
    for found, what, where in ((good, "good", "test/good"), (bad, "defective", "test/<defect>")):
        if not found:
            raise DataError(f"'{data}' has no {what} test images, so nothing can be told apart: put some in {where}.")
    return _thinned(good, limit) + _thinned(bad, limit)


def load_labelled(items: list[TestItem], *, size: int, channels: int) -> LabelledImages:
    """Decode test images and masks; a file that can't be read is left out and listed.

    Raises:
        DataError: if no good or no defective image is left.
    """
    images, defective, masks, masked, unreadable = [], [], [], [], []
    for item in items:
        try:
            image = read_picture(item.path).tensor(size, channels)
        except ImageError as error:
            unreadable.append(Unreadable(item.path, str(error)))
            continue
        mask = np.zeros((size, size), dtype=bool)
        usable = item.is_good
        if item.mask is not None:
            try:
                mask, usable = read_mask(item.mask, height=size, width=size), True
            except ImageError as error:
                unreadable.append(Unreadable(item.mask, str(error)))
        images.append(image)
        defective.append(not item.is_good)
        masks.append(mask)
        masked.append(usable)
    if not any(defective) or all(defective):
        raise DataError("Of the test images that can be read, some must be good and some defective.")
    return LabelledImages(
        torch.stack(images), np.array(defective), np.stack(masks), np.array(masked), tuple(unreadable)
    )


@dataclass(frozen=True)
class RecordedImage:
    """Progress: one image's mismatch, ``done`` of ``total``."""

    done: int
    total: int
    mismatch: Mismatch


def record(field: VelocityField, images: Tensor, paths: PathSettings) -> Iterator[RecordedImage]:
    """Run the field on images ``(N, C, H, W)``; a record takes ``4 K T H W`` bytes."""
    for done, image in enumerate(images, start=1):
        yield RecordedImage(done, len(images), Mismatch.collect(mismatch_steps(field, image, paths)))


class Variant(Settings):
    """One choice of what is free once the mismatch is recorded; ``paths`` and ``times`` None keep all there are."""

    paths: int | None = Field(None, ge=1, description="K, the first so many")
    times: int | None = Field(None, ge=1, description="T, of a grid that lies on the recorded one")
    heat: HeatSettings = HeatSettings()


@dataclass(frozen=True)
class AblationResult:
    """Metrics of one variant, None where undefined (``pixel_auroc`` without masks); ``scores`` are ``(N,)``."""

    variant: Variant
    image_auroc: float
    pixel_auroc: float | None
    scores: np.ndarray


def thin(mismatch: Mismatch, variant: Variant) -> Mismatch:
    """Fewer paths and times of a record made with nested noise.

    Raises:
        SettingsError: for more paths than recorded, or a T whose grid does not lie on the recorded one.
    """
    recorded, available = len(mismatch.times), mismatch.maps.shape[1]
    count, times = variant.paths or available, variant.times or recorded
    if count > available:
        raise SettingsError(f"Setting 'paths' = {count} is more than the {available} recorded.")
    if (recorded + 1) % (times + 1):
        usable = ", ".join(str(t) for t in coarser_times(recorded))
        raise SettingsError(f"Setting 'times' = {times} does not lie on the {recorded} times recorded: use {usable}.")
    step = (recorded + 1) // (times + 1)
    return Mismatch(mismatch.times[step - 1 :: step], mismatch.maps[step - 1 :: step, :count])


def coarser_times(times: int) -> list[int]:
    """Every T' whose interior grid lies on that of T, ascending, T last."""
    return [t for t in range(1, times + 1) if (times + 1) % (t + 1) == 0]


def ablate(
    mismatches: list[Mismatch], labelled: LabelledImages, variants: Iterable[Variant], *, paths: PathSettings
) -> Iterator[AblationResult]:
    """Score every recorded image under each variant.

    Args:
        mismatches: of ``labelled.images``, in order, recorded with ``paths``.

    Yields:
        `AblationResult` for each variant. Pixel AUROC compares maps and masks at the model's own resolution.

    Raises:
        SettingsError: for a variant that the record does not hold, before any is computed.
    """
    variants = list(variants)
    for variant in variants:
        thin(mismatches[0], variant)
        if variant.paths not in (None, paths.paths) and paths.noise not in NESTED:
            raise SettingsError(f"Noise '{paths.noise}' is made for one K: fewer paths of it are not such noise.")
    return _ablate(mismatches, labelled, variants)


def _ablate(mismatches: list[Mismatch], labelled: LabelledImages, variants: list[Variant]) -> Iterator[AblationResult]:
    for variant in variants:
        maps = np.stack([thin(m, variant).heatmap(variant.heat) for m in mismatches])
        scores = np.array([image_score(m) for m in maps])
        pixels = auroc(maps[labelled.masked], labelled.masks[labelled.masked])
        yield AblationResult(variant, auroc(scores, labelled.defective), pixels, scores)


@dataclass(frozen=True)
class ResolutionResult:
    """Progress, ``done`` of ``total`` sizes: a Gaussian field fitted and judged at one size, maps compared there."""

    done: int
    total: int
    size: int
    components: int
    image_auroc: float
    pixel_auroc: float | None
    seconds_per_image: float


def ablate_resolution(
    good: list[Path], items: list[TestItem], sizes: Sequence[int], paths: PathSettings, heat: HeatSettings
) -> Iterator[ResolutionResult]:
    """Fit a `GaussianField` to the good images ``good`` at each size, and score the test items with it.

    Args:
        heat: its smoothing is in pixels of a 64 pixel image, and scaled with the size, so that the blur covers
            the same part of the picture at every size.

    Raises:
        SettingsError: for a size out of range. DataError: where too few images can be read.
    """
    if not sizes or not all(16 <= size <= 256 for size in sizes):
        raise SettingsError("Sizes to compare must be from 16 to 256 pixels, at least one of them.")
    return _ablate_resolution(good, items, sizes, paths, heat)


def _ablate_resolution(
    good: list[Path], items: list[TestItem], sizes: Sequence[int], paths: PathSettings, heat: HeatSettings
) -> Iterator[ResolutionResult]:
    channels = detect_channels(good)
    for done, size in enumerate(sizes, start=1):
        images, _ = split_loaded(list(load_images(good, size=size, channels=channels)))
        field = fit_gaussian(images)
        labelled = load_labelled(items, size=size, channels=channels)
        started = time.perf_counter()
        mismatches = [recorded.mismatch for recorded in record(field, labelled.images, paths)]
        seconds = (time.perf_counter() - started) / len(mismatches)
        scaled = Variant(heat=heat.replace(smoothing=heat.smoothing * size / 64))
        (result,) = ablate(mismatches, labelled, [scaled], paths=paths)
        yield ResolutionResult(
            done, len(sizes), size, len(field.variances), result.image_auroc, result.pixel_auroc, seconds
        )


def _thinned(items: list[TestItem], limit: int | None) -> list[TestItem]:
    if limit is None or limit >= len(items):
        return items
    return [items[round(i)] for i in np.linspace(0, len(items) - 1, limit)]
