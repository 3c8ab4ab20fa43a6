"""``evaluate``: the figures of a model on a test set; ``benchmark``: methods on the same data with the same budget."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from fmcore.cli.console import notes, watch
from fmcore.cli.options import OF_MODEL, Category, Device, Given, check_device, check_writable, with_settings
from fmcore.detector.loading import load_model
from fmcore.evaluation import benchmark as bench
from fmcore.evaluation import evaluate as evaluation
from fmcore.evaluation.benchmark_table import make_table, markdown
from fmcore.evaluation.metrics import TITLES
from fmcore.mismatch import HeatSettings, PathSettings


@with_settings(options=evaluation.EvaluateSettings, paths=PathSettings, heat=HeatSettings, defaults=OF_MODEL)
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
    """Every figure of a model on a test set, with 95 % intervals over images.

    Example: python -m fmcore evaluate models/parts parts --json out/parts.json
    """
    loaded = load_model(model, check_device(device))
    paths, heat = loaded.info.paths.replace(**paths), loaded.info.heat.replace(**heat)
    settings = evaluation.EvaluateSettings.parse(**options, paths=paths, heat=heat)
    sets, results = evaluation.test_categories(data, loaded, category), {}
    check_writable(json_file)
    for name, items in sets.items():
        for record in watch(evaluation.evaluate(loaded, items, settings.replace(category=name)), name):
            results[name] = record.result
        _print(results[name])
    result = next(iter(results.values())) if len(results) == 1 else evaluation.mean_of(results)
    if len(results) > 1:
        _print(result)
    if json_file is not None:
        json_file.parent.mkdir(parents=True, exist_ok=True)
        json_file.write_text(json.dumps(result, indent=1), encoding="utf-8")
    raise typer.Exit(1 if any(r["unreadable"] for r in results.values()) else 0)


def _print(result: dict) -> None:
    shown = {name: "n/a" if result[name] is None else f"{result[name]:.4f}" for name in TITLES}
    print(
        f"{result['category']}: image AUROC {shown['image_auroc']}, pixel AUROC {shown['pixel_auroc']} "
        f"({result['n_good']} good, {result['n_defective']} defective, {result['seconds_per_image']:.3f} s per image)"
    )
    for name, title in TITLES.items():
        interval = result["intervals"].get(name)
        print(f"  {title:<14}{shown[name]}" + ("" if interval is None else "   {:.4f} to {:.4f}".format(*interval)))
    for reason in result.get("undefined", ()):
        notes.print(reason)
    for item in result.get("unreadable", ()):
        notes.print(f"Left out: {item['reason']}")


@with_settings(options=bench.BenchmarkSettings, basic=("methods", "seeds", "minutes", "steps"))
def benchmark(
    data: Annotated[list[Path], typer.Argument(help="MVTec-layout categories, or folders of them.")],
    out: Annotated[Path, typer.Option(help="Folder of results; what is finished there is not run again.")],
    options: Given,
    device: Device = "auto",
) -> None:
    """Compare methods on test sets, with one budget for all; other settings are fixed per method.

    Example: python -m fmcore benchmark parts --out out/benchmark --methods mismatch:unet,nearest:encoder --seeds 0,1
    """
    settings, categories = bench.BenchmarkSettings.parse(**options), bench.find_categories(data)
    check_writable(out, folder=True)
    found = ", ".join(f"{c.name}: {len(c.good)} good, {len(c.items)} test images" for c in categories)
    notes.print(f"Found {found}.")
    remedy, results = f"Repeat the same command to go on from here ('{out}').", []
    try:
        records = bench.benchmark(categories, settings, out, device=check_device(device))
        for record in watch(records, lambda r: (f"{r.category} {r.method} seed {r.seed}", f": {r.stage}"), remedy):
            results += [] if record.result is None else [record.result]
    finally:
        print(table := markdown(make_table(results)))
    (out / "table.md").write_text(table + "\n", encoding="utf-8", errors="backslashreplace")
    unreadable = dict.fromkeys(item["reason"] for result in results for item in result["unreadable"])
    for reason in unreadable:
        notes.print(f"Left out: {reason}")
    raise typer.Exit(1 if unreadable else 0)
