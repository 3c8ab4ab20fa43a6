"""Evaluation of a model on the test images of one MVTec-layout category."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import Field

from fmcore.datasets import TestItem, find_test_items
from fmcore.errors import DataError, ImageError
from fmcore.images import read_mask, read_picture, resize_map
from fmcore.metrics import auroc
from fmcore.mismatch import HeatSettings, Mismatch, PathSettings
from fmcore.model import Model
from fmcore.scoring import judge, score_steps
from fmcore.settings import Settings


class EvaluateSettings(Settings):
    """How a model is evaluated; ``paths`` and ``heat`` default to the model's own."""

    category: str | None = None
    pixel_size: int = Field(256, ge=16, le=1024, description="masks and maps are compared at this width and height")
    paths: PathSettings | None = None
    heat: HeatSettings | None = None


@dataclass(frozen=True)
class EvaluateRecord:
    """Progress; the last record carries the result."""

    done: int
    total: int
    result: dict | None = None


def evaluate(model: Model, items: list[TestItem], settings: EvaluateSettings) -> Iterator[EvaluateRecord]:
    """Score every test image and compute image and pixel AUROC.

    Pixel AUROC counts the pixels of all good images and of defective images that have a mask; it is None
    where no mask exists, image AUROC where only good or only defective images exist. A mask without its
    image, or that cannot be read, leaves that image out of pixel metrics and is listed in ``unreadable``.

    Raises:
        DataError: if no image could be read. SettingsError: for an unknown category.
    """
    category = model.category(settings.category)
    paths, heat = settings.paths or model.info.paths, settings.heat or model.info.heat
    size = settings.pixel_size
    scores, labels, maps, masks, unreadable, masked = [], [], [], [], [], 0
    spent = 0.0
    for done, item in enumerate(items, start=1):
        try:
            started = time.perf_counter()
            picture = read_picture(item.path)
            verdict = judge(
                model, Mismatch.collect(score_steps(model, picture, paths, category)), paths, heat, category
            )
            spent += time.perf_counter() - started
            scores.append(verdict.score)
            labels.append(not item.is_good)
            mask = read_mask(item.mask, height=size, width=size) if item.mask else None
            if item.is_good or mask is not None:
                masked += mask is not None
                masks.append(mask if mask is not None else np.zeros((size, size), dtype=bool))
                maps.append(resize_map(verdict.heatmap, height=size, width=size))
        except ImageError as error:
            unreadable.append({"file": str(item.path), "reason": str(error)})
        yield EvaluateRecord(done, len(items))
    if not scores:
        raise DataError(f"None of the {len(items)} test images could be read. The first: {unreadable[0]['reason']}")
    threshold = model.info.thresholds.get(category)
    applies = threshold is not None and paths == model.info.paths and heat == model.info.heat
    flags = np.array(scores) > threshold.value if applies else None
    truth = np.array(labels)
    result = {
        "category": category,
        "image_auroc": auroc(np.array(scores), truth),
        "pixel_auroc": auroc(np.stack(maps), np.stack(masks)) if masked else None,
        "n_good": int((~truth).sum()),
        "n_defective": int(truth.sum()),
        "n_masks": masked,
        "seconds_per_image": spent / len(scores),
        "threshold": threshold.model_dump() if applies else None,
        "false_alarms": int(flags[~truth].sum()) if applies else None,
        "misses": int((~flags[truth]).sum()) if applies else None,
        "unreadable": unreadable,
        "settings": {
            "kind": model.info.kind,
            "size": model.info.size,
            "pixel_size": size,
            "paths": paths.model_dump(),
            "heat": heat.model_dump(),
            "training": model.info.training,
            "versions": model.info.versions,
        },
    }
    yield EvaluateRecord(len(items), len(items), result)


def test_categories(data: str | Path, model: Model, category: str | None = None) -> dict[str, list[TestItem]]:
    """Test items by the model's category: of one MVTec-layout category, or of a folder of them.

    A single category is evaluated as ``category``, else as the model's category of the folder's name, else
    as the only category of the model.

    Raises:
        DataError: if there are no test images. SettingsError: if the category is not clear.
    """
    root = Path(data)
    inner = sorted(p for p in root.iterdir() if (p / "test").is_dir()) if root.is_dir() else []
    if not inner or (root / "test").is_dir():
        items = find_test_items(root)
        named = root.resolve().name in model.info.categories
        return {model.category(category or (root.resolve().name if named else None)): items}
    known = {p.name: find_test_items(p) for p in inner if p.name in model.info.categories}
    if not known:
        raise DataError(
            f"No folder in '{root}' is named as a category of this model ({', '.join(model.info.categories)})."
        )
    return known


def mean_of(results: dict[str, dict]) -> dict:
    """Results of several categories under ``categories``, with the plain mean of each figure on top; None
    where a category has none."""

    def mean(key: str) -> float | None:
        values = [r[key] for r in results.values()]
        return None if any(v is None for v in values) else float(np.mean(values))

    return {
        "category": f"mean of {len(results)} categories",
        **{key: mean(key) for key in ("image_auroc", "pixel_auroc", "seconds_per_image")},
        **{key: sum(r[key] for r in results.values()) for key in ("n_good", "n_defective")},
        "categories": results,
    }
