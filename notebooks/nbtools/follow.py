"""Showing progress of fmcore's generators in a notebook, on one line that is replaced."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from IPython.display import clear_output

Record = TypeVar("Record")


def follow(
    records: Iterable[Record],
    describe: Callable[[Record], str] | None = None,
    every: float = 2.0,
    *,
    notice: str = "",
) -> Record:
    """Run a generator of records to its end, print where it is every few seconds, and return the last record.

    Args:
        describe: text of a record; by default its stage, or category, and ``done/total``.
        notice: what is to be known from the start; stays above the progress.
    """
    describe = describe or _describe
    above = f"{notice}\n" if notice else ""
    print(above, end="", flush=True)
    last, shown, started = None, time.monotonic(), time.monotonic()
    for last in records:
        if time.monotonic() - shown >= every:
            shown = time.monotonic()
            clear_output(wait=True)
            print(above + describe(last), flush=True)
    clear_output(wait=True)
    print(f"{above}{describe(last)}, {time.monotonic() - started:.1f} s", flush=True)
    return last


def _describe(record: Any) -> str:
    what = getattr(record, "stage", None) or getattr(record, "category", None) or "done"
    text = what if what == "finished" else f"{what} {record.done}/{record.total}"
    if getattr(record, "train", None):
        text += f", loss {record.train.loss:.3f}, {record.train.images_per_second:.0f} images/s"
    return text
