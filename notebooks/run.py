"""Runs a notebook, over one category or many, and leaves one HTML file that opens offline.
Exit codes: 0 done; 1 something failed, the rest is done; 2 bad input, nothing was done; 130 interrupted."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[1])]

from fmcore.errors import FlowMismatchingError, SettingsError  # noqa: E402

notes = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)
app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
EPILOG = """Several machines: 'dask scheduler', 'dask worker ADDRESS' on each, then --scheduler ADDRESS. On SLURM,
dask_jobqueue.SLURMCluster starts the workers; see notebooks/README.md."""


@app.command(epilog=EPILOG, no_args_is_help=True)
def main(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME...", help="Notebooks by name or number, or 'all'.")
    ] = None,
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
    """Run a notebook with parameters and render it as one HTML file that opens offline. What is done with the same
    parameters, code and data is skipped, so that after a crash the same command goes on."""
    from fmcore.cli.options import check_writable
    from runner.book import all_notebooks, find_notebook

    together = list(names or []) == ["all"]
    books = [book for book in all_notebooks() if together and book.name[0].isdigit()]
    books = books or [find_notebook(name) for name in names or []]
    if show:
        return _list(books or all_notebooks())
    from runner.execute import page_of
    from runner.page import write_index
    from runner.plan import Request, plan, run

    if not books:
        raise SettingsError("Give the name or number of a notebook, or 'all'; --list shows them.")
    if out is None or (out.exists() and not out.is_dir()):
        raise SettingsError((f"'{out}' is a file: give" if out else "Give") + " a folder for the results with --out.")
    check_writable(out, folder=True)
    given = dict(text.partition("=")[::2] for text in parameters or []) | ({"data": data} if data else {})
    wanted = tuple(filter(None, (name.strip() for name in categories.split(","))))
    options = {"workers": workers or _default_workers(), "scheduler": scheduler, "force": force}
    failed, pages = False, {}
    with notes.status("checking") as status:
        plans = []
        for book in books:
            folder = out.resolve() if len(books) == 1 else out.resolve() / book.name
            # Of 'all', each takes what it knows; what none knows is refused by the first.
            known = {k for b in books if together for k in b.parameters}
            mine = {k: v for k, v in given.items() if k in book.parameters or k not in known}
            request = Request(book, folder, mine, wanted if book.per_category or not together else (), lenient)
            plans.append(plan(request, lambda name, r: status.update(f"checking {name}, {r.done} of {r.total}")))
        for sentence in dict.fromkeys(s for laid in plans for s in laid.skipped_files):
            notes.print(sentence)
        for laid in plans:
            many, title = len(laid.jobs) > 1, laid.request.notebook.title
            status.update(laid.request.notebook.name)
            for job, record in run(laid, **options, echo=_echo if many else lambda _, line: _echo("", line)):
                failed |= record["status"] == "failed"
                notes.print(f"{job.label}: {_outcome(record)}")
                alone = laid.summary is None and many
                pages[title] = laid.request.out / "*" / f"{job.name}.html" if alone else page_of(job)
    for page in [write_index(out.resolve(), pages)] if together else pages.values():
        notes.print(f"Open '{os.path.relpath(page) if page.is_relative_to(Path.cwd()) else page}'.")
    raise typer.Exit(1 if failed else 0)


def cli(arguments: list[str] | None = None) -> None:
    """Run the command line; known errors become one sentence and exit code 2."""
    try:
        app(_join_pairs(sys.argv[1:] if arguments is None else arguments))
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
        joined.append(rest.pop(0))
        if joined[-1] == "-p" and rest and "=" not in rest[0]:
            key = rest.pop(0)
            if not key or not rest:
                raise SettingsError(f"Parameter '{key}' has no name or no value: write -p KEY VALUE.")
            joined.append(f"{key}={rest.pop(0)}")
    return joined


def _default_workers() -> int:
    import torch

    from runner.provenance import cores

    # Processes would share one accelerator's memory, which they are not told of.
    return max(1, torch.cuda.device_count()) if torch.cuda.is_available() else cores()


def _echo(label: str, line: str) -> None:
    notes.print(f"{label} | {line}" if label else line, style="dim")


def _outcome(record: dict) -> str:
    if record["status"] == "failed" or record.get("skipped"):
        return f"failed. {record['error']}" if record["status"] == "failed" else "done before, kept"
    again = f", kernel started at attempt {record['attempts']}" if record["attempts"] > 1 else ""
    return f"done in {record['seconds']:.0f} s{again}"


def _list(books: list) -> None:
    for book in books:
        print(f"{book.name}: {book.title}")
        for p in book.parameters.values():
            print(f"  {p.name:16} {p.type_name:12} {p.default!r:28} {p.help}")


if __name__ == "__main__":
    cli()
