"""``benchmark``: several methods on the same data with the same budget, as a table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fmcore.cli.console import notes, progress_bar, stop_between_steps
from fmcore.cli.options import Given, check_folder, with_settings
from fmcore.errors import SettingsError
from fmcore.evaluation.benchmark import BenchmarkSettings, find_categories
from fmcore.evaluation.benchmark import benchmark as run_benchmark
from fmcore.evaluation.benchmark_table import make_table, markdown


@with_settings(options=BenchmarkSettings)
def benchmark(
    data: Annotated[list[Path], typer.Argument(help="MVTec-layout categories, or folders of them.")],
    out: Annotated[Path, typer.Option(help="Folder of results; what is finished there is not run again.")],
    options: Given,
    methods: Annotated[str | None, typer.Option(help="Comma-separated; default: all that train in minutes.")] = None,
    seeds: Annotated[str, typer.Option(help="Comma-separated.")] = "0",
) -> None:
    """Compare methods on test sets; settings are chosen without test labels."""
    check_folder(out)
    chosen = {} if methods is None else {"methods": tuple(part.strip() for part in methods.split(",") if part.strip())}
    settings = BenchmarkSettings.parse(**options, **chosen, seeds=_numbers(seeds))
    categories = find_categories(data)
    found = ", ".join(f"{c.name}: {len(c.good)} good, {len(c.items)} test images" for c in categories)
    notes.print(f"Found {found}.")
    results, stopped = [], False
    with progress_bar() as progress, stop_between_steps() as stopping:
        tasks = {}
        for record in run_benchmark(categories, settings, out):
            if record.result is not None:
                results.append(record.result)
            label = f"{record.category} {record.method} seed {record.seed}"
            task = tasks.setdefault(label, None)
            if task is None:
                task = tasks[label] = progress.add_task(label, total=record.total)
            progress.update(
                task, completed=record.done, total=max(1, record.total), description=f"{label}: {record.stage}"
            )
            if stopping():
                stopped = True
                break
    table = markdown(make_table(results))
    print(table)
    if stopped:
        notes.print(f"Interrupted. Repeat the same command to go on from here ('{out}').")
        raise typer.Exit(130)
    (out / "table.md").write_text(table + "\n")
    unreadable = [item["reason"] for result in results for item in result["unreadable"]]
    for reason in dict.fromkeys(unreadable):
        notes.print(f"Left out: {reason}")
    raise typer.Exit(1 if unreadable else 0)


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(",") if part.strip())
    except ValueError:
        raise SettingsError(f"Seeds '{text}' are not usable: give whole numbers with commas, such as 0,1,2.") from None
