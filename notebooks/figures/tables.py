"""Tables that read the same in JupyterLab and in the report; what is undefined says so."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from fmcore.evaluation.metrics import TITLES

SUMMARY = ("image_auroc", "pixel_auroc", "aupro")


@dataclass(frozen=True)
class Cell:
    """A value and, in small print, what is known of its error."""

    text: str
    small: str = ""


@dataclass(frozen=True)
class Table:
    """Rows under a head; columns after the first ``text_columns`` hold numbers and are aligned to the right; None is
    shown as n/a.

    Args:
        last_is_mean: set the last row apart.
    """

    head: Sequence[str]
    rows: Sequence[Sequence[Any]]
    caption: str = ""
    last_is_mean: bool = False
    text_columns: int = 1

    def _repr_html_(self) -> str:
        caption = f"<caption>{escape(self.caption)}</caption>" if self.caption else ""
        rows = [self._line("td", row) for row in self.rows]
        if self.last_is_mean:
            rows[-1] = rows[-1].replace("<tr>", '<tr class="mean">')
        head, body = self._line("th", self.head), "".join(rows)
        return f'<div class="table"><table>{caption}<thead>{head}</thead><tbody>{body}</tbody></table></div>'

    def __repr__(self) -> str:
        cells = [[f"{c.text} {c.small}".strip() for c in map(_cell, row)] for row in (self.head, *self.rows)]
        return "\n".join("  ".join(row) for row in cells)

    def _line(self, tag: str, values: Sequence[Any]) -> str:
        parts = []
        for column, cell in enumerate(map(_cell, values)):
            small = f"<br><small>{escape(cell.small)}</small>" if cell.small else ""
            kind = ' class="number"' if column >= self.text_columns else ""
            parts.append(f"<{tag}{kind}>{escape(cell.text)}{small}</{tag}>")
        return f"<tr>{''.join(parts)}</tr>"


def metric_cell(result: dict, name: str) -> Cell:
    """A metric of an evaluation in per cent with its interval, or n/a."""
    interval = (result.get("intervals") or {}).get(name) or ()
    text, *ends = ("n/a" if v is None else f"{100 * v:.1f}" for v in (result.get(name), *interval))
    return Cell(text, " to ".join(ends))


def metrics_table(results: dict[str, dict], mean: dict | None = None) -> Table:
    """One row per category's evaluation result, and the mean if given."""
    named = results | ({f"mean of {len(results)}": mean} if mean is not None else {})
    rows = [[name, *(metric_cell(result, m) for m in TITLES)] for name, result in named.items()]
    caption = "In per cent; small: 95 % bootstrap interval over images."
    return Table(["category", *TITLES.values()], rows, caption, last_is_mean=mean is not None)


def summary_table(results: dict[str, dict], mean: dict | None = None, failed: Iterable[str] = ()) -> Table:
    """The one table of a report: main figures, verdicts at the threshold and cost of each category, and the mean."""
    rows = []
    for name, r in (results | ({"mean": mean} if mean else {})).items():
        wrong = (("false_alarms", "n_good"), ("misses", "n_defective"))
        verdicts = ["" if r is mean else r[what] if r[what] is None else f"{r[what]} of {r[n]}" for what, n in wrong]
        rows.append([name, *(metric_cell(r, n) for n in SUMMARY), *verdicts, f"{1000 * r['seconds_per_image']:.0f}"])
    head = ["category", *(TITLES[n] for n in SUMMARY), "false alarms", "misses", "ms per image"]
    missing = f" Failed, and not in this table: {', '.join(failed)}." if failed else ""
    caption = f"In per cent; small: 95 % bootstrap interval over images.{missing}"
    return Table(head, rows, caption, last_is_mean=mean is not None)


def _cell(value: Any) -> Cell:
    return value if isinstance(value, Cell) else Cell("n/a" if value is None else str(value))
