"""The one function that travels to Dask workers. It imports the rest there, from the shared repository."""

from __future__ import annotations

from typing import Any

TOPIC = "notebook-output"


def run(root: str, job: dict[str, Any]) -> dict[str, Any]:
    """`nbtools.execute.execute` on a worker; lines of output go to the scheduler's topic `TOPIC`."""
    import sys

    from distributed import get_worker

    sys.path[:0] = [path for path in (root, f"{root}/notebooks") if path not in sys.path]
    from nbtools.execute import Job, execute

    return execute(Job(**job), lambda line: get_worker().log_event(TOPIC, (job["label"], line)))
