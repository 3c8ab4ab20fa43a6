"""What a detector is worth: metrics with intervals, evaluation of a model, sweeps, timings, and a benchmark."""

from typing import Any, NamedTuple


class Progress(NamedTuple):
    """What the generators of this package yield: ``done`` of ``total``; the last record carries the ``result``."""

    done: int
    total: int
    result: Any = None
