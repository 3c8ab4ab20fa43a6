"""``check``: what a data folder holds, lacks and has damaged; ``render``: the embedded data set, from code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from fmcore.cli.console import watch
from fmcore.cli.options import Given, check_writable, with_settings
from fmcore.data.check import check as run_check
from fmcore.data.rendered import RenderSettings, write_dataset

LISTED = 20  # lines printed per list; --json holds all


@with_settings()
def check(
    data: Annotated[Path, typer.Argument(help="Flat folder, MVTec layout or VisA; one category or all.")],
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the whole report here.")] = None,
) -> None:
    """Say what a data folder holds, what is missing and what is damaged (exit code 1).

    Example: python -m fmcore check parts
    """
    check_writable(json_file)
    report = list(watch(run_check(data), "reading"))[-1].report
    print(f"Found {report.layout}.")
    for name, part in report.as_json()["categories"].items():
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
    if json_file is not None:
        json_file.parent.mkdir(parents=True, exist_ok=True)
        json_file.write_text(json.dumps(report.as_json(), indent=1), encoding="utf-8")
    raise typer.Exit(1 if report.damaged else 0)


@with_settings(options=RenderSettings, basic=RenderSettings.model_fields)
def render(out: Annotated[Path, typer.Argument(help="Folder to write.")], options: Given) -> None:
    """Render the embedded data set in the MVTec layout: good images to train on, good and defective ones to test on.

    Example: python -m fmcore render out/data --train 60
    """
    settings = RenderSettings.parse(**options)
    check_writable(out, folder=True)
    list(watch(write_dataset(out, settings), lambda record: ("rendering", f" {record.category}")))
