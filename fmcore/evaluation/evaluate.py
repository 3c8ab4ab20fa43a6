"""Evaluation of a model on the test images of one category: every metric, with bootstrap intervals over images."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import Field

from fmcore.data.folders import TestItem, find_test_sets
from fmcore.data.picture import read_mask, read_picture, resize_map
from fmcore.detector.model import Model
from fmcore.detector.score import judge, score_steps
from fmcore.errors import DataError, ImageError, ModelError
from fmcore.evaluation.detection import DetectionMetrics, mean_figures
from fmcore.mismatch.mismatch import HeatSettings, Mismatch, PathSettings
from fmcore.settings import Settings


class EvaluateSettings(Settings):
    """How a model is evaluated; ``paths`` and ``heat`` default to the model's own."""

    category: str | None = None
    pixel_size: int = Field(256, ge=16, le=1024, description="masks and maps are compared at this width and height")
    bootstrap: int = Field(1000, ge=0, le=100_000, description="draws for the 95 % intervals; 0: none")
    seed: int = Field(0, ge=0, lt=2**31, description="seed of the bootstrap")
    paths: PathSettings | None = None
    heat: HeatSettings | None = None


@dataclass(frozen=True)
class EvaluateRecord:
    """Progress; the last record carries the result."""

    done: int
    total: int
    result: dict | None = None


def evaluate(model: Model, items: list[TestItem], settings: EvaluateSettings) -> Iterator[EvaluateRecord]:
    """Score every test image and compute image AUROC, AP, F1-max, pixel AUROC, AP, F1-max and AUPRO.

    Pixel figures count the pixels of all good images and of defective images that have a mask, at
    ``pixel_size``; they are None where no mask exists, image figures where only good or only defective images
    exist. A mask without its image, or that cannot be read, leaves that image out of pixel figures and is
    listed in ``unreadable``. ``intervals`` holds ``[low, high]`` or None under the name of each figure,
    ``images`` one entry per scored image. Memory does not grow with the maps: see `fmcore.evaluation.pixel_metrics`.

    Raises:
        DataError: if no image could be read. SettingsError: for an unknown category. ModelError: if the model
            gives a map that is not finite.
    """
    category = model.category(settings.category)
    paths, heat = settings.paths or model.info.paths, settings.heat or model.info.heat
    size = settings.pixel_size
    metrics, images, unreadable, masked = DetectionMetrics(), [], [], 0
    spent = 0.0
    for done, item in enumerate(items, start=1):
        try:
            started = time.perf_counter()
            picture = read_picture(item.path)
            mismatch = Mismatch.collect(score_steps(model, picture, paths, category))
            verdict = judge(model, mismatch, paths, heat, category)
            spent += time.perf_counter() - started
            if not np.isfinite(verdict.heatmap).all():
                raise ModelError(f"The model gives numbers that are not finite for '{item.path.name}': fit it again.")
            metrics.add_score(verdict.score, defective=not item.is_good)
            images.append(
                {"file": str(item.path), "kind": item.defect, "defective": not item.is_good, "score": verdict.score}
            )
            mask = read_mask(item.mask, height=size, width=size) if item.mask else None
            if item.is_good or mask is not None:
                masked += mask is not None
                metrics.add_map(resize_map(verdict.heatmap, height=size, width=size), mask)
        except ImageError as error:
            unreadable.append({"file": str(item.path), "reason": str(error)})
        yield EvaluateRecord(done, len(items))
    if not images:
        raise DataError(f"None of the {len(items)} test images could be read. The first: {unreadable[0]['reason']}")
    result = {
        "category": category,
        **metrics.figures(settings.bootstrap, settings.seed),
        "n_good": metrics.defective.count(False),
        "n_defective": metrics.defective.count(True),
        "n_masks": masked,
        "seconds_per_image": spent / len(images),
        **_at_threshold(model, category, metrics, applies=paths == model.info.paths and heat == model.info.heat),
        "unreadable": unreadable,
        "images": images,
        "settings": {
            "kind": model.info.kind,
            "size": model.info.size,
            "pixel_size": size,
            "bootstrap": settings.bootstrap,
            "seed": settings.seed,
            "paths": paths.model_dump(),
            "heat": heat.model_dump(),
            "training": model.info.training,
            "versions": model.info.versions,
        },
    }
    yield EvaluateRecord(len(items), len(items), result)


def test_categories(data: str | Path, model: Model, category: str | None = None) -> dict[str, list[TestItem]]:
    """Test items by the model's category: of one category's folder, or of a folder of categories.

    A single category is evaluated as ``category``, else as the model's category of the folder's name, else
    as the only category of the model.

    Raises:
        DataError: if there are no test images. SettingsError: if the category is not clear.
    """
    found = find_test_sets(data)
    if len(found) == 1:
        [(name, items)] = found.items()
        return {model.category(category or (name if name in model.info.categories else None)): items}
    known = {name: items for name, items in found.items() if name in model.info.categories}
    if not known:
        raise DataError(
            f"No folder in '{data}' is named as a category of this model ({', '.join(model.info.categories)})."
        )
    if category is not None:
        category = model.category(category)
        if category not in known:
            raise DataError(
                f"'{data}' holds several categories, and none is named '{category}': give the folder of one."
            )
        return {category: known[category]}
    return known


def mean_of(results: dict[str, dict]) -> dict:
    """Results of several categories under ``categories``, with the plain mean of each figure on top, and the
    interval of that mean; None where a category has none."""
    every = list(results.values())
    return {
        "category": f"mean of {len(results)} categories",
        **mean_figures(every),
        "seconds_per_image": float(np.mean([r["seconds_per_image"] for r in every])),
        **{key: sum(r[key] for r in every) for key in ("n_good", "n_defective")},
        "categories": results,
    }


def _at_threshold(model: Model, category: str, metrics: DetectionMetrics, *, applies: bool) -> dict:
    """The stored threshold and what it does here; it applies only to the settings it was measured with."""
    threshold = model.info.thresholds.get(category)
    if threshold is None or not applies:
        return {"threshold": None, "false_alarms": None, "misses": None}
    flags, truth = np.array(metrics.scores) > threshold.value, np.array(metrics.defective)
    return {
        "threshold": threshold.model_dump(),
        "false_alarms": int(flags[~truth].sum()),
        "misses": int((~flags[truth]).sum()),
    }
