"""What the runs of notebook 03 left, read back for the report: only what ran, and what failed and why."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from IPython.display import HTML, Image, display

from fmcore.errors import DataError
from fmcore.evaluation.metrics import TITLES
from nbtools.execute import read_record
from nbtools.tables import Table


@dataclass(frozen=True)
class Runs:
    """Records (``run.json``) and metrics (``metrics.json``) by category; ``failed`` says why, by category."""

    folder: Path
    records: dict[str, dict[str, Any]]
    metrics: dict[str, dict[str, Any]]
    failed: dict[str, str]

    @property
    def results(self) -> dict[str, dict]:
        """Evaluation results by category."""
        return {name: metrics["result"] for name, metrics in self.metrics.items()}

    def status_table(self) -> Table:
        """Every category: done or why not, what it was made from, and how long it took."""
        rows = []
        for name, record in self.records.items():
            data = record.get("data") or {}
            said = f"{data['files']} files, {data['sha256']}" if "sha256" in data else "n/a"
            outcome = f"failed. {self.failed[name]}" if name in self.failed else "done"
            seconds = f"{record['seconds']:.0f} s" if "seconds" in record else "n/a"
            rows.append([name, outcome, said, seconds])
        return Table(["category", "outcome", "data (sha256)", "time"], rows, "Runs in this report.", text_columns=3)

    def settings_table(self) -> Table:
        """What each category was scored with."""
        rows = []
        for name, result in self.results.items():
            s, fit = result["settings"], result["settings"]["training"].get("fit", {})
            heat, paths = s["heat"], s["paths"]
            limit = result.get("threshold") or {}
            rate, held = limit.get("false_alarm_rate"), limit.get("held_out")
            rows.append(
                [
                    name,
                    f"{s['kind']}, {s['size']} px",
                    fit.get("seed"),
                    f"K = {paths['paths']}, T = {paths['times']}, structure {paths.get('structure', 0):g}"
                    + (f", tiles {paths['tiles']:g}" if paths.get("tiles") else ""),
                    f"{heat['aggregator']}, r = {heat['exponent']:g}, blur {heat['smoothing']:g} px",
                    f"{s['pixel_size']} x {s['pixel_size']}",
                    f"{rate:.0%} of new good images, from {held}" if limit else None,
                ]
            )
        head = ["category", "field", "seed", "paths", "heat map", "pixels compared at", "threshold: false alarms"]
        return Table(head, rows, "Settings.", text_columns=len(head))

    def kinds_table(self) -> Table:
        """Images above the threshold for each kind of defect."""
        rows = []
        for name, result in self.results.items():
            limit = (result.get("threshold") or {}).get("value")
            for kind in sorted({i["kind"] for i in result["images"]}, key=lambda k: (k != "good", k)):
                scores = [i["score"] for i in result["images"] if i["kind"] == kind]
                above = f"{sum(s > limit for s in scores)} of {len(scores)}" if limit is not None else None
                rows.append(
                    [name, kind, above, f"{min(scores):.3g} to {max(scores):.3g}", f"{limit:.3g}" if limit else None]
                )
        head = ["category", "kind", "above threshold", "scores", "threshold"]
        return Table(head, rows, text_columns=2)

    def show_galleries(self) -> None:
        """The pictures that the runs drew."""
        for name in self.metrics:
            picture = self.folder / name / "extremes.png"
            if picture.is_file():
                display(HTML(f"<h3>{name}</h3>"))
                display(Image(data=picture.read_bytes(), alt=f"{name}: best and worst images with maps"))

    def decompositions(self) -> dict[str, dict]:
        """Terms by category and group, for `nbtools.charts.terms_chart`."""
        return {f"{name}, {kind}": g for name, m in self.metrics.items() for kind, g in m["decomposition"].items()}

    def figures(self) -> dict[str, dict]:
        """Numbers of each category for ``metrics.json``, without the list of images."""
        kept = [
            *TITLES,
            "intervals",
            "n_good",
            "n_defective",
            "n_masks",
            "false_alarms",
            "misses",
            "seconds_per_image",
        ]
        return {name: {key: result.get(key) for key in kept} for name, result in self.results.items()}

    @staticmethod
    def summary(mean: dict | None) -> dict | None:
        """The mean's own numbers."""
        return None if mean is None else {key: mean.get(key) for key in [*TITLES, "intervals"]}


def read_runs(folder: str | Path, categories: str = "") -> Runs:
    """Read the runs of these categories (separated by commas), or of all that are in the folder.

    Raises:
        DataError: if not a single category is done.
    """
    root = Path(folder)
    wanted = [name.strip() for name in categories.split(",") if name.strip()]
    if not root.is_dir():
        raise DataError(f"There is no folder of runs '{root}': leave 'runs' empty to make them.")
    names = wanted or sorted(p.name for p in root.iterdir() if (p / "run.json").is_file())
    records = {name: read_record(root / name) for name in names}
    metrics, failed = {}, {}
    for name, record in records.items():
        try:
            if record.get("status") == "done":
                metrics[name] = json.loads((root / name / "metrics.json").read_text())
            else:
                failed[name] = record.get("error") or "It was never finished: repeat the command."
        except (OSError, ValueError):
            failed[name] = "Its metrics.json is missing or damaged: delete its folder and repeat the command."
    if not metrics:
        why = f" The first, '{next(iter(failed))}': {next(iter(failed.values()))}" if failed else ""
        raise DataError(f"No category in '{root}' is done, so there is nothing to report.{why}")
    return Runs(root, records, metrics, failed)
