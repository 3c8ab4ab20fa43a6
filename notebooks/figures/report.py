"""What the runs of notebook 03 left, read back for the report: only what ran, and what failed and why."""

from __future__ import annotations

import json
from dataclasses import dataclass
from io import BytesIO
from itertools import zip_longest
from pathlib import Path
from typing import Any

from IPython.display import HTML, Markdown, display
from IPython.display import Image as Shown
from PIL import Image

from figures.tables import Table, metric_cell
from fmcore.errors import DataError
from fmcore.evaluation.metrics import TITLES
from runner.execute import read_record

GALLERY_BYTES = 1_200_000  # of all galleries of a report
COUNTS = ("n_good", "n_defective", "n_masks", "false_alarms", "misses", "seconds_per_image")


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
            outcome = f"failed. {self.failed[name]}" if name in self.failed else "done"
            said = f"{data['files']} files, {data['sha256']}" if "sha256" in data else None
            rows.append([name, outcome, said, f"{record['seconds']:.0f} s" if "seconds" in record else None])
        return Table(["category", "outcome", "data (sha256)", "time"], rows, "Runs in this report.", text_columns=3)

    def verdict(self, mean: dict | None) -> str:
        """What came out, in two sentences."""
        results = list(self.results.values())
        of = f"Over {len(results)} categories" if mean else f"For {next(iter(self.results))}"
        figures = [
            f"{TITLES[n]} is {metric_cell(mean or results[0], n).text} %" for n in ("image_auroc", "pixel_auroc")
        ]
        judged = [r for r in results if r["false_alarms"] is not None]
        if not judged:
            return f"{of} the {' and the '.join(figures)}. There is no threshold, so there are no verdicts."
        alarms, misses = (sum(r[key] for r in judged) for key in ("false_alarms", "misses"))
        n_good, n_defective = (sum(r[key] for r in judged) for key in ("n_good", "n_defective"))
        some = "" if len(judged) == len(results) else f", where there is one ({len(judged)} categories)"
        return (
            f"{of} the {' and the '.join(figures)}. At the threshold set on good training images{some}, {alarms} of "
            f"{n_good} good test images are false alarms, and {misses} of {n_defective} defective ones are missed."
        )

    def settings_table(self) -> Table:
        """What each category was scored with."""
        rows = []
        for name, result in self.results.items():
            s, limit = result["settings"], result.get("threshold")
            heat, paths, fit = s["heat"], s["paths"], s["training"].get("fit", {})
            rate = f"{limit['false_alarm_rate']:.0%} of new good images, from {limit['held_out']}" if limit else None
            drawn = f"K = {paths['paths'] or 'exact'}, T = {paths['times']}"
            aggregated = f"{heat['aggregator']}, r = {heat['exponent']:g}, blur {heat['smoothing']:g} cells"
            eye = {"none": "pixels"}.get(fit.get("encoder"), fit.get("encoder"))
            pixels = f"{s['pixel_size']} x {s['pixel_size']}"
            rows.append([name, s["kind"], eye, fit.get("seed"), drawn, aggregated, pixels, rate])
        head = [
            "category",
            "field",
            "view",
            "seed",
            "paths",
            "heat map",
            "pixels compared at",
            "threshold: false alarms",
        ]
        return Table(head, rows, "Settings.", text_columns=len(head))

    def kinds_table(self) -> Table:
        """Images above the threshold for each kind of defect."""
        rows = []
        for name, result in self.results.items():
            limit = (result.get("threshold") or {}).get("value")
            for kind in sorted({i["kind"] for i in result["images"]}, key=lambda k: (k != "good", k)):
                scores = [i["score"] for i in result["images"] if i["kind"] == kind]
                reach = f"{min(scores):.3g} to {max(scores):.3g}"
                above = None if limit is None else f"{sum(s > limit for s in scores)} of {len(scores)}"
                rows.append([name, kind, above, reach, None if limit is None else f"{limit:.3g}"])
        return Table(["category", "kind", "above threshold", "scores", "threshold"], rows, text_columns=2)

    @property
    def galleries(self) -> dict[str, Path]:
        """The pictures that the runs drew, by category."""
        return {n: path for n in self.metrics if (path := self.folder / n / "extremes.png").is_file()}

    def show_galleries(self) -> None:
        """Each under its category's name, as small as it takes for all of them to fit into a page."""
        for name, path in self.galleries.items():
            for width in (1200, 900, 700, 500):
                picture = Image.open(path).convert("RGB")
                picture.thumbnail((width, 4 * width))
                picture.save(file := BytesIO(), "JPEG", quality=80)
                if len(file.getvalue()) < GALLERY_BYTES / len(self.galleries):
                    break
            display(HTML(f"<h3>{name}</h3>"), Shown(file.getvalue(), alt=f"{name}: best and worst images with maps"))

    def thumbnails(self, most: int = 900_000) -> dict[str, str]:
        """What the runs left of their images by file, evenly from all, as many as fit into ``most`` bytes."""
        files = [path for name in self.metrics if (path := self.folder / name / "hover.json").is_file()]
        found, size = {}, 0
        for line in zip_longest(*(json.loads(path.read_text()).items() for path in files)):
            for file, picture in filter(None, line):
                size += len(picture)
                if size > most:
                    return found
                found[file] = picture
        return found

    def decompositions(self) -> dict[str, dict]:
        """Terms by category and group, for `figures.decomposition.terms_chart`."""
        parts = {name: m.get("decomposition", {}) for name, m in self.metrics.items()}
        return {f"{name}, {kind}": group for name, found in parts.items() for kind, group in found.items()}

    def numbers(self, mean: dict | None) -> dict[str, Any]:
        """All but the lists of images, for ``metrics.json``."""
        short = {n: {k: r.get(k) for k in (*TITLES, "intervals", *COUNTS)} for n, r in self.results.items()}
        whole = mean and {key: mean.get(key) for key in (*TITLES, "intervals")}
        return {"mean": whole, "categories": short, "failed": self.failed}


def other_runs(folder: str) -> Runs | None:
    """The runs of another report, or of notebook 03, to compare with; None without a folder."""
    inside = Path(folder) / "categories"
    return read_runs(inside if inside.is_dir() else folder) if folder else None


def section(title: str, text: str) -> None:
    """The head of a part of the report that is there only where its runs are."""
    display(Markdown(f"## {title}\n\n{text}"))


def read_runs(folder: str | Path, categories: str = "") -> Runs:
    """Read the runs of these categories (separated by commas), or of all that are in the folder.

    Raises:
        DataError: if not a single category is done.
    """
    root = Path(folder)
    if not root.is_dir():
        raise DataError(f"There is no folder of runs '{root}': leave 'runs' empty to make them.")
    names = [name.strip() for name in categories.split(",") if name.strip()]
    names = names or sorted(p.name for p in root.iterdir() if (p / "run.json").is_file())
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
