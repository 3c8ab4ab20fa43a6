"""Evaluation on the test images of a category: every metric, with bootstrap intervals over images."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from pydantic import Field

from fmcore.data import Progress
from fmcore.data.folders import TestItem, find_test_sets
from fmcore.data.picture import Picture, read_mask, read_picture, resize_map
from fmcore.detector.model import Model
from fmcore.detector.score import score_steps
from fmcore.errors import DataError, ImageError, ModelError
from fmcore.evaluation.metrics import NAMES, PixelMetrics, image_intervals, image_metrics, interval_of_mean
from fmcore.mismatch import HeatSettings, Mismatch, PathSettings, image_score
from fmcore.settings import Settings


class EvaluateSettings(Settings):
    """How a model is evaluated; ``paths`` and ``heat`` default to the model's own."""

    category: str | None = None
    pixel_size: int = Field(256, ge=16, le=1024, description="masks and maps are compared at this width and height")
    bootstrap: int = Field(1000, ge=0, le=100_000, description="draws for the 95 % intervals; 0: none")
    seed: int = Field(0, ge=0, lt=2**31, description="seed of the bootstrap")
    paths: PathSettings | None = None
    heat: HeatSettings | None = None


def evaluate(model: Model, items: list[TestItem], settings: EvaluateSettings) -> Iterator[Progress]:
    """Score every test image: the result of `measure`, what the stored threshold does here (None with settings other
    than the model's), and the settings. Raises as `measure`, and `SettingsError` for an unknown category."""
    category, info = model.category(settings.category), model.info
    paths, heat, remarks = settings.paths or info.paths, settings.heat or info.heat, []

    def heatmap(picture: Picture) -> np.ndarray:
        remarks.extend(filter(None, [model.view(category).remark(picture)]))
        return Mismatch.collect(score_steps(model, picture, paths, category)).heatmap(heat)

    inside = model.view(category).inside
    for progress in measure(items, heatmap, settings.pixel_size, settings.bootstrap, settings.seed, inside):
        if progress.result is None:
            yield progress
    threshold = model.threshold(category) if model.is_own(paths, heat) else None
    images = progress.result["images"]
    used = settings.model_copy(update={"paths": paths, "heat": heat}).model_dump(exclude={"category"})
    result = {
        "category": category,
        **progress.result,
        "threshold": threshold and threshold.model_dump(),
        "false_alarms": threshold and sum(i["score"] > threshold.value and not i["defective"] for i in images),
        "misses": threshold and sum(i["score"] <= threshold.value and i["defective"] for i in images),
        "notes": [f"{len(remarks)} of {len(items)} images: {remarks[0]}"] if remarks else [],
        "settings": used | {"kind": info.kind, "training": info.training, "versions": info.versions},
    }
    yield Progress(len(items), len(items), result=result)


def measure(
    items: list[TestItem],
    heatmap: Callable[[Picture], np.ndarray],
    size: int,
    bootstrap: int,
    seed: int,
    inside: Callable[[np.ndarray], np.ndarray] = lambda values: values,
) -> Iterator[Progress]:
    """Every figure of a detector that gives maps ``(h, w)``, masks and maps compared at ``size`` x ``size``, where
    ``inside`` (`View.inside`) leaves something of them.

    Pixel figures count good images and defective images that have a mask. A mask that cannot be read leaves its image
    out of them, and is listed in ``unreadable`` as images are. ``intervals`` holds ``[low, high]`` under the name of
    each figure; what is undefined is None. Seconds are from file to map. Raises `DataError` if no image could be read,
    and `ModelError` for a map that is not finite."""
    pixels, images, unreadable, spent = PixelMetrics(), [], [], 0.0
    for done, item in enumerate(items, start=1):
        try:
            started = time.perf_counter()
            found = heatmap(picture := read_picture(item.path))
            spent += time.perf_counter() - started
            if not np.isfinite(found).all():
                raise ModelError(f"The model gives numbers that are not finite for '{item.path.name}': fit it again.")
            about = {"file": str(item.path), "kind": item.defect, "defective": not item.is_good}
            images.append(about | {"score": image_score(found)})
            own = picture.size_in_file
            mask = read_mask(item.mask, height=size, width=size, size_of_image=own) if item.mask else None
            if item.is_good or mask is not None:
                pixels.add(inside(resize_map(found, height=size, width=size)), None if mask is None else inside(mask))
        except ImageError as error:
            unreadable.append({"file": str(item.path), "reason": str(error)})
        yield Progress(done, len(items))
    if not images:
        raise DataError(f"None of the {len(items)} test images could be read. The first: {unreadable[0]['reason']}")
    scores, defective = (np.array([image[key] for image in images]) for key in ("score", "defective"))
    result = {
        **image_metrics(scores, defective),
        **pixels.values(),
        "intervals": image_intervals(scores, defective, bootstrap, seed) | pixels.intervals(bootstrap, seed),
        "n_good": int((~defective).sum()),
        "n_defective": int(defective.sum()),
        "n_masks": sum(pixels.defective),
        "seconds_per_image": spent / len(images),
        "undefined": _why_undefined(int((~defective).sum()), int(defective.sum()), sum(pixels.defective)),
        "unreadable": unreadable,
        "images": images,
    }
    yield Progress(len(items), len(items), result=result)


def _why_undefined(good: int, defective: int, masks: int) -> list[str]:
    """A sentence on each figure that cannot be had, and what is missing for it."""
    lacking = [name for name, count in (("good", good), ("defective", defective)) if not count]
    image = [f"The figures of images are n/a: there are no {name} test images." for name in lacking]
    return image + (["The figures of pixels are n/a: no defective image has a mask that can be used."] * (not masks))


def test_categories(data: str | Path, model: Model, category: str | None = None) -> dict[str, list[TestItem]]:
    """Test items by the model's category, of a folder of categories or of one, which is evaluated as ``category``, else
    as the model's category of the folder's name, else as the only one of the model. Raises `DataError` if there are no
    test images, and `SettingsError` if the category is not clear."""
    found = find_test_sets(data)
    if len(found) == 1:
        [(name, items)] = found.items()
        return {model.category(category or (name if name in model.categories else None)): items}
    known = {name: items for name, items in found.items() if name in model.categories}
    if not known:
        raise DataError(f"No folder in '{data}' is named as a category of this model ({', '.join(model.categories)}).")
    if category is None:
        return known
    if (category := model.category(category)) not in known:
        raise DataError(f"'{data}' holds several categories, and none is named '{category}': give the folder of one.")
    return {category: known[category]}


def mean_of(results: dict[str, dict]) -> dict:
    """Results of several categories under ``categories``, and the plain mean of every figure that all of them have,
    with its interval; else None."""
    every, mean, intervals = list(results.values()), dict.fromkeys(NAMES), dict.fromkeys(NAMES)
    for name in NAMES:
        values = [result.get(name) for result in every]
        if None not in values:
            edges = [(result.get("intervals") or {}).get(name) for result in every]
            mean[name], intervals[name] = float(np.mean(values)), interval_of_mean(values, edges)
    return {
        "category": f"mean of {len(results)} categories",
        **mean,
        "intervals": intervals,
        "seconds_per_image": float(np.mean([r["seconds_per_image"] for r in every])),
        **{key: sum(r[key] for r in every) for key in ("n_good", "n_defective")},
        "categories": results,
    }
