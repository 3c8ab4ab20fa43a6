"""A run over categories that is killed without warning and repeated: what was done stays, the rest is done."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
import time

import pytest
from conftest import write_category
from nbclient.exceptions import CellExecutionError, DeadKernelError
from notebook_helpers import executions, start_runner, write_toy

import runner.execute  # noqa: F401 - as every worker does

NAMES = ("a", "b", "c")


@pytest.fixture
def data(tmp_path):
    for number, name in enumerate(NAMES):
        write_category(tmp_path / "data" / name, first_seed=1000 * number)
    return tmp_path / "data"


def wait_until(condition, process, seconds=90.0):
    """Poll; a runner that ends before fails with what it printed."""
    limit = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.stdout.read()
        assert time.monotonic() < limit, "waited in vain"
        time.sleep(0.05)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_run_killed_half_way_goes_on_where_it_was(data, tmp_path):
    # The second category waits for a file that does not exist, so that the kill always comes in its midst.
    wait = "while category == 'b' and not (folder.parent / 'go').exists():\n    time.sleep(0.05)"
    book, out = write_toy(tmp_path / "each.ipynb", wait), tmp_path / "out"
    command = (book, "--data", data, "--out", out, "--workers", 1)

    process = start_runner(*command)
    wait_until(lambda: executions(out / "b"), process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = {p: p.read_bytes() for p in (out / "a").iterdir() if p.is_file()}
    assert json.loads((out / "a" / "run.json").read_text())["status"] == "done"
    assert not (out / "b" / "run.json").exists() and not (out / "c").exists()
    kernel = executions(out / "b")[0][0]
    limit = time.monotonic() + 20
    while alive(kernel) and time.monotonic() < limit:
        time.sleep(0.1)
    assert not alive(kernel), "the kernel outlived its runner"

    (out / "go").touch()
    process = start_runner(*command)
    said = process.communicate(timeout=120)[0]
    assert process.returncode == 0, said
    assert "a: done before, kept" in said and "b: done in" in said and "c: done in" in said
    assert {p: p.read_bytes() for p in done} == done
    assert [len(executions(out / name)) for name in NAMES] == [1, 2, 1]
    for name in NAMES:
        assert json.loads((out / name / "metrics.json").read_text())["category"] == name
        assert (out / name / "each.html").is_file()


def test_ctrl_c_ends_with_130_and_keeps_what_is_done(data, tmp_path):
    wait = "while category == 'b':\n    time.sleep(0.05)"
    book, out = write_toy(tmp_path / "each.ipynb", wait), tmp_path / "out"
    process = start_runner(book, "--data", data, "--out", out, "--workers", 1)
    wait_until(lambda: executions(out / "b"), process)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=60)[0]
    assert process.returncode == 130 and "Interrupted." in said and "Traceback" not in said, said
    assert json.loads((out / "a" / "run.json").read_text())["status"] == "done"
    assert not (out / "b" / "run.json").exists()


STOPPED = CellExecutionError("while", "KeyboardInterrupt", "")


@pytest.mark.parametrize(
    ("error", "printed"), [(DeadKernelError("Kernel died"), False), (STOPPED, False), (ValueError("other"), True)]
)
def test_a_kernel_stopped_with_the_run_leaves_no_traceback(caplog, error, printed):
    async def abandon():
        async def fail():
            raise error

        task = asyncio.ensure_future(fail())
        await asyncio.sleep(0)
        del task  # nobody has waited for it

    asyncio.run(abandon())
    gc.collect()
    assert any("never retrieved" in record.getMessage() for record in caplog.records) == printed
