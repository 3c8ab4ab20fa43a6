"""``check``: what a data folder holds, lacks and has damaged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from fmcore.cli.console import progress_bar
from fmcore.data.check import CheckReport
from fmcore.data.check import check as run_check

LISTED = 20  # lines printed per list; --json holds all


def check(
    data: Annotated[Path, typer.Argument(help="Flat folder, MVTec layout or VisA; one category or all.")],
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the whole report here.")] = None,
) -> None:
    """Say what a data folder holds, what is missing and what is damaged (exit code 1)."""
    with progress_bar() as progress:
        task = progress.add_task("reading", total=None)
        for record in run_check(data):
            progress.update(task, completed=record.done, total=record.total)
    report = record.report
    _print(report)
    if json_file is not None:
        json_file.parent.mkdir(parents=True, exist_ok=True)
        json_file.write_text(json.dumps(report.as_json(), indent=1))
    raise typer.Exit(1 if report.damaged else 0)


def _print(report: CheckReport) -> None:
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
    if not report.damaged:
        print("Nothing is damaged.")
