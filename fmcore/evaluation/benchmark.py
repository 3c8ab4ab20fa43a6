"""The benchmark: methods on categories and seeds, one budget for all; nothing is chosen on test images.

Methods are named ``<detector>:<basis>``, where the basis is a velocity field (`FIELDS`) or what a view gives (`VIEWS`).
Each is fitted to all good training images of a category and then scores its test images. All maps are smoothed as the
model's own are, and a rival may call a field as often as the mismatch does (where that is exact, as often as with 4
draws). One JSON file per (category, method, seed) is written atomically; a run that was stopped goes on with what is
missing.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from pydantic import Field

from fmcore.data.folders import TestItem, find_good_images, find_test_sets
from fmcore.detector.features import Features
from fmcore.detector.fit import fit
from fmcore.detector.model import FILE, Model, current_versions, load_model, save_model
from fmcore.detector.settings import PIXELS, FitSettings
from fmcore.errors import DataError, ModelError
from fmcore.evaluation import baselines
from fmcore.evaluation.benchmark_table import read_result, result_path
from fmcore.evaluation.evaluate import measure
from fmcore.mismatch import Mismatch, mismatch_steps, smooth
from fmcore.registry import Registry
from fmcore.settings import Settings
from fmcore.training.checkpoint import write_atomically
from fmcore.views.encoder import DEFAULT, PLACES

# View and field of each name; "gaussian" is the closed form that suits the view.
FIELDS = {
    "place-gaussian": ("encoder", "gaussian"),
    "unet": ("encoder", "unet"),
    "pixel-gaussian": ("pixels", "gaussian"),
    "pixel-unet": ("pixels", "unet"),
}
VIEWS = {"encoder": "place-gaussian", "pixels": "pixel-gaussian"}  # whose model lends its view
ON_FIELD = ("mismatch", "one-step", "reconstruction", "time-reversed")
CLOSED = {
    "mahalanobis": baselines.fit_mahalanobis,
    "place-mahalanobis": baselines.fit_place_mahalanobis,
    "nearest": baselines.fit_nearest,
    "nearest-patch": baselines.fit_nearest_patch,
}
TRAINED = {"autoencoder": baselines.train_autoencoder, "tccm": baselines.train_tccm}
METHODS = Registry("method")
METHODS.kinds = {f"{kind}:{basis}": (kind, basis) for basis in FIELDS for kind in ON_FIELD}
METHODS.kinds |= {f"{kind}:{basis}": (kind, basis) for basis in VIEWS for kind in (*CLOSED, *TRAINED)}
QUICK = tuple(name for name in METHODS.kinds if "unet" not in name)


class BenchmarkSettings(Settings):
    """One budget for all methods; all other settings are fixed per method."""

    methods: tuple[str, ...] = Field(QUICK, min_length=1, description="names with commas: <detector>:<field or view>")
    seeds: tuple[int, ...] = Field((0,), min_length=1, description="with commas; each has its own noise and training")
    minutes: float = Field(3.0, gt=0, le=100_000, description="training time of each network")
    steps: int | None = Field(None, ge=1, description="training steps of each network, instead of minutes")
    encoder: str = Field(DEFAULT, description="pretrained encoder of the methods on feature maps")
    places: int = Field(PLACES, ge=16, le=4096, description="cells of the grid of these, about")
    size: int = Field(128, ge=32, le=256, description="pixels per side of the methods on pixels")
    pixel_size: int = Field(256, ge=16, le=1024, description="masks and maps are compared at this width and height")
    bootstrap: int = Field(1000, ge=0, le=100_000, description="draws for the 95 % intervals; 0: none")

    def fits(self, seed: int) -> dict[str, FitSettings]:
        """The settings of the fit of each of `FIELDS`."""
        training = {"minutes": self.minutes, "steps": self.steps, "seed": seed}
        of_view = {
            "encoder": {"encoder": self.encoder, "view": {"places": self.places}},
            "pixels": {"encoder": PIXELS, "view": {"size": self.size}},
        }
        return {
            name: FitSettings.parse(field=field, seed=seed, training=training, **of_view[view])
            for name, (view, field) in FIELDS.items()
        }


class Category(NamedTuple):
    """Good training images and labelled test images of one category."""

    name: str
    good: list[Path]
    items: list[TestItem]


class BenchmarkRecord(NamedTuple):
    """Progress of one (category, method, seed); its last record carries the result."""

    category: str
    method: str
    seed: int
    stage: str
    done: int
    total: int
    result: dict | None = None


def find_categories(data: list[Path]) -> list[Category]:
    """Categories with test images below each folder of ``data``; raises `DataError` where there are none, or a name
    occurs twice."""
    found: dict[str, Category] = {}
    for root in data:
        tests = find_test_sets(root)
        for name, good in find_good_images(root).categories.items():
            if name in found:
                raise DataError(f"Category '{name}' occurs twice: give each once.")
            found[name] = Category(name, good, tests[name])
    return list(found.values())


def benchmark(
    categories: list[Category], settings: BenchmarkSettings, folder: str | Path, *, device: str = "cpu"
) -> Iterator[BenchmarkRecord]:
    """Run what is missing in ``folder``; yields progress and every result, also those found finished. Raises
    `SettingsError` for an unknown method, `DataError` if ``folder`` holds results of other settings, or no test image
    of a category could be read, and what `fit` raises."""
    for method in settings.methods:
        METHODS[method]  # refuses what it does not know, before the work
    folder, recipes = Path(folder), {k: recipe.model_dump(mode="json") for k, recipe in settings.fits(0).items()}
    shared = settings.model_dump(mode="json", exclude={"methods", "seeds"}) | {"recipes": recipes}
    for category, seed, method in itertools.product(categories, settings.seeds, settings.methods):
        record = partial(BenchmarkRecord, category.name, method, seed)
        path = result_path(folder, category.name, method, seed)
        if not path.is_file():
            models = folder / "models" / f"{category.name}-seed{seed}"
            heatmap, told = yield from _build(record, method, category, settings.fits(seed), models, device)
            for step in measure(category.items, heatmap, settings.pixel_size, settings.bootstrap, seed):
                yield record("testing", step.done, step.total)
            result = {"category": category.name, "method": method, "seed": seed, **step.result, **told}
            text = json.dumps(result | {"settings": shared, "versions": current_versions()}, indent=1)
            write_atomically(path, text.encode())
        yield record("finished", 1, 1, read_result(path, shared))


def _build(
    record: Callable, method: str, category: Category, fits: dict[str, FitSettings], folder: Path, device: str
) -> Iterator[BenchmarkRecord]:
    """Returns the fitted method, ``(picture) -> smoothed map (h, w)``, and what is told of the fit.

    The model of each of `FIELDS` is fitted once, by the settings of that name in ``fits``, and kept in ``folder``."""
    kind, basis = METHODS[method]
    name = VIEWS.get(basis, basis)
    wanted, folder = fits[name], folder / name
    if not (folder / FILE).is_file():
        for step in fit({category.name: category.good}, wanted, folder=folder, device=device):
            yield record(f"{name} {step.stage}", step.done, step.total)
        save_model(folder, step.model)
    model = load_model(folder, device)
    view, info, started = model.view(), model.info, time.perf_counter()
    if info.training["fit"] != wanted.model_dump(mode="json"):
        raise ModelError(f"The model in '{folder}' was fitted with other settings: give another --out.")
    if basis in FIELDS:
        detector = _on_field(kind, model, wanted.seed)
    else:
        images = torch.stack(list(Features(category.good, view).read()))
        if kind in CLOSED:
            detector = CLOSED[kind](images, **({"seed": wanted.seed} if kind == "nearest-patch" else {}))
        else:
            budget = wanted.training.model_dump(include={"minutes", "steps"})
            for detector in TRAINED[kind](images, seed=wanted.seed, **budget):
                if isinstance(detector, baselines.TrainerRecord):
                    yield record(method, round(100 * detector.spent), 100)
    smoothing = 0 if kind == "mismatch" else info.heat.smoothing  # a mismatch is smoothed time by time
    seconds = info.training["seconds"] + time.perf_counter() - started
    told = {"n_train": info.training["images"][category.name], "fit_seconds": seconds}
    return lambda picture: smooth(detector(view(picture)), smoothing), told


def _on_field(kind: str, model: Model, seed: int) -> baselines.Detector:
    """One of `ON_FIELD`, with no more calls of the field than the mismatch makes."""
    field, paths, heat = model.field(), model.info.paths, model.info.heat
    draws = paths.paths or 4
    return {
        "mismatch": lambda image: Mismatch.collect(mismatch_steps(field, image, paths)).heatmap(heat),
        "one-step": partial(baselines.one_step, field, paths=draws * paths.times, seed=seed),
        "reconstruction": partial(baselines.reconstruction, field, steps=paths.times, paths=draws, seed=seed),
        "time-reversed": partial(baselines.time_reversed, field, steps=draws * paths.times),
    }[kind]
