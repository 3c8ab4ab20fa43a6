"""What commands print: notes and progress on stderr, results on stdout; and a Ctrl-C that waits for a step's end."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

notes = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)
notes.quiet = int(os.environ.get("LOCAL_RANK") or 0) > 0  # of several processes one speaks


def watch(
    records: Iterator[Any], label: Callable[[Any], tuple[str, str]] | str, remedy: str = "", agree: Callable = bool
) -> Iterator[Any]:
    """Pass on records that have ``done`` and ``total``, print their notes, draw a bar per first text of ``label``.

    Ctrl-C and SIGTERM are only noted, so that no step is cut in half; a second one interrupts at once. The program ends
    with ``remedy`` where ``agree``, which several processes may share, makes a decision of the wish."""
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
                if agree(bool(wishes)):
                    records.close()
                    notes.print(f"Interrupted. {remedy}".strip())
                    raise typer.Exit(130)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
