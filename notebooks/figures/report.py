"""What the runs of notebook 03 left, read back for the report: only what ran, and what failed and why."""

import json
from dataclasses import dataclass
from itertools import accumulate, zip_longest
from pathlib import Path
from typing import Any

from IPython.display import HTML, Markdown, display
from PIL import Image

from common import jpeg
from figures.tables import SUMMARY, Table, metric_cell
from fmcore.errors import DataError
from fmcore.evaluation.metrics import TITLES
from runner.execute import read_record

GALLERY = 1_600_000  # bytes of all galleries of a report
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
        judged = [r for r in results if r["false_alarms"] is not None]
        of = f"Over {len(results)} categories" if mean else f"For {next(iter(self.results))}"
        figures = (f"the {TITLES[n]} is {metric_cell(mean or results[0], n).text} %" for n in SUMMARY[:2])
        said = f"{of} {' and '.join(figures)}."
        if not judged:
            return f"{said} There is no threshold, so there are no verdicts."
        alarms, misses = (sum(r[key] for r in judged) for key in ("false_alarms", "misses"))
        n_good, n_defective = (sum(r[key] for r in judged) for key in ("n_good", "n_defective"))
        some = "" if len(judged) == len(results) else f", where there is one ({len(judged)} categories)"
        said += f" At the threshold set on good training images{some}, {alarms} of {n_good} good test images are false"
        return f"{said} alarms, and {misses} of {n_defective} defective ones are missed."

    def settings_table(self) -> Table:
        """What each category was scored with."""
        rows = []
        for name, result in self.results.items():
            s, limit = result["settings"], result.get("threshold")
            heat, paths, fit = s["heat"], s["paths"], s["training"].get("fit", {})
            drawn = f"K = {paths['paths'] or 'exact'}, T = {paths['times']}"
            aggregated = f"{heat['aggregator']}, r = {heat['exponent']:g}, blur {heat['smoothing']:g} cells"
            eye = {"none": "pixels"}.get(fit.get("encoder"), fit.get("encoder"))
            rate = f"{limit['false_alarm_rate']:.0%} of new good images, from {limit['held_out']}" if limit else None
            rows.append([name, s["kind"], eye, fit.get("seed"), drawn, aggregated, f"{s['pixel_size']} px", rate])
        head = "category, field, view, seed, paths, heat map, pixels compared at, threshold: false alarms".split(", ")
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

    def files(self, name: str) -> dict[str, Path]:
        """This file of the runs that left it, by category."""
        return {n: path for n in self.metrics if (path := self.folder / n / name).is_file()}

    def show_galleries(self) -> None:
        """Each under its category's name, as small as it takes for all of them to fit into a page."""
        galleries = self.files("extremes.png")
        for name, path in galleries.items():
            for width in (1200, 900, 700, 500):
                picture = Image.open(path)
                picture.thumbnail((width, 4 * width))
                if len(shown := jpeg(picture, quality=80)) < GALLERY / len(galleries):
                    break
            about = f"{name}: best and worst images with maps"
            display(HTML(f'<h3>{name}</h3><img alt="{about}" src="data:image/jpeg;base64,{shown}">'))

    def thumbnails(self, most: int = 900_000) -> dict[str, str]:
        """What the runs left of their images by file, evenly from all, as many as fit into ``most`` bytes."""
        left = (json.loads(path.read_text()).items() for path in self.files("hover.json").values())
        pictures = [picture for line in zip_longest(*left) for picture in line if picture]
        sizes = accumulate(len(picture) for _, picture in pictures)
        return {file: picture for (file, picture), size in zip(pictures, sizes, strict=True) if size <= most}

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
    """The runs of these categories (separated by commas), or all in the folder; `DataError` if none of them is done."""
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
