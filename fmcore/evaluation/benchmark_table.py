"""The benchmark's results: a JSON file each, and together one table of methods, with paired differences."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fmcore.errors import DataError
from fmcore.evaluation.metrics import TITLES, Interval, auroc_difference, interval_of_mean

COLUMNS = TITLES | {"fit_seconds": "fit s", "seconds_per_image": "s/image"}
Difference = tuple[float, Interval]


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
    """One method on one category, or on the ``mean`` of all: ``values`` of `COLUMNS`, mean over seeds; ``spread``, half
    their range (None for one seed, and of costs); and ``difference``, its image AUROC minus that of the `reference` on
    the seeds that both have, with its 95 % interval (None for itself, or where that is unknown)."""

    category: str
    method: str
    seeds: tuple[int, ...]
    values: dict[str, float | None]
    spread: dict[str, float | None]
    difference: Difference | None


def reference(results: Iterable[dict]) -> str | None:
    """The method that all others are compared with: the first mismatch, else the first of all."""
    methods = [result["method"] for result in results]
    return next((m for m in methods if m.startswith("mismatch:")), next(iter(methods), None))


def make_table(results: Iterable[dict]) -> list[TableRow]:
    """Rows by category, then method, in the order of the results; with several categories a ``mean`` row for each
    method that has run on all of them, with the same seeds."""
    groups: dict[str, dict[str, dict[int, dict]]] = {}  # method -> category -> seed -> result
    for result in (results := list(results)):
        groups.setdefault(result["method"], {}).setdefault(result["category"], {})[result["seed"]] = result
    categories, against = list(dict.fromkeys(r["category"] for r in results)), reference(results)
    rows, means = [], []
    for method, runs in groups.items():
        others = {} if method == against else groups[against]
        gains = [_difference(run, others.get(name, {})) for name, run in runs.items()]
        rows += [_row(name, method, [run], gain) for (name, run), gain in zip(runs.items(), gains, strict=True)]
        if len(runs) == len(categories) > 1 and len({tuple(sorted(run)) for run in runs.values()}) == 1:
            values, edges = ([], []) if None in gains else zip(*gains, strict=True)
            gain = (float(np.mean(values)), interval_of_mean(values, edges)) if values else None
            means.append(_row("mean", method, list(runs.values()), gain))
    return sorted(rows, key=lambda row: categories.index(row.category)) + means


def markdown(rows: list[TableRow]) -> str:
    """The table in Markdown; ``n/a`` where a figure is undefined, ``±`` half the range over seeds; the gain in image
    AUROC with its paired 95 % interval, a dash where there is none."""
    heads = ["category", "method", "seeds", *COLUMNS.values(), "image AUROC gain"]
    lines = [heads, ["---"] * len(heads)]
    for row in rows:
        cells = ["n/a" if value is None else f"{value:.3f}" for value in row.values.values()]
        cells = [f"{c} ± {s:.3f}" if s is not None else c for c, s in zip(cells, row.spread.values(), strict=True)]
        gain, edges = row.difference or (None, None)
        gained = "-" if gain is None else f"{gain:+.3f}" + (f" [{edges[0]:+.3f}, {edges[1]:+.3f}]" if edges else "")
        lines.append([row.category, row.method, str(len(row.seeds)), *cells, gained])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _row(category: str, method: str, runs: list[dict[int, dict]], difference: Difference | None) -> TableRow:
    """Of the results by seed of one category, or of several."""
    seeds, values, spread = tuple(sorted(runs[0])), {}, {}
    for name in COLUMNS:
        found = np.array([[run[seed][name] for seed in seeds] for run in runs], dtype=float).mean(0)  # None: NaN
        known = not np.isnan(found).any()
        values[name] = float(found.mean()) if known else None
        spread[name] = float(np.ptp(found) / 2) if known and len(seeds) > 1 and name in TITLES else None
    return TableRow(category, method, seeds, values, spread, difference)


def _difference(run: dict[int, dict], other: dict[int, dict]) -> Difference | None:
    """Of two methods on one category, results by seed; None where they have not scored the same images."""
    seeds = sorted(run.keys() & other.keys())
    first, second = ([part[seed]["images"] for seed in seeds] for part in (run, other))
    if len({tuple(image["file"] for image in images) for images in first + second}) != 1:
        return None
    labels = np.array([image["defective"] for image in first[0]])
    if labels.all() or not labels.any():
        return None
    return auroc_difference(
        labels, *(np.array([[i["score"] for i in each] for each in part]) for part in (first, second))
    )
