"""The benchmark's results as one table: methods in rows, mean and spread over seeds, mean over categories."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from fmcore.evaluation.detection import NAMES, mean_figures
from fmcore.evaluation.metrics import TITLES
from fmcore.evaluation.paired import Difference, PairedScores, auroc_difference

RECOMMENDED = "with-tiles:unet"


@dataclass(frozen=True)
class TableRow:
    """One method on one category (or on the ``mean`` of all that were run).

    ``values`` are means over seeds (None where a seed has none), ``spread`` half the range over seeds (None for a
    single seed), ``intervals`` the 95 % bootstrap intervals over test images of the first seed. Costs are means;
    ``seconds_per_image`` holds all settings of a method together. ``difference`` is the image AUROC of this method
    minus that of the `reference` of the table, on the same images with the same seeds; None for the reference itself,
    and where no seed is shared, scores of single images are not on record, or a label is missing.
    """

    category: str
    method: str
    seeds: tuple[int, ...]
    values: dict[str, float | None]
    spread: dict[str, float | None]
    intervals: dict[str, list[float] | None]
    fit_seconds: float
    seconds_per_image: float
    cost_of_choice: float
    difference: Difference | None = None


def reference(results: Iterable[dict]) -> str | None:
    """The method that all others are compared with: our recipe where it has run, else the first."""
    methods = [result["method"] for result in results]
    return RECOMMENDED if RECOMMENDED in methods else next(iter(methods), None)


def make_table(results: Iterable[dict]) -> list[TableRow]:
    """Rows by category, then method, in the order of the results; with several categories a ``mean`` row for each
    method that has run on all of them, with the same seeds."""
    results = list(results)
    against = reference(results)
    groups: dict[tuple[str, str], list[dict]] = {}
    for result in results:
        groups.setdefault((result["category"], result["method"]), []).append(result)
    others = {category: group for (category, method), group in groups.items() if method == against}
    rows = [
        _row(category, method, group, _difference([group], [others.get(category, [])]))
        for (category, method), group in groups.items()
    ]
    categories = list(dict.fromkeys(category for category, _ in groups))
    if len(categories) < 2:
        return rows
    for method in dict.fromkeys(method for _, method in groups):
        parts = [groups.get((category, method), []) for category in categories]
        seeds = {tuple(sorted(r["seed"] for r in part)) for part in parts}
        if len(seeds) > 1 or not all(parts):
            continue
        by_seed = [
            {
                **mean_figures([next(r for r in part if r["seed"] == seed) for part in parts]),
                "seed": seed,
                **{
                    key: float(np.mean([r[key] for part in parts for r in part if r["seed"] == seed])) for key in _COSTS
                },
            }
            for seed in next(iter(seeds))
        ]
        difference = _difference(parts, [others.get(category, []) for category in categories])
        rows.append(_row("mean", method, by_seed, difference))
    return rows


_COSTS = ("fit_seconds", "seconds_per_image", "cost_of_choice")


def _difference(groups: list[list[dict]], others: list[list[dict]]) -> Difference | None:
    """Of the results of one method, by category, to those of the reference, over the seeds that both have (so the same
    split, and the same network where they share one) and the images that all of these have scored."""
    sets = []
    for group, other in zip(groups, others, strict=True):
        # The reference itself shares nothing with another method.
        seeds = {r["seed"] for r in group} & {r["seed"] for r in other} if group is not other else set()
        parts = [[_scores(r) for r in part if r["seed"] in seeds] for part in (group, other)]
        shared = set.intersection(*(set(scores) for part in parts for scores in part)) if seeds else set()
        files = sorted(shared)
        defective = np.array([parts[0][0][file][1] for file in files], dtype=bool)
        if defective.all() or not defective.any():
            return None
        sets.append(PairedScores(defective, *(np.array([[s[f][0] for f in files] for s in part]) for part in parts)))
    return auroc_difference(sets)


def _scores(result: dict) -> dict[str, tuple[float, bool]]:
    """File -> score and whether it is defective; empty where they are not on record."""
    return {s["file"]: (s["score"], s["defective"]) for s in result.get("scored", [])}


def _row(category: str, method: str, group: list[dict], difference: Difference | None) -> TableRow:
    group = sorted(group, key=lambda r: r["seed"])
    values, spread = {}, {}
    for name in NAMES:
        found = [r[name] for r in group]
        known = all(v is not None for v in found)
        values[name] = float(np.mean(found)) if known else None
        spread[name] = float(np.ptp(found) / 2) if known and len(found) > 1 else None
    costs = {key: float(np.mean([r[key] for r in group])) for key in _COSTS}
    seeds = tuple(r["seed"] for r in group)
    edges = group[0].get("intervals") or {}
    return TableRow(category, method, seeds, values, spread, edges, **costs, difference=difference)


def markdown(rows: list[TableRow]) -> str:
    """The table in Markdown; ``n/a`` where a figure is undefined, ``±`` half the range over seeds; last the gain in
    image AUROC over the recommended recipe (or the first method), with its paired 95 % interval."""
    heads = [TITLES[name] for name in NAMES]
    lines = [
        "| category | method | seeds | "
        + " | ".join(heads)
        + " | fit s | s/image | cost of choice | image AUROC against the reference |",
        "|" + "---|" * (len(NAMES) + 7),
    ]
    for row in rows:
        cells = [_cell(row.values[name], row.spread[name]) for name in NAMES]
        costs = [f"{row.fit_seconds:.1f}", f"{row.seconds_per_image:.3f}", f"{row.cost_of_choice:.3f}"]
        cells = [row.category, row.method, str(len(row.seeds)), *cells, *costs, difference_text(row.difference)]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(value: float | None, spread: float | None) -> str:
    if value is None:
        return "n/a"
    return f"{value:.3f}" if spread is None else f"{value:.3f} ± {spread:.3f}"


def difference_text(difference: Difference | None) -> str:
    """Such as ``-0.012 [-0.030, +0.004]``; a dash for the reference, or where it is not known."""
    if difference is None:
        return "-"
    edges = difference.interval
    return f"{difference.value:+.3f}" + (f" [{edges[0]:+.3f}, {edges[1]:+.3f}]" if edges else "")
