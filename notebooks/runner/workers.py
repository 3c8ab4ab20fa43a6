"""Jobs over several processes or machines with Dask. Results are on disk, so nothing that is done can be lost.
A worker that dies takes only its running notebook with it; Dask gives that to another worker, a few times."""

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from typing import Any

from common import ROOT
from fmcore.errors import DataError
from runner.execute import Job, execute, fail
from runner.provenance import cores

DEATHS = 3  # workers that may die over one notebook before it counts as failed
WAIT = 30.0  # seconds for the first worker of an existing scheduler
TOPIC = "notebook-output"
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def run_jobs(
    jobs: list[Job], *, workers: int, scheduler: str | None, echo: Callable[[str, str], None]
) -> Iterator[tuple[Job, dict[str, Any]]]:
    """Run jobs and yield each with its record as it ends; ``echo`` gets a job's label and a line of its output.

    ``workers`` are local processes: 1 runs the jobs one after the other, without Dask. A ``scheduler`` is used instead,
    by its address: its workers must see this repository, its Python environment, the data and the output folder under
    the same paths. Raises `DataError` if it can't be reached or has no worker."""
    if scheduler is None and (workers == 1 or len(jobs) <= 1):
        for job in jobs:
            yield job, execute(job, lambda line, job=job: echo(job.label, line))
        return
    from distributed import as_completed

    # A function within a function travels as source, so that workers started anywhere need no path to this one.
    def work(root: str, topic: str, job: dict[str, Any]) -> dict[str, Any]:
        import sys

        from distributed import get_worker

        sys.path[:0] = [path for path in (root, f"{root}/notebooks") if path not in sys.path]
        from runner.execute import Job, execute

        return execute(Job(**job), lambda line: get_worker().log_event(topic, (job["label"], line)))

    with _client(min(workers, len(jobs)), scheduler) as client:
        client.subscribe_topic(TOPIC, lambda event: echo(*event[1]))
        futures = {client.submit(work, str(ROOT), TOPIC, asdict(job), pure=False): job for job in jobs}
        for future in as_completed(futures):
            job = futures[future]
            yield job, future.result() if future.status == "finished" else fail(job, _why(future.exception()))


def _why(error: BaseException) -> str:
    if type(error).__name__ == "KilledWorker":
        died = f"{DEATHS} worker{'s' * (DEATHS > 1)} died while running it"
        return f"{died}, most often for lack of memory: repeat with --workers 1; what is finished is kept."
    return f"The worker could not run it: {' '.join(str(error).split()) or type(error).__name__}."


@contextmanager
def _client(workers: int, scheduler: str | None) -> Iterator[Any]:
    import dask
    from distributed import Client, LocalCluster

    quiet = {"distributed.scheduler.allowed-failures": DEATHS - 1, "distributed.logging.distributed": "error"}
    with ExitStack() as stack:
        stack.enter_context(dask.config.set(quiet))
        if scheduler is not None:
            said = f"No Dask scheduler answers at '{scheduler}': check the address, or leave it out."
            try:
                client = stack.enter_context(Client(scheduler, timeout=WAIT))
                said = f"The Dask scheduler at '{scheduler}' has no worker: start one with 'dask worker'."
                client.wait_for_workers(1, timeout=WAIT)
            except (OSError, TimeoutError, ValueError):
                raise DataError(said) from None
            yield client
            return
        threads = dict.fromkeys(THREADS, str(max(1, cores() // workers)))
        # The memory is the kernel's, not the worker's: Dask's limit would not see it.
        options = {"processes": True, "threads_per_worker": 1, "memory_limit": 0, "dashboard_address": None}
        cluster = LocalCluster(n_workers=workers, env=threads, silence_logs=logging.CRITICAL, **options)
        stack.enter_context(cluster)
        yield stack.enter_context(Client(cluster))
