"""``evaluate``: the figures of a model on a test set."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from fmcore.cli.console import notes, progress_bar
from fmcore.cli.options import Category, Device, Given, check_device, with_settings
from fmcore.detector.model import load_model
from fmcore.evaluation.evaluate import EvaluateSettings, mean_of, test_categories
from fmcore.evaluation.evaluate import evaluate as run_evaluate
from fmcore.evaluation.metrics import TITLES
from fmcore.mismatch.mismatch import HeatSettings, PathSettings


@with_settings(
    options=EvaluateSettings, paths=PathSettings, heat=HeatSettings, of_model=("paths", "heat"), leave_out=("category",)
)
def evaluate(
    model: Annotated[Path, typer.Argument(help="Model folder.")],
    data: Annotated[Path, typer.Argument(help="MVTec layout or VisA; one category or all.")],
    options: Given,
    paths: Given,
    heat: Given,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures here.")] = None,
    category: Category = None,
    device: Device = "auto",
) -> None:
    """Every figure of a model on a test set, with 95 % intervals over images."""
    loaded = load_model(model, check_device(device))
    settings = EvaluateSettings.parse(**options, paths=loaded.paths(**paths), heat=loaded.info.heat.replace(**heat))
    results = {}
    for name, items in test_categories(data, loaded, category).items():
        with progress_bar() as progress:
            task = progress.add_task(name, total=len(items))
            for record in run_evaluate(loaded, items, settings.replace(category=name)):
                progress.update(task, completed=record.done)
        results[name] = record.result
        _print_result(record.result)
    result = next(iter(results.values())) if len(results) == 1 else mean_of(results)
    if len(results) > 1:
        _print_result(result)
    if json_file is not None:
        json_file.parent.mkdir(parents=True, exist_ok=True)
        json_file.write_text(json.dumps(result, indent=1))
    raise typer.Exit(1 if any(r["unreadable"] for r in results.values()) else 0)


def _print_result(result: dict) -> None:
    def figure(value: float | None) -> str:
        return "n/a" if value is None else f"{value:.4f}"

    print(
        f"{result['category']}: image AUROC {figure(result['image_auroc'])}, "
        f"pixel AUROC {figure(result['pixel_auroc'])} ({result['n_good']} good, {result['n_defective']} defective, "
        f"{result['seconds_per_image']:.3f} s per image)"
    )
    for name, title in TITLES.items():
        interval = result["intervals"].get(name)
        between = "" if interval is None else f"   {interval[0]:.4f} to {interval[1]:.4f}"
        print(f"  {title:<14}{figure(result[name])}{between}")
    for item in result.get("unreadable", ()):
        notes.print(f"Left out: {item['reason']}")
