"""Results made ahead: in order, never far ahead, with the error of the step that has it, and no more after a stop."""

from __future__ import annotations

import threading
import time

import pytest
import torch

from fmcore.training.ahead import MOST_WORKERS, made_ahead, workers_for


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_results_come_in_order_however_long_each_takes(workers):
    def make(step: int) -> int:
        time.sleep(0.01 if step % 3 == 0 else 0)
        return step * step

    assert list(made_ahead(make, range(2, 20), workers)) == [step * step for step in range(2, 20)]
    assert list(made_ahead(make, range(5, 5), workers)) == []


def test_it_works_ahead_but_not_further_than_twice_its_threads():
    begun = []
    results = made_ahead(lambda step: begun.append(step) or step, range(100), 2)
    assert next(results) == 0
    deadline = time.monotonic() + 10
    while len(begun) < 5 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.05)
    assert sorted(begun) == [0, 1, 2, 3, 4]
    results.close()
    time.sleep(0.05)
    assert len(begun) == 5


def test_steps_run_at_the_same_time():
    both = threading.Barrier(2, timeout=10)  # breaks, and the test fails, unless two steps wait for each other
    assert len(list(made_ahead(lambda _: both.wait(), range(2), 2))) == 2


@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_comes_at_its_own_step(workers):
    def make(step: int) -> int:
        if step == 3:
            raise ValueError("step 3")
        return step

    results, got = made_ahead(make, range(10), workers), []
    with pytest.raises(ValueError, match="step 3"):
        for result in results:
            got.append(result)
    assert got == [0, 1, 2]


def test_threads_only_beside_a_gpu():
    assert workers_for(torch.device("cpu")) == 0
    assert 1 <= workers_for(torch.device("cuda")) <= MOST_WORKERS
