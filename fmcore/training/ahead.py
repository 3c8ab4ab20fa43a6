"""What the next steps need, made by threads while the present one runs."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

Made = TypeVar("Made")
MOST_WORKERS = 4


def workers_for(device: torch.device) -> int:
    """Threads to use: none where the step itself needs the processor, up to four where it waits for a GPU."""
    return 0 if device.type == "cpu" else min(MOST_WORKERS, os.cpu_count() or 1)


def made_ahead(make: Callable[[int], Made], steps: range, workers: int) -> Iterator[Made]:
    """``make(step)`` for each step, in order; the same whatever the number of threads, if ``make`` depends on its
    argument alone.

    Args:
        workers: threads; at most twice as many results wait. 0: each is made when it is asked for.

    Raises:
        Whatever ``make`` raises, when its step is asked for.
    """
    if not workers:
        yield from map(make, steps)
        return
    pool, waiting = ThreadPoolExecutor(workers), deque()
    try:
        for step in steps:
            waiting.append(pool.submit(make, step))
            if len(waiting) > 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:  # also where the caller stops early: what nobody asked for is not made
        pool.shutdown(cancel_futures=True)
