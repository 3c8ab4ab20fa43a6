"""One notebook run by papermill into one folder: skipped if done, retried if the kernel did not start, kept if failed.
The folder then holds the executed notebook, its HTML, ``metrics.json``, figures, ``run.log`` and ``run.json``. The
last is written at the very end and says what the run rests on; a run that was killed has none and is done again."""

import json
import logging
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

import nbformat
import papermill
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import NoSuchKernel
from nbclient.exceptions import CellExecutionError, DeadKernelError
from papermill.exceptions import PapermillExecutionError
from traitlets.config import Config

from common import ROOT, write_text
from fmcore.errors import FlowMismatchingError
from runner.page import write_html
from runner.provenance import folder_fingerprint, machine, versions

START_ATTEMPTS = 4
KERNELSPEC = {"name": "python3", "display_name": "Python 3", "language": "python"}
# Parameters are checked before, and how a run ended is said by its record.
logging.getLogger("papermill").setLevel(logging.CRITICAL)
# A kernel or cell that is stopped with the run leaves nbclient's task behind, of which asyncio would print a traceback.
# Of what goes wrong during a run papermill tells.
_TOLD = (DeadKernelError, CellExecutionError)
logging.getLogger("asyncio").addFilter(lambda record: not (record.exc_info and isinstance(record.exc_info[1], _TOLD)))
_one_at_a_time = threading.Lock()  # papermill changes the working directory of the whole process


@dataclass(frozen=True)
class Job:
    """One notebook to run. ``key`` holds hashes of all that the result depends on besides the parameters: where both
    are equal, a finished run is kept. ``notes`` say what was left out and are shown in the page."""

    notebook: str
    label: str
    out: str
    parameters: dict[str, Any]
    key: dict[str, Any]
    notes: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        return Path(self.notebook).stem

    def record(self, **values: Any) -> dict[str, Any]:
        """What ``run.json`` says of this job, and what it adds."""
        asked = {"notebook": self.name, "label": self.label, "parameters": self.parameters, "key": self.key}
        return asked | {"seed": self.parameters.get("seed"), "notes": self.notes, "versions": versions()} | values


def finished(job: Job) -> dict[str, Any] | None:
    """The record of an earlier run with the same key and parameters, if all it wrote is still there."""
    out, record = Path(job.out), read_record(Path(job.out))
    same = record.get("status") == "done" and (record.get("parameters"), record.get("key")) == (job.parameters, job.key)
    return record if same and all((out / f).is_file() for f in ("metrics.json", *_files(job))) else None


def page_of(job: Job) -> Path:
    """The HTML of a job, done or failed."""
    failed = Path(job.out) / f"{job.name}.failed.html"
    return failed if failed.is_file() else Path(job.out) / f"{job.name}.html"


def read_record(out: Path) -> dict[str, Any]:
    """``run.json`` of a folder, empty if there is none or it is damaged."""
    try:
        return json.loads((out / "run.json").read_text())
    except (OSError, ValueError):
        return {}


def execute(job: Job, echo: Callable[[str], None] | None = None) -> dict[str, Any]:
    """Run a job, or skip it; returns its record, with ``skipped`` true in the latter case. Whatever the notebook raises
    becomes ``status = "failed"`` and one sentence under ``error``."""
    if record := finished(job):
        return record | {"skipped": True}
    (out := Path(job.out)).mkdir(parents=True, exist_ok=True)
    for stale in ("run.json", "metrics.json"):
        (out / stale).unlink(missing_ok=True)
    record = job.record(machine=machine(), started=datetime.now(UTC).isoformat(timespec="seconds"))
    started, partial = time.perf_counter(), out / f".{job.name}.{os.getpid()}.ipynb"
    with _one_at_a_time, (out / "run.log").open("w", buffering=1) as log:
        record["attempts"], error = _run_with_retries(job, partial, Tee(log, echo))
    record |= {"seconds": round(time.perf_counter() - started, 1), "data": _data(job)}
    record |= {"status": "failed" if error else "done", "error": error}
    _keep(job, partial, record)
    return _write(job, record)


def fail(job: Job, error: str) -> dict[str, Any]:
    """The record of a job that could not even be run, written where its result would be."""
    Path(job.out).mkdir(parents=True, exist_ok=True)
    return _write(job, job.record(status="failed", error=error))


def _write(job: Job, record: dict[str, Any]) -> dict[str, Any]:
    write_text(Path(job.out) / "run.json", json.dumps(record, indent=1))
    return record


def _run_with_retries(job: Job, partial: Path, stream: "Tee") -> tuple[int, str | None]:
    """Number of attempts, and the sentence of an error or None."""
    options = {"parameters": job.parameters, "kernel_name": KERNELSPEC["name"], "cwd": str(ROOT), "start_timeout": 120}
    options |= {"progress_bar": False, "stdout_file": stream, "stderr_file": stream}
    for attempt in range(1, START_ATTEMPTS + 1):
        try:
            with local_sockets() as config:
                own = {"config": config, "kernel_manager_class": kernel_manager(stream.log)}
                papermill.execute_notebook(_prepared(job), str(partial), **own, **options)
            return attempt, None
        except PapermillExecutionError as error:
            text = _one_line(error.evalue)
            # Our own errors are sentences already; any other is named with its cell.
            ours = error.ename in {c.__name__ for c in (FlowMismatchingError, *FlowMismatchingError.__subclasses__())}
            return attempt, text if ours else f"{error.ename} in code cell {error.exec_count}: {text or 'no message'}"
        except NoSuchKernel:
            return attempt, "There is no Jupyter kernel 'python3' here: pip install -r notebooks/requirements.txt."
        # The kernel process, its ports or its sockets: ZMQError, RuntimeError, OSError, DeadKernelError.
        except Exception as error:
            why, cell = _one_line(error).rstrip(".") or type(error).__name__, _last_cell(partial)
            if cell and isinstance(error, DeadKernelError):
                why = "most often for lack of memory: use smaller settings"
                return attempt, f"The kernel died in code cell {cell}, {why}."
            if cell:
                return attempt, f"The run broke off in code cell {cell}: {why}."
            if attempt == START_ATTEMPTS:
                return attempt, f"The Jupyter kernel did not start in {attempt} attempts: {why}."
            stream.write(f"The kernel did not start ({why}): trying again.\n")
            time.sleep(0.5 * 2**attempt)
    raise AssertionError("unreachable")


def _prepared(job: Job) -> nbformat.NotebookNode:
    node = nbformat.read(job.notebook, as_version=4)
    node.metadata["kernelspec"] = dict(KERNELSPEC)
    return node


def _last_cell(partial: Path) -> int | None:
    """Execution count of the last cell that began, None if none did."""
    try:
        cells = nbformat.read(partial, as_version=4).cells
    except (OSError, ValueError):
        return None
    begun = [c for c in cells if c.get("metadata", {}).get("papermill", {}).get("start_time")]
    return sum(c.cell_type == "code" for c in begun) or None


def _one_line(said: object) -> str:
    return " ".join(str(said).split())


def _data(job: Job) -> dict[str, Any] | None:
    if job.parameters.get("data"):
        return {"folder": job.parameters["data"], **(job.key.get("data") or {})}
    rendered = Path(job.out) / "data"
    return {"folder": "rendered by fmcore.data.rendered", **folder_fingerprint(rendered)} if rendered.is_dir() else None


def _files(job: Job, ending: str = "") -> list[str]:
    return [f"{job.name}{ending}.ipynb", f"{job.name}{ending}.html"]


def _keep(job: Job, partial: Path, record: dict[str, Any]) -> None:
    """Put the executed notebook and its HTML in place; a failed one gets its error on top and a name of its own."""
    out, ending = Path(job.out), ".failed" if record["status"] == "failed" else ""
    if not partial.is_file():  # no kernel ever started
        nbformat.write(_prepared(job), partial)
    node = nbformat.read(partial, as_version=4)
    record["cells"] = [round(c.metadata.get("papermill", {}).get("duration") or 0.0, 2) for c in node.cells]
    if ending:
        kept = [c for c in node.cells if "papermill-error-cell-tag" not in c.metadata.get("tags", [])]
        node.cells = [nbformat.v4.new_markdown_cell(f"**This run failed.** {record['error']}"), *kept]
    node.metadata["fmcore_run"] = {k: v for k, v in record.items() if k != "cells"}
    nbformat.write(node, partial)
    for stale in _files(job) + _files(job, ".failed"):
        (out / stale).unlink(missing_ok=True)
    notebook, page = _files(job, ending)
    os.replace(partial, out / notebook)
    write_html(node, out / page, record)


@contextmanager
def local_sockets() -> Iterator[Config]:
    """Kernel settings: where the system has them, sockets in a folder of their own instead of TCP ports, which
    parallel runs take from each other and other users of a machine can connect to."""
    if os.name != "posix":
        yield Config()
        return
    with tempfile.TemporaryDirectory(prefix="kernel-") as folder:
        yield Config({"KernelManager": {"transport": "ipc", "connection_file": f"{folder}/kernel.json"}})


def kernel_manager(log: TextIO) -> type[AsyncKernelManager]:
    """A kernel's own messages (not those of its cells) go to the log: nobody asked for them on the screen."""

    class LoggedKernelManager(AsyncKernelManager):
        async def start_kernel(self, **options: Any) -> None:
            await super().start_kernel(stdout=log.fileno(), stderr=log.fileno(), **options)

    return LoggedKernelManager


class Tee:
    """A text file for papermill that also hands on whole lines."""

    def __init__(self, log: TextIO, echo: Callable[[str], None] | None):
        self.log, self.echo, self.rest = log, echo, ""

    def write(self, text: str) -> None:
        self.log.write(text)
        *lines, self.rest = (self.rest + text).replace("\r", "\n").split("\n")
        for line in lines:
            if self.echo and line.strip():
                self.echo(line)

    def flush(self) -> None:
        self.log.flush()
