"""Tables that read the same in JupyterLab and in the report; what is undefined says so."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from fmcore.evaluation.metrics import TITLES, Interval, auroc_difference, interval_of_mean

SUMMARY = ("image_auroc", "pixel_auroc", "aupro")


@dataclass(frozen=True)
class Cell:
    """A value and, in small print, what is known of its error."""

    text: str
    small: str = ""


@dataclass(frozen=True)
class Table:
    """Rows under a head; columns after the first ``text_columns`` hold numbers and are aligned to the right; None is
    shown as n/a; ``last_is_mean`` sets the last row apart."""

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


def difference_table(results: dict[str, dict], others: dict[str, dict]) -> Table:
    """What the first evaluation of each category has more than the second, and of all of them on average."""
    rows, gains = [], []
    for name in [name for name in results if name in others]:
        pair = results[name], others[name]
        count, gain = _gain(*pair)
        gains.append(gain)
        rest = [None if None in (ends := [r.get(n) for r in pair]) else (ends[0] - ends[1], None) for n in SUMMARY[1:]]
        rows.append([name, *(metric_cell(r, "image_auroc").text for r in pair), *map(_points, (gain, *rest)), count])
    if len(gains) > 1 and None not in gains:
        values, found = zip(*gains, strict=True)
        mean = sum(values) / len(values), interval_of_mean(values, found)
        rows.append(["mean", "", "", _points(mean), "", "", ""])
    said = "Image AUROC in per cent; differences in points, small: paired 95 % interval over the images that both have."
    head = ["category", "this", "the other", *(f"{TITLES[n]}, difference" for n in SUMMARY), "images"]
    return Table(head, rows, f"{said} Where it holds zero, none is shown.", last_is_mean=len(rows) > len(gains))


def _gain(first: dict, second: dict) -> tuple[int, tuple[float, Interval] | None]:
    """Images that both evaluations have, and the difference of their image AUROC on these; None without both kinds."""
    by_file = [{Path(i["file"]).parts[-3:]: i for i in result["images"]} for result in (first, second)]
    shared = [file for file in by_file[0] if file in by_file[1]]
    labels = np.array([by_file[0][file]["defective"] for file in shared], dtype=bool)
    return len(shared), auroc_difference(labels, *(np.array([[s[f]["score"] for f in shared]]) for s in by_file))


def _points(difference: tuple[float, Interval] | None) -> Cell:
    """A difference of shares in per cent points, with its interval where there is one."""
    value, interval = difference or (None, None)
    small = " to ".join(f"{100 * end:+.1f}" for end in interval or ())
    return Cell("n/a" if value is None else f"{100 * value:+.1f}", small)


def _cell(value: Any) -> Cell:
    return value if isinstance(value, Cell) else Cell("n/a" if value is None else str(value))
