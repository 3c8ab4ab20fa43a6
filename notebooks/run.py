"""Runs a notebook, over one category or many, and leaves one HTML file that opens offline.

Exit codes: 0 done; 1 something failed, the rest is done; 2 bad input, nothing was done; 130 interrupted.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[1])]

from fmcore.errors import FlowMismatchingError, SettingsError  # noqa: E402

notes = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)
app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)

EPILOG = """Several machines: 'dask scheduler', 'dask worker ADDRESS' on each, then --scheduler ADDRESS. On SLURM,
dask_jobqueue.SLURMCluster starts the workers; see notebooks/README.md."""


@app.command(epilog=EPILOG, no_args_is_help=True)
def main(
    names: Annotated[list[str] | None, typer.Argument(metavar="NAME...", help="Notebook, by name or number.")] = None,
    parameters: Annotated[
        list[str] | None, typer.Option("-p", metavar="KEY VALUE", help="Parameter of the notebook; may be repeated.")
    ] = None,
    data: Annotated[str, typer.Option(help="Data folder, same as -p data DIR.")] = "",
    out: Annotated[Path | None, typer.Option(help="Folder for results.")] = None,
    categories: Annotated[str, typer.Option(help="Only these, separated by commas.")] = "",
    workers: Annotated[int | None, typer.Option(min=1, help="Local processes. [default: one per core]")] = None,
    scheduler: Annotated[str | None, typer.Option(help="Address of a Dask scheduler, instead of workers.")] = None,
    lenient: Annotated[bool, typer.Option("--lenient", help="Leave out files that can't be read.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Run again what is done already.")] = False,
    show: Annotated[bool, typer.Option("--list", help="Show the notebooks and their parameters.")] = False,
) -> None:
    """Run a notebook with parameters and render it as one HTML file that opens offline.

    What is done with the same parameters, code and data is skipped, so that after a crash the same command goes on.
    """
    from nbtools.catalogue import all_notebooks, find_notebook

    if show:
        _list(all_notebooks() if not names else [find_notebook(name) for name in names])
        return
    from nbtools.execute import page_of
    from nbtools.runner import Request, plan, run

    if not names:
        raise SettingsError("Give the name or number of a notebook; --list shows them.")
    if out is None:
        raise SettingsError("Give a folder for the results with --out.")
    if out.exists() and not out.is_dir():
        raise SettingsError(f"'{out}' is a file: give a folder with --out.")
    given = _pairs(parameters or []) | ({"data": data} if data else {})
    wanted = tuple(filter(None, (name.strip() for name in categories.split(","))))
    books = [find_notebook(name) for name in names]
    folders = [out.resolve() if len(books) == 1 else out.resolve() / book.name for book in books]
    failed, pages = [], []
    with _progress() as progress:
        checking = progress.add_task("checking", total=None, visible=bool(given.get("data")))

        def show_check(record) -> None:
            progress.update(
                checking, description=f"checking {record.category}", completed=record.done, total=record.total
            )

        plans = [
            plan(Request(book, folder, given, wanted, lenient), show_check)
            for book, folder in zip(books, folders, strict=True)
        ]
        progress.update(checking, visible=False)
        for sentence in dict.fromkeys(s for laid in plans for s in laid.skipped_files):
            notes.print(sentence)
        jobs = sum(len(laid.jobs) + (laid.summary is not None) for laid in plans)
        task = progress.add_task("notebooks", total=jobs)
        for laid in plans:
            many = len(laid.jobs) > 1

            def echo(label: str, line: str, many: bool = many) -> None:
                notes.print(f"{label} | {line}" if many else line, style="dim")

            options = {"workers": workers or _default_workers(), "scheduler": scheduler, "force": force}
            for job, record in run(laid, **options, echo=echo):
                progress.advance(task)
                failed += [job.label] if record["status"] == "failed" else []
                notes.print(f"{job.label}: {_outcome(record)}")
                if job not in laid.jobs or (laid.summary is None and not many):
                    pages.append(_short(page_of(job)))
            if many and laid.summary is None:
                pages.append(f"{_short(laid.request.out)}/*/{laid.jobs[0].name}.html")
    for page in pages:
        notes.print(f"Open '{page}'.")
    raise typer.Exit(1 if failed else 0)


def cli(arguments: list[str] | None = None) -> None:
    """Run the command line; known errors become one sentence and exit code 2."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        app(_join_pairs(arguments))
    except FlowMismatchingError as error:
        notes.print(str(error), style="red")
        sys.exit(2)
    except (KeyboardInterrupt, SystemExit) as stopped:
        # typer turns Ctrl-C into this exit code, without a word.
        if isinstance(stopped, SystemExit) and stopped.code != 130:
            raise
        notes.print("Interrupted. The same command goes on from here.")
        sys.exit(130)


def _join_pairs(arguments: list[str]) -> list[str]:
    """``-p key value`` as ``-p key=value``: typer has no option that takes two words and can be repeated."""
    joined, rest = [], list(arguments)
    while rest:
        word = rest.pop(0)
        joined.append(word)
        if word == "-p" and rest and "=" not in rest[0]:
            key = rest.pop(0)
            if not rest:
                raise SettingsError(f"Parameter '{key}' has no value: write -p {key} VALUE.")
            joined.append(f"{key}={rest.pop(0)}")
    return joined


def _pairs(parameters: list[str]) -> dict[str, str]:
    pairs = dict(text.partition("=")[::2] for text in parameters)
    if "" in pairs:
        raise SettingsError("A parameter without a name was given: write -p KEY VALUE.")
    return pairs


def _default_workers() -> int:
    import torch

    from nbtools.provenance import cores

    # Processes would share one accelerator's memory, which they are not told of.
    return max(1, torch.cuda.device_count()) if torch.cuda.is_available() else cores()


def _outcome(record: dict) -> str:
    if record["status"] == "failed":
        return f"failed. {record['error']}"
    if record.get("skipped"):
        return "done before, kept"
    again = f", kernel started at attempt {record['attempts']}" if record["attempts"] > 1 else ""
    return f"done in {record['seconds']:.0f} s{again}"


def _list(books: list) -> None:
    console = Console(width=max(100, Console().width), highlight=False, markup=False)
    for book in books:
        console.print(f"{book.name}: {book.title}", style="bold")
        table = Table(box=None, padding=(0, 2), show_header=False)
        for parameter in book.parameters.values():
            table.add_row("", parameter.name, parameter.type_name, repr(parameter.default), parameter.help)
        console.print(table)


def _progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=notes, transient=True)


def _short(path: Path) -> str:
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)


if __name__ == "__main__":
    cli()
