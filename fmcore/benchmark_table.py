"""The benchmark's results as one table: methods in rows, mean and spread over seeds, mean over categories."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from fmcore.detection import NAMES, mean_figures
from fmcore.metrics import TITLES


@dataclass(frozen=True)
class TableRow:
    """One method on one category (or on the ``mean`` of all that were run).

    ``values`` are means over seeds (None where a seed has none), ``spread`` half the range over seeds (None for a
    single seed), ``intervals`` the 95 % bootstrap intervals over test images of the first seed. Costs are means;
    ``seconds_per_image`` holds all settings of a method together.
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


def make_table(results: Iterable[dict]) -> list[TableRow]:
    """Rows by category, then method, in the order of the results; with several categories a ``mean`` row for each
    method that has run on all of them, with the same seeds."""
    groups: dict[tuple[str, str], list[dict]] = {}
    for result in results:
        groups.setdefault((result["category"], result["method"]), []).append(result)
    rows = [_row(category, method, group) for (category, method), group in groups.items()]
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
        rows.append(_row("mean", method, by_seed))
    return rows


_COSTS = ("fit_seconds", "seconds_per_image", "cost_of_choice")


def _row(category: str, method: str, group: list[dict]) -> TableRow:
    group = sorted(group, key=lambda r: r["seed"])
    values, spread = {}, {}
    for name in NAMES:
        found = [r[name] for r in group]
        known = all(v is not None for v in found)
        values[name] = float(np.mean(found)) if known else None
        spread[name] = float(np.ptp(found) / 2) if known and len(found) > 1 else None
    costs = {key: float(np.mean([r[key] for r in group])) for key in _COSTS}
    seeds = tuple(r["seed"] for r in group)
    return TableRow(category, method, seeds, values, spread, group[0].get("intervals") or {}, **costs)


def markdown(rows: list[TableRow]) -> str:
    """The table in Markdown; ``n/a`` where a figure is undefined, ``±`` half the range over seeds."""
    heads = [TITLES[name] for name in NAMES]
    lines = [
        "| category | method | seeds | " + " | ".join(heads) + " | fit s | s/image | cost of choice |",
        "|" + "---|" * (len(NAMES) + 6),
    ]
    for row in rows:
        cells = [_cell(row.values[name], row.spread[name]) for name in NAMES]
        costs = [f"{row.fit_seconds:.1f}", f"{row.seconds_per_image:.3f}", f"{row.cost_of_choice:.3f}"]
        lines.append("| " + " | ".join([row.category, row.method, str(len(row.seeds)), *cells, *costs]) + " |")
    return "\n".join(lines)


def _cell(value: float | None, spread: float | None) -> str:
    if value is None:
        return "n/a"
    return f"{value:.3f}" if spread is None else f"{value:.3f} ± {spread:.3f}"
