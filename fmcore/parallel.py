"""Work on many small things at once: a thread for each beats threads that share one and wait for each other."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

T, R = TypeVar("T"), TypeVar("R")
AHEAD = 4  # items per thread that are made before they are asked for


def in_parallel(function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """``function`` of each item, in order, on as many threads as torch has, each of which computes alone: a few items
    are in work or waiting at any time."""
    stream, threads = iter(items), torch.get_num_threads()
    with ThreadPoolExecutor(threads) as pool:
        while batch := list(itertools.islice(stream, AHEAD * threads)):
            torch.set_num_threads(1)
            try:
                found = list(pool.map(function, batch))
            finally:
                torch.set_num_threads(threads)
            yield from found
