"""Many small things at once: in order, a few ahead, errors where they belong, threads as they were."""

from __future__ import annotations

import threading

import pytest
import torch

from fmcore.parallel import AHEAD, in_parallel


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_results_come_in_order_from_two_threads_that_compute_alone(two_threads):
    meeting, seen = threading.Barrier(2, timeout=20), set()

    def work(number: int) -> int:
        meeting.wait()  # passes only where two are at work
        seen.add((threading.get_ident(), torch.get_num_threads()))
        return number**2

    for number, found in enumerate(in_parallel(work, range(20))):
        assert found == number**2 and torch.get_num_threads() == 2
    assert len(seen) == 2 and {threads for _, threads in seen} == {1}


def test_only_a_few_are_made_before_they_are_asked_for(two_threads):
    made = []
    results = in_parallel(made.append, iter(range(1000)))
    next(results)
    assert len(made) == 2 * AHEAD


def test_an_error_comes_out_and_leaves_the_threads_as_they_were(two_threads):
    with pytest.raises(ZeroDivisionError):
        list(in_parallel(lambda number: 1 // number, [1, 0]))
    assert torch.get_num_threads() == 2 and list(in_parallel(abs, [])) == []
