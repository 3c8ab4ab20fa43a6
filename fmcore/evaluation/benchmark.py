"""The benchmark: several methods on several categories and seeds, with one budget, each with settings chosen alike.

For each category and seed the good training images are split; every method is fitted to the larger part, its setting
and blur are chosen on the smaller part with synthetic defects (`fmcore.evaluation.baselines.selection`), and only then are the
test images scored. A network that was trained on synthetic defects can't be judged by them and keeps the recommended
setting and blur, as do fields with tiles beside them, which see finer images. One JSON file per (category, method,
seed) is written atomically; a run that was stopped goes on with what is missing.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import Field

from fmcore.data.folders import TestItem, detect_channels, find_good_images, find_test_sets, load_views, split_views
from fmcore.data.picture import read_mask, read_picture, resize_map
from fmcore.data.synthetic_defects import SyntheticDefects, paste_defects
from fmcore.detector.model import current_versions
from fmcore.detector.tiles import recommended_sizes, view_sizes
from fmcore.errors import DataError, ImageError, ModelError
from fmcore.evaluation.baselines.detector import Detector
from fmcore.evaluation.baselines.methods import (
    BuildRecord,
    MethodSettings,
    Workshop,
    check_methods,
    has_tiles,
    keeps_recommended,
)
from fmcore.evaluation.baselines.selection import Choice, SettingsTable, best, criterion, measure_settings, split_images
from fmcore.evaluation.benchmark_results import read_result, result_path, write_result
from fmcore.evaluation.detection import DetectionMetrics
from fmcore.mismatch.mismatch import HeatSettings, image_score, smooth
from fmcore.settings import Settings

QUICK = (
    "mismatch:gaussian",
    "mismatch:patch",
    "reconstruction:gaussian",
    "one-step:gaussian",
    "time-reversed:gaussian",
    "mahalanobis",
    "pixel-gaussian",
    "nearest",
    "autoencoder-mse",
    "autoencoder-ssim",
    "tccm",
    "wt-flow",
)
FEWEST = 6  # good images of a category: four to fit, two to choose settings on


class BenchmarkSettings(Settings):
    """One budget for all methods."""

    methods: tuple[str, ...] = Field(
        QUICK, min_length=1, description="names, see `fmcore.evaluation.baselines.methods`"
    )
    seeds: tuple[int, ...] = Field((0,), min_length=1, description="each with its own split, noise and training")
    size: int = Field(64, ge=32, le=256, description="pixels per side that every method sees")
    minutes: float = Field(3.0, gt=0, le=100_000, description="training time of each network")
    steps: int | None = Field(None, ge=1, description="training steps of each network, instead of minutes")
    paths: int = Field(4, ge=1, le=64, description="K, noise draws per image")
    times: int = Field(12, ge=1, le=100, description="T; a detector on a field calls it K T times per image")
    patch: int = Field(8, ge=1, le=64, description="side of Gaussian patches; mixture patches: half")
    held_out: float = Field(0.2, gt=0, lt=1, description="share of good images on which settings are chosen")
    choosing_images: int = Field(30, ge=2, le=1000, description="most held-out images that settings are chosen on")
    synthetic: int = Field(5, ge=1, le=100, description="synthetic defects per image of these")
    smoothings: tuple[float, ...] = Field((0.0, 1 / 64, 2 / 64, 3 / 64), min_length=1, description="in image widths")
    pixel_size: int = Field(256, ge=16, le=1024, description="masks and maps are compared at this width and height")
    bootstrap: int = Field(1000, ge=0, le=100_000, description="draws for the 95 % intervals; 0: none")


@dataclass(frozen=True)
class Category:
    """Good training images and labelled test images of one category."""

    name: str
    good: list[Path]
    items: list[TestItem]


@dataclass(frozen=True)
class BenchmarkRecord:
    """Progress of one (category, method, seed); its last record carries the result, and says whether that was
    found finished."""

    category: str
    method: str
    seed: int
    stage: str
    done: int
    total: int
    result: dict | None = None
    found: bool = False


def find_categories(data: list[Path]) -> list[Category]:
    """Categories with test images, MVTec or VisA layout, below each folder of ``data``.

    Raises:
        DataError: if a folder holds none, a category has too few good images, or a name occurs twice.
    """
    found: dict[str, Category] = {}
    for root in data:
        tests = find_test_sets(root)
        for name, good in find_good_images(root).categories.items():
            if name in found:
                raise DataError(f"Category '{name}' occurs twice: give each once.")
            if len(good) < FEWEST:
                raise DataError(f"Category '{name}' has {len(good)} good image(s): the benchmark needs {FEWEST}.")
            found[name] = Category(name, good, tests[name])
    return list(found.values())


def benchmark(categories: list[Category], settings: BenchmarkSettings, folder: str | Path) -> Iterator[BenchmarkRecord]:
    """Run what is missing in ``folder``; yields progress and every result, also those found finished.

    Raises:
        SettingsError: for an unknown method. DataError: if ``folder`` holds results of other settings, or no image
            of a category could be read. TrainingError: if a training fails.
    """
    check_methods(settings.methods)
    folder = Path(folder)
    shared = _shared(settings)
    for category in categories:
        for seed in settings.seeds:
            bench = None
            for method in settings.methods:
                path = result_path(folder, category.name, method, seed)
                if path.is_file():
                    result = read_result(path, shared)
                    yield BenchmarkRecord(category.name, method, seed, "finished", 1, 1, result, found=True)
                    continue
                if bench is None:
                    yield BenchmarkRecord(category.name, method, seed, "reading", 0, 1)
                    bench = _Bench(category, settings, seed, folder / "models" / f"{category.name}-seed{seed}")
                for record in bench.run(method):
                    if isinstance(record, dict):
                        write_result(path, record | {"settings": shared})
                        yield BenchmarkRecord(category.name, method, seed, "finished", 1, 1, record)
                    else:
                        yield BenchmarkRecord(category.name, method, seed, record.stage, record.done, record.total)


class _Bench:
    """Images, split and synthetic defects of one category and seed, and the methods run on them."""

    def __init__(self, category: Category, settings: BenchmarkSettings, seed: int, folder: Path):
        self.category, self.settings, self.seed = category, settings, seed
        self.channels = detect_channels(category.good)
        sizes = recommended_sizes(settings.size, tiles=any(map(has_tiles, settings.methods)))
        views, self.unreadable = split_views(list(load_views(category.good, sizes=sizes, channels=self.channels)))
        images = views[0]
        if len(images) < FEWEST:
            raise DataError(f"Only {len(images)} good images of '{category.name}' could be read: add good images.")
        train, held = split_images(images, settings.held_out, seed)
        self.held = held[: settings.choosing_images]
        self.defects: SyntheticDefects = paste_defects(self.held, per_image=settings.synthetic, seed=seed)
        shared = settings.model_dump(include=set(MethodSettings.model_fields))
        self.workshop = Workshop(
            category.name,
            train,
            self.held,
            MethodSettings.parse(**{**shared, "seed": seed}),
            folder,
            split_images(views[-1], settings.held_out, seed)[0] if len(views) > 1 else None,
        )

    def run(self, method: str) -> Iterator[BuildRecord | dict]:
        """Progress, and last the result."""
        detector = None
        for record in self.workshop.build(method):
            if isinstance(record, Detector):
                detector = record
            else:
                yield record
        table, total = {}, len(self.held) + len(self.defects.images)
        if detector.default is not None and keeps_recommended(method):
            size, blurs = self.settings.size, self.settings.smoothings
            wanted = HeatSettings.for_size(size).smoothing / size
            chosen = (detector.default, min(blurs, key=lambda blur: abs(blur - wanted)))
        else:
            for item in measure_settings(detector, self.held, self.defects, self.settings.smoothings, self.seed):
                if isinstance(item, int):
                    yield BuildRecord("choosing settings", item, total)
                else:
                    table = item.figures()
            chosen = best(table)
        yield from self._test(method, detector, table, chosen)

    def _test(
        self, method: str, detector: Detector, synthetic: dict[Choice, dict], chosen: Choice
    ) -> Iterator[BuildRecord | dict]:
        s, size = self.settings, self.settings.pixel_size
        metrics, table = DetectionMetrics(), SettingsTable(s.smoothings, seed=self.seed)
        unreadable, masked, spent, files = [], 0, 0.0, []
        for done, item in enumerate(self.category.items, start=1):
            try:
                picture = read_picture(item.path)
                views = [picture.tensor(side, self.channels) for side in view_sizes(s.size, detector.view)]
                mask = read_mask(item.mask, height=size, width=size) if item.mask else None
                started = time.perf_counter()
                maps = detector.maps(*views)
                spent += time.perf_counter() - started
                heatmap = smooth(maps[chosen[0]], chosen[1] * s.size)
                if not np.isfinite(heatmap).all():
                    raise ModelError(f"'{method}' gives numbers that are not finite for '{item.path.name}'.")
                files.append("/".join(item.path.parts[-2:]))
                metrics.add_score(image_score(heatmap), defective=not item.is_good)
                if item.is_good or mask is not None:
                    masked += mask is not None
                    metrics.add_map(resize_map(heatmap, height=size, width=size), mask)
                table.add(maps, defective=not item.is_good, mask=_reduced(mask, s.size))
            except ImageError as error:
                unreadable.append({"file": str(item.path), "reason": str(error)})
            yield BuildRecord("testing", done, len(self.category.items))
        if not metrics.scores:
            raise DataError(f"None of the {len(self.category.items)} test images of '{self.category.name}' is usable.")
        test = table.figures()
        hindsight = best(test)
        yield {
            "category": self.category.name,
            "method": method,
            "seed": self.seed,
            **metrics.figures(s.bootstrap, self.seed),
            "chosen": _named(chosen, synthetic, test),
            "hindsight": _named(hindsight, synthetic, test),
            "cost_of_choice": criterion(test[hindsight]) - criterion(test[chosen]),
            "n_train": len(self.workshop.train),
            "n_held_out": len(self.held),
            "n_good": metrics.defective.count(False),
            "n_defective": metrics.defective.count(True),
            "n_masks": masked,
            "fit_seconds": self.workshop.seconds,
            "seconds_per_image": spent / len(metrics.scores),  # all settings of the method together
            "evaluations": detector.evaluations,
            "scored": [
                {"file": file, "score": score, "defective": defective}
                for file, score, defective in zip(files, metrics.scores, metrics.defective, strict=True)
            ],
            "every_setting": [_named(choice, synthetic, test) for choice in test],
            "unreadable": [{"file": str(u.path), "reason": u.reason} for u in self.unreadable] + unreadable,
            "versions": current_versions(),
        }


def _reduced(mask: np.ndarray | None, size: int) -> np.ndarray | None:
    """A mask at the resolution of the maps: a pixel is marked where half of it is."""
    return None if mask is None else resize_map(mask.astype(np.float32), height=size, width=size) > 0.5


def _named(choice: Choice, synthetic: dict[Choice, dict], test: dict[Choice, dict]) -> dict:
    """A setting and its figures on synthetic defects (None: not measured) and on the test set (pixel figures over
    sampled pixels)."""
    return {"setting": choice[0], "smoothing": choice[1], "synthetic": synthetic.get(choice), "test": test[choice]}


def _shared(settings: BenchmarkSettings) -> dict:
    """What all results of a folder must have in common, as JSON gives it back."""
    return json.loads(settings.model_dump_json(exclude={"methods", "seeds"}))
