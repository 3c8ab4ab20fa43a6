"""The benchmark: methods on categories and seeds, one budget for all; nothing is chosen on test images.

Methods are named ``<detector>:<basis>``, where the basis is a velocity field (`FIELDS`) or what a view gives (`VIEWS`).
Each is fitted to all good training images of a category and then scores its test images. All maps are smoothed as the
model's own are, and a rival may call a field as often as the mismatch does (where that is exact, as often as with 4
draws). One JSON file per (category, method, seed) is written atomically, and a run that was stopped goes on with what
is missing; together they are one table, with paired differences.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from pydantic import Field

from fmcore.data.folders import TestItem, find_good_images, find_test_sets
from fmcore.detector.features import Features
from fmcore.detector.fit import fit
from fmcore.detector.model import FILE, current_versions, load_model
from fmcore.detector.settings import PIXELS, FitSettings
from fmcore.errors import DataError, ModelError
from fmcore.evaluation.baselines import CLOSED, ON_FIELD, TRAINED, on_field
from fmcore.evaluation.evaluate import measure
from fmcore.evaluation.metrics import TITLES, Interval, auroc_difference, interval_of_mean
from fmcore.mismatch import smooth
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
METHODS = Registry("method")
METHODS.kinds = {f"{kind}:{basis}": (kind, basis) for basis in FIELDS for kind in ON_FIELD}
METHODS.kinds |= {f"{kind}:{basis}": (kind, basis) for basis in VIEWS for kind in (*CLOSED, *TRAINED)}
QUICK = tuple(name for name in METHODS.kinds if "unet" not in name)
Category = tuple[list[Path], list[TestItem]]  # good training images and labelled test images
COLUMNS = TITLES | {"fit_seconds": "fit s", "seconds_per_image": "s/image"}


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


class BenchmarkRecord(NamedTuple):
    """Progress of one (category, method, seed); its last record carries the result."""

    category: str
    method: str
    seed: int
    stage: str
    done: int
    total: int
    result: dict | None = None


def find_categories(data: list[Path]) -> dict[str, Category]:
    """Categories with test images below each folder of ``data``, by name; raises `DataError` where there are none, or
    a name occurs twice."""
    found = {}
    for root in data:
        tests, good = find_test_sets(root), find_good_images(root).categories
        for name in filter(tests.get, good):
            if name in found:
                raise DataError(f"Category '{name}' occurs twice: give each once.")
            found[name] = good[name], tests[name]
    return found


def benchmark(
    categories: dict[str, Category], settings: BenchmarkSettings, folder: str | Path, *, device: str = "cpu"
) -> Iterator[BenchmarkRecord]:
    """Run what is missing in ``folder``; yields progress and every result, also those found finished. Raises
    `SettingsError` for an unknown method, `DataError` for results of other settings in ``folder``, and as `measure` and
    `fit`."""
    for method in settings.methods:
        METHODS[method]  # refuses what it does not know, before the work
    folder, recipes = Path(folder), {k: recipe.model_dump(mode="json") for k, recipe in settings.fits(0).items()}
    shared = settings.model_dump(mode="json", exclude={"methods", "seeds"}) | {"recipes": recipes}
    runs = itertools.product(categories.items(), settings.seeds, settings.methods)
    for (category, (good, items)), seed, method in runs:
        record, path = partial(BenchmarkRecord, category, method, seed), result_path(folder, category, method, seed)
        if not path.is_file():
            models = folder / "models" / f"{category}-seed{seed}"
            heatmap, told = yield from _build(record, method, {category: good}, settings.fits(seed), models, device)
            for step in measure(items, heatmap, settings.pixel_size, settings.bootstrap, seed):
                yield record("testing", step.done, step.total)
            result = {"category": category, "method": method, "seed": seed, **step.result, **told}
            text = json.dumps(result | {"settings": shared, "versions": current_versions()}, indent=1)
            write_atomically(path, text.encode())
        yield record("finished", 1, 1, read_result(path, shared))


def _build(
    record: Callable, method: str, good: dict[str, list[Path]], fits: dict[str, FitSettings], folder: Path, device: str
) -> Iterator[BenchmarkRecord]:
    """Returns the fitted method, ``(picture) -> smoothed map (h, w)``, and what is told of the fit.

    The model of each of `FIELDS` is fitted once, by the settings of that name in ``fits``, and kept in ``folder``."""
    kind, basis = METHODS[method]
    name = VIEWS.get(basis, basis)
    wanted, folder = fits[name], folder / name
    if not (folder / FILE).is_file():
        for step in fit(good, wanted, folder=folder, device=device):
            yield record(f"{name} {step.stage}", step.done, step.total)
        step.model.save(folder)
    model = load_model(folder, device)
    view, info, started = model.view(), model.info, time.perf_counter()
    if info.training["fit"] != wanted.model_dump(mode="json"):
        raise ModelError(f"The model in '{folder}' was fitted with other settings: give another --out.")
    if basis in FIELDS:
        detector = on_field(kind, model.field(), info.paths, info.heat, wanted.seed)
    else:
        images = torch.stack(list(Features(next(iter(good.values())), view).read()))
        if kind in CLOSED:
            detector = CLOSED[kind](images, **({"seed": wanted.seed} if kind == "nearest-patch" else {}))
        else:
            budget = wanted.training.model_dump(include={"minutes", "steps"})
            for step in TRAINED[kind](images, seed=wanted.seed, **budget):
                yield record(method, step.done, step.total)
            detector = step.result
    smoothing = 0 if kind == "mismatch" else info.heat.smoothing  # a mismatch is smoothed time by time
    seconds = info.training["seconds"] + time.perf_counter() - started
    told = {"n_train": info.training["images"][model.category()], "fit_seconds": seconds}
    return lambda picture: smooth(detector(view(picture)), smoothing), told


def result_path(folder: Path, category: str, method: str, seed: int) -> Path:
    """Where the result of one (category, method, seed) lies."""
    return folder / category / f"{method.replace(':', '-on-')}-seed{seed}.json"


def read_result(path: Path, shared: dict | None = None) -> dict:
    """A finished result; raises `DataError` if it is damaged, or was made with other settings than ``shared``."""
    try:
        result = json.loads(path.read_text())
        before = result["settings"]
    except (ValueError, KeyError, TypeError, OSError):
        raise DataError(f"'{path}' is damaged: delete it, and repeat the command.") from None
    if shared is not None and before != shared:
        changed = ", ".join(k for k in shared if before.get(k) != shared[k])
        raise DataError(f"'{path.parent.parent}' holds results with another {changed}: give another --out.")
    return result


def read_results(folder: str | Path) -> list[dict]:
    """All results in a folder, by category, method and seed; raises `DataError` if there is none, or one is damaged."""
    results = [read_result(path) for path in Path(folder).glob("*/*-seed*.json")]
    if not results:
        raise DataError(f"'{folder}' holds no result of the benchmark: give the folder that was its --out.")
    return sorted(results, key=lambda r: (r["category"], r["method"], r["seed"]))


class TableRow(NamedTuple):
    """One method on one category, or on the ``mean`` of all: ``values`` of `COLUMNS`, mean over seeds; ``gain``, its
    image AUROC minus that of the reference (the first mismatch, else the first method) on the seeds that both have,
    with its 95 % interval (None for itself, or where that is unknown)."""

    category: str
    method: str
    seeds: tuple[int, ...]
    values: dict[str, float | None]
    gain: tuple[float, Interval] | None


def make_table(results: Iterable[dict]) -> list[TableRow]:
    """Rows by category, then method, in the order of the results; with several categories a ``mean`` row for each
    method that has run on all of them, with the same seeds."""
    groups: dict[str, dict[str, dict[int, dict]]] = {}  # method -> category -> seed -> result
    for result in (results := list(results)):
        groups.setdefault(result["method"], {}).setdefault(result["category"], {})[result["seed"]] = result
    categories = list(dict.fromkeys(result["category"] for result in results))
    reference = next((method for method in groups if method.startswith("mismatch:")), next(iter(groups), None))
    rows, means = [], []
    for method, runs in groups.items():
        others = {} if method == reference else groups[reference]
        gains = [_gain(run, others.get(name, {})) for name, run in runs.items()]
        rows += [_row(name, method, [run], gain) for (name, run), gain in zip(runs.items(), gains, strict=True)]
        if len(runs) == len(categories) > 1 and len({tuple(sorted(run)) for run in runs.values()}) == 1:
            values, edges = ([], []) if None in gains else zip(*gains, strict=True)
            gain = (float(np.mean(values)), interval_of_mean(values, edges)) if values else None
            means.append(_row("mean", method, list(runs.values()), gain))
    return sorted(rows, key=lambda row: categories.index(row.category)) + means


def markdown(rows: list[TableRow]) -> str:
    """The table in Markdown; ``n/a`` where a figure is undefined; the gain in image AUROC with its paired 95 %
    interval, a dash where there is none."""
    heads = ["category", "method", "seeds", *COLUMNS.values(), "image AUROC gain"]
    lines = [heads, ["---"] * len(heads)]
    for row in rows:
        cells = ["n/a" if value is None else f"{value:.3f}" for value in row.values.values()]
        gain, edges = row.gain or (None, None)
        gained = "-" if gain is None else f"{gain:+.3f}" + (f" [{edges[0]:+.3f}, {edges[1]:+.3f}]" if edges else "")
        lines.append([row.category, row.method, str(len(row.seeds)), *cells, gained])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _row(category: str, method: str, runs: list[dict[int, dict]], gain: tuple[float, Interval] | None) -> TableRow:
    """Of the results by seed of one category, or of several."""
    found = {name: [result[name] for run in runs for result in run.values()] for name in COLUMNS}
    values = {name: None if None in each else float(np.mean(each)) for name, each in found.items()}
    return TableRow(category, method, tuple(sorted(runs[0])), values, gain)


def _gain(run: dict[int, dict], other: dict[int, dict]) -> tuple[float, Interval] | None:
    """Of two methods on one category, results by seed; None where they have not scored the same images."""
    seeds = sorted(run.keys() & other.keys())
    first, second = ([part[seed]["images"] for seed in seeds] for part in (run, other))
    if len({tuple(image["file"] for image in images) for images in first + second}) != 1:
        return None
    labels = np.array([image["defective"] for image in first[0]])
    scores = (np.array([[image["score"] for image in images] for images in part]) for part in (first, second))
    return auroc_difference(labels, *scores)
