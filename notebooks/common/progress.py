"""Progress of fmcore's generators in a notebook, on one line that is replaced."""

import time
from collections.abc import Iterable
from typing import Any

from IPython.display import clear_output


def show_progress(records: Iterable[Any], *, every: float = 2.0) -> Any:
    """Run a generator of records to its end, print where it is every few seconds, and return the last record.
    Notes of records are printed as they come, and stay above the progress."""
    notes, last, shown, started = "", None, time.monotonic(), time.monotonic()
    for last in records:
        note = getattr(last, "note", "")
        notes += f"{note}\n" if note else ""
        if note or time.monotonic() - shown >= every:
            shown = time.monotonic()
            clear_output(wait=True)
            print(notes + _describe(last), flush=True)
    clear_output(wait=True)
    print(f"{notes}{_describe(last)}, {time.monotonic() - started:.1f} s", flush=True)
    return last


def _describe(record: Any) -> str:
    what = getattr(record, "stage", None) or getattr(record, "category", None) or "done"
    text = what if what == "finished" else f"{what} {record.done}/{record.total}"
    if train := getattr(record, "train", None):
        text += f", loss {train.loss:.3f}, {train.images_per_second:.0f} images/s"
    return text
