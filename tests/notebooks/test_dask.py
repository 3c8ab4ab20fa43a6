"""Categories over Dask workers: a worker that is killed loses nothing that is done, and the rest completes."""

from __future__ import annotations

import json
import os
import signal

import pytest
from conftest import assert_one_sentence
from notebook_helpers import executions, start_runner, write_toy
from test_runner_resume import NAMES, data, wait_until

from fmcore.errors import DataError
from runner import workers
from runner.execute import Job

__all__ = ["data"]  # the fixture


def toy_jobs(book, out, names=NAMES) -> list[Job]:
    return [Job(str(book), n, str(out / n), {"category": n, "out": str(out / n)}, {"code": "1"}) for n in names]


def quiet(label: str, line: str) -> None:
    pass


def test_a_killed_worker_loses_nothing_and_the_rest_completes(data, tmp_path):
    # "b" and "c" wait at their first try: while "a" is done and "b" runs, the worker of "b" is killed.
    wait = "while category != 'a' and not (folder.parent / 'go').exists():\n    time.sleep(0.05)"
    threads = "(folder / 'threads').write_text(os.environ['OMP_NUM_THREADS'])"
    book, out = write_toy(tmp_path / "each.ipynb", wait, threads), tmp_path / "out"
    process = start_runner(book, "--data", data, "--out", out, "--workers", 2)
    wait_until(lambda: (out / "a" / "run.json").exists() and executions(out / "b"), process)
    before = {p: p.read_bytes() for p in (out / "a").iterdir() if p.is_file()}
    os.kill(executions(out / "b")[0][1], signal.SIGKILL)
    wait_until(lambda: len(executions(out / "b")) == 2, process)
    (out / "go").touch()
    said = process.communicate(timeout=120)[0]
    assert process.returncode == 0 and "Traceback" not in said, said
    assert {p: p.read_bytes() for p in before} == before
    assert len(executions(out / "a")) == 1 and len(executions(out / "b")) == 2
    for name in NAMES:
        assert json.loads((out / name / "metrics.json").read_text())["category"] == name
        assert f"{name}: done in" in said and f"{name} | finished {name}" in said
        # Two workers share the cores between them.
        assert (out / name / "threads").read_text() == str(max(1, len(os.sched_getaffinity(0)) // 2))
    workers = {parent for name in NAMES for _, parent in executions(out / name)}
    assert len(workers) >= 3  # two, and the one that took the killed one's place


def test_a_category_that_kills_its_workers_fails_with_a_reason_and_the_others_are_done(tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "DEATHS", 1)
    book = write_toy(tmp_path / "each.ipynb", "if category == 'b':\n    os.kill(os.getppid(), 9)\n    time.sleep(60)")
    records = {
        job.label: record
        for job, record in workers.run_jobs(toy_jobs(book, tmp_path, ("a", "b")), workers=2, scheduler=None, echo=quiet)
    }
    assert {name: r["status"] for name, r in records.items()} == {"a": "done", "b": "failed"}
    assert_one_sentence(records["b"]["error"], "1 worker", "died", "what is finished is kept")
    assert json.loads((tmp_path / "b" / "run.json").read_text())["status"] == "failed"


def test_an_existing_scheduler_is_used_by_its_address_and_named_where_it_has_no_worker(tmp_path, monkeypatch):
    from distributed import LocalCluster

    jobs = toy_jobs(write_toy(tmp_path / "each.ipynb"), tmp_path, ("a",))

    # In a bare folder and without our path, as a worker started by hand elsewhere would be.
    with LocalCluster(
        n_workers=0, threads_per_worker=1, dashboard_address=None, memory_limit=0, env={"PYTHONPATH": ""}
    ) as cluster:
        options = {"workers": 4, "scheduler": cluster.scheduler_address, "echo": quiet}
        with monkeypatch.context() as patch, pytest.raises(DataError) as caught:
            patch.setattr(workers, "WAIT", 0.5)
            list(workers.run_jobs(jobs, **options))
        assert_one_sentence(caught.value, "has no worker")
        cluster.scale(1)
        found = list(workers.run_jobs(jobs, **options))
    assert [(job.label, record["status"]) for job, record in found] == [("a", "done")]


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:9", "nonsense"])
def test_a_scheduler_that_does_not_answer_is_named(tmp_path, monkeypatch, address):
    monkeypatch.setattr(workers, "WAIT", 0.3)
    jobs = toy_jobs(write_toy(tmp_path / "each.ipynb"), tmp_path, ("a",))
    with pytest.raises(DataError) as caught:
        list(workers.run_jobs(jobs, workers=1, scheduler=address, echo=quiet))
    assert_one_sentence(caught.value, address, "check the address")
