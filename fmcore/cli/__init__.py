"""The command line: parse, call, print; nothing is computed here. Notes and progress go to stderr, results to stdout.

What a command needs is imported when it runs, so that help and ``--version`` come at once. Exit codes: 0 done; 1 done,
but some files could not be used; 2 bad input, nothing was done; 130 interrupted.
"""

from __future__ import annotations

import importlib
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator
from typing import Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from typer.core import TyperCommand, TyperGroup

import fmcore
from fmcore.errors import FlowMismatchingError

notes = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)
COMMANDS = {  # name: module, line of help
    "fit": ("data", "Make a detector from good images."),
    "score": ("model", "Score images: heat maps, and a table of scores."),
    "threshold": ("model", "Show a detector's threshold, or set another."),
    "export": ("model", "Write a detector as ONNX, to be used without this package."),
    "evaluate": ("model", "Every figure of a detector on labelled test images."),
    "check": ("data", "Say what a data folder holds, lacks and has damaged."),
    "benchmark": ("data", "Compare methods on the same test sets."),
}


class _Commands(TyperGroup):
    """Loads a command when it is run."""

    def resolve_command(self, ctx: typer.Context, args: list[str]):
        name, stand_in, rest = super().resolve_command(ctx, args)
        return name, stand_in and load(name), rest

    def invoke(self, ctx: typer.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:  # of which Typer would say nothing
            notes.print("Interrupted.")
            raise typer.Exit(130) from None


def load(name: str) -> TyperCommand:
    """The command of this name."""
    function = getattr(importlib.import_module(f"fmcore.cli.{COMMANDS[name][0]}"), name)
    single = typer.Typer(add_completion=False)
    single.command(name, help=function.__doc__)(function)
    return typer.main.get_command(single)


_HOME = re.compile("(^|(?<==))~[^/]*")  # which a shell leaves alone between quotes, and in --out=~/x
WHAT = """Flow Mismatching: find what is wrong with a picture when there are only good ones to learn from.

Begin with: python -m fmcore fit GOOD_IMAGES --out MODEL

and then:   python -m fmcore score MODEL NEW_IMAGES --out RESULTS"""
app = typer.Typer(cls=_Commands, add_completion=False, no_args_is_help=True, help=WHAT)
for _name, (_, _line) in COMMANDS.items():
    app.command(_name, help=_line)(lambda: None)  # stands in for the command in the list of all


def watch(records: Iterator[Any], label: Callable[[Any], tuple[str, str]] | str, remedy: str = "") -> Iterator[Any]:
    """Pass on records that have ``done`` and ``total``, print their notes, draw a bar per first text of ``label``.

    Ctrl-C and SIGTERM are only noted, so that no step is cut in half; a second one interrupts at once. The program then
    ends with ``remedy``."""
    wishes, tasks = [], {}

    def wish(number: int, frame: Any) -> None:
        if wishes:
            raise KeyboardInterrupt
        wishes.append(number)

    before = {number: signal.signal(number, wish) for number in (signal.SIGINT, signal.SIGTERM)}
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    try:
        with Progress(*columns, console=notes) as progress:
            for record in records:
                key, detail = (label, "") if isinstance(label, str) else label(record)
                if key not in tasks:
                    tasks[key] = progress.add_task(key)
                progress.update(tasks[key], completed=record.done, total=record.total, description=key + detail)
                if note := getattr(record, "note", ""):
                    notes.print(note)
                yield record
                if wishes:
                    records.close()
                    notes.print(f"Interrupted. {remedy}".strip())
                    raise typer.Exit(130)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@app.callback(invoke_without_command=True)
def _main(version: bool = typer.Option(False, "--version", help="Print the version and stop.", is_eager=True)) -> None:
    if version:
        print(f"fmcore {fmcore.__version__}")
        raise typer.Exit()


def main() -> None:
    """Run the command line; known errors become one sentence and exit code 2."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a file may have a name that the console cannot show
            stream.reconfigure(errors="backslashreplace")
    try:
        app([_HOME.sub(lambda found: os.path.expanduser(found[0]), argument) for argument in sys.argv[1:]])
    except FlowMismatchingError as error:
        notes.print(str(error), style="red")
    except OSError as error:  # a disk that is full, a folder that went away
        notes.print(f"'{error.filename or 'A file'}' cannot be used: {error.strerror or error}.", style="red")
    sys.exit(2)
