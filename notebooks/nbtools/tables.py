"""Tables that read the same in JupyterLab and in the report; what is undefined says so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from fmcore.decomposition.terms import Terms
from fmcore.evaluation.benchmark_results import read_results
from fmcore.evaluation.benchmark_table import TableRow, make_table, reference
from fmcore.evaluation.metrics import TITLES

PERCENT = "In per cent; small: 95 % bootstrap interval over images."


@dataclass(frozen=True)
class Cell:
    """A value and, in small print, what is known of its error."""

    text: str
    small: str = ""


@dataclass(frozen=True)
class Table:
    """Rows under a head; columns after the first ``text_columns`` hold numbers and are aligned to the right.

    Args:
        last_is_mean: set the last row apart.
    """

    head: Sequence[str]
    rows: Sequence[Sequence[Any]]
    caption: str = ""
    last_is_mean: bool = False
    text_columns: int = 1

    def _repr_html_(self) -> str:
        head = "".join(f"<th{self._number(i)}>{escape(str(h))}</th>" for i, h in enumerate(self.head))
        body = "".join(self._row(row, self.last_is_mean and i == len(self.rows) - 1) for i, row in enumerate(self.rows))
        caption = f"<caption>{escape(self.caption)}</caption>" if self.caption else ""
        return f'<div class="table"><table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'

    def __repr__(self) -> str:
        rows = [self.head, *([(_cell(v).text + " " + _cell(v).small).strip() for v in row] for row in self.rows)]
        return "\n".join("  ".join(map(str, row)) for row in rows)

    def _row(self, values: Sequence[Any], mean: bool) -> str:
        cells = "".join(
            f"<td{self._number(i)}>{escape(c.text)}{f'<br><small>{escape(c.small)}</small>' if c.small else ''}</td>"
            for i, c in enumerate(map(_cell, values))
        )
        return f'<tr class="mean">{cells}</tr>' if mean else f"<tr>{cells}</tr>"

    def _number(self, column: int) -> str:
        return ' class="number"' if column >= self.text_columns else ""


def metric_cell(result: dict, name: str) -> Cell:
    """A metric of an evaluation in per cent with its interval, or n/a."""
    value, interval = result.get(name), (result.get("intervals") or {}).get(name)
    return Cell(_percent(value), f"{_percent(interval[0])} to {_percent(interval[1])}" if interval else "")


def metrics_table(results: dict[str, dict], mean: dict | None = None, label: str = "category") -> Table:
    """One row per evaluation result, and the mean if given."""
    rows = [[name, *(metric_cell(result, m) for m in TITLES)] for name, result in results.items()]
    if mean is not None:
        rows.append([f"mean of {len(results)}", *(metric_cell(mean, m) for m in TITLES)])
    return Table([label, *TITLES.values()], rows, PERCENT, last_is_mean=mean is not None)


def counts_table(results: dict[str, dict]) -> Table:
    """What was tested, the verdicts at the threshold, and the cost per image."""
    head = ["category", "good", "defective", "masks", "left out", "false alarms", "misses", "ms per image"]
    rows = [
        [
            name,
            r["n_good"],
            r["n_defective"],
            r["n_masks"],
            len(r["unreadable"]),
            _of(r["false_alarms"], r["n_good"]),
            _of(r["misses"], r["n_defective"]),
            f"{1000 * r['seconds_per_image']:.0f}",
        ]
        for name, r in results.items()
    ]
    return Table(head, rows, "Test images; verdicts at the threshold from held-out good training images.")


def methods_table(folder: str) -> Table | str:
    """The results of ``python -m fmcore benchmark --out folder``: a row per category and method."""
    if not folder:
        return "No other methods were compared: set the parameter benchmark to a folder of benchmark results."
    results = read_results(folder)
    rows = [
        [
            row.category,
            row.method,
            len(row.seeds),
            *(_spread_cell(row, name) for name in TITLES),
            _difference_cell(row),
            f"{row.fit_seconds / 60:.1f}",
        ]
        for row in make_table(results)
    ]
    head = ["category", "method", "seeds", *TITLES.values(), "image AUROC, difference", "fit, minutes"]
    caption = (
        "In per cent, mean over seeds ± half their range; small: 95 % bootstrap interval over images. The difference "
        f"is to {reference(results)}, on the same images; one whose interval holds 0 may be chance."
    )
    return Table(head, rows, caption, text_columns=2)


def _spread_cell(row: TableRow, name: str) -> Cell:
    value, spread, interval = row.values[name], row.spread[name], row.intervals.get(name)
    text = _percent(value) + (f" ± {100 * spread:.1f}" if spread is not None else "")
    return Cell(text, f"{_percent(interval[0])} to {_percent(interval[1])}" if interval else "")


def _difference_cell(row: TableRow) -> Cell:
    if row.difference is None:
        return Cell("-")
    edges = row.difference.interval
    return Cell(
        f"{100 * row.difference.value:+.1f}", f"{100 * edges[0]:+.1f} to {100 * edges[1]:+.1f}" if edges else ""
    )


def held_out_table(terms: Terms, expected: Sequence[float], dimensions: int) -> Table:
    """Held-out squared velocity error per pixel and channel of the closed form and the network, by time."""
    rows = [
        [
            f"{t:.2f}",
            *(
                f"{terms.values[name][j] / dimensions:.4f} ± {terms.errors[name][j] / dimensions:.4f}"
                for name in ("mismatch", "denoising")
            ),
            f"{expected[j]:.4f}",
        ]
        for j, t in enumerate(terms.times)
    ]
    caption = "Squared velocity error per pixel and channel on held-out good images, ± standard error."
    return Table(["t", "Gaussian field", "network", "Gaussian's own expectation"], rows, caption)


def _cell(value: Any) -> Cell:
    return value if isinstance(value, Cell) else Cell("n/a" if value is None else str(value))


def _percent(value: float | None) -> str:
    return "n/a" if value is None else f"{100 * value:.1f}"


def _of(count: int | None, total: int) -> str:
    return "n/a" if count is None else f"{count} of {total}"
