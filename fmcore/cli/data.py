"""What works on data sets: ``check``, ``benchmark``, ``render``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fmcore.cli import notes, watch
from fmcore.cli.options import Device, Given, JsonFile, check_device, check_writable, save_json, with_settings
from fmcore.data.check import check as run_check
from fmcore.data.rendered import RenderSettings, write_dataset
from fmcore.evaluation import benchmark as bench

LISTED = 20  # lines printed per list; --json holds all


def check(
    data: Annotated[Path, typer.Argument(help="Flat folder, MVTec layout or VisA; one category or all.")],
    json_file: JsonFile = None,
) -> None:
    """Say what a data folder holds, what is missing and what is damaged (exit code 1).

    Layouts: flat; train/good, test/good, test/DEFECT, ground_truth/DEFECT/NAME_mask.png (MVTec AD, LOCO, BTAD); VisA;
    good or normal or ok beside bad or abnormal or defect and mask.

    Example: python -m fmcore check parts
    """
    check_writable(json_file)
    *_, record = watch(run_check(data), "reading")
    report, found = record.result, record.result.as_json()
    print(f"Found {report.layout}.")
    for name, part in found["categories"].items():
        defects = ", ".join(f"{kind} {number}" for kind, number in part["defects"].items())
        sizes = ", ".join(list(part["sizes"])[:3]) + (" ..." if len(part["sizes"]) > 3 else "")
        print(
            f"{name}: {part['train_good']} good to train on, {part['test_good']} good and {part['test_defective']} "
            f"defective to test on{f' ({defects})' if defects else ''}, {part['masks']} masks; "
            f"{sizes} {' and '.join(part['channels'])}".rstrip()
        )
    for title, lines in (("Damaged", report.damaged), ("Missing", report.missing), ("Note", report.notes)):
        for line in lines[:LISTED]:
            print(f"{title}: {line}")
        if len(lines) > LISTED:
            print(f"{title}: and {len(lines) - LISTED} more; --json FILE holds them all.")
    print(f"Fitting takes at most about {report.memory / 1e9:.1f} GB of memory at the defaults.")
    if not report.damaged:
        print("Nothing is damaged.")
    save_json(json_file, found)
    raise typer.Exit(1 if report.damaged else 0)


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
    found = [f"{name}: {len(good)} good, {len(items)} test images" for name, (good, items) in categories.items()]
    notes.print(f"Found {', '.join(found)}.")
    remedy, results = f"Repeat the same command to go on from here ('{out}').", []
    try:
        records = bench.benchmark(categories, settings, out, device=check_device(device))
        for record in watch(records, lambda r: (f"{r.category} {r.method} seed {r.seed}", f": {r.stage}"), remedy):
            results += [] if record.result is None else [record.result]
    finally:
        print(table := bench.markdown(bench.make_table(results)))
    (out / "table.md").write_text(table + "\n", encoding="utf-8", errors="backslashreplace")
    unreadable = dict.fromkeys(item["reason"] for result in results for item in result["unreadable"])
    for reason in unreadable:
        notes.print(f"Left out: {reason}")
    raise typer.Exit(1 if unreadable else 0)


@with_settings(options=RenderSettings, basic=RenderSettings.model_fields)
def render(out: Annotated[Path, typer.Argument(help="Folder to write.")], options: Given) -> None:
    """Render the embedded data set in the MVTec layout: good images to train on, good and defective ones to test on.

    Example: python -m fmcore render out/data --train 60
    """
    settings = RenderSettings.parse(**options)
    check_writable(out, folder=True)
    list(watch(write_dataset(out, settings), lambda record: ("rendering", f" {record.category}")))
