"""Many visitors at once on this machine, beside a long fit: nothing fails, nobody sees another's picture, memory stays.

``LOAD_VISITORS``, ``LOAD_SECONDS``, ``LOAD_EMBEDDED`` (a folder of models) and ``LOAD_MODEL`` make it as large as one
likes.
"""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from browsing import app_process
from conftest import write_blobs
from gradio_client import Client, handle_file

from demo.common import messages

VISITORS, SECONDS = int(os.environ.get("LOAD_VISITORS", 10)), float(os.environ.get("LOAD_SECONDS", 15))
MODEL = os.environ.get("LOAD_MODEL", "gaussian")
FIRST_MAP = 3.0  # seconds, for 19 in 20 visitors, on two idle cores
TOLERANCE = 4  # for a machine that does other work at the same time
PAUSE = 2.0  # seconds a visitor looks at a result, scrubbing, which asks the server nothing
MOST_MEMORY = 2500  # megabytes
LONG, GROWTH = 120, 1.3  # seconds of a run from which memory is flat: the last quarter beside the second


@pytest.fixture(scope="module")
def app(tmp_path_factory, gear_folder):
    embedded = Path(os.environ.get("LOAD_EMBEDDED", gear_folder))
    with app_process(embedded, tmp_path_factory.mktemp("app")) as found:
        yield found


class Visitor(threading.Thread):
    """Uploads a picture of its own, looks at the map, and again; a result of another name is an error."""

    def __init__(self, url: str, folder: Path, number: int, until: float):
        super().__init__(daemon=True)
        (picture,) = write_blobs(folder / str(number), range(number, number + 1), size=96)
        self.picture = picture.rename(picture.with_name(f"of visitor {number}.png"))
        self.url, self.number, self.until = url, number, until
        self.first: list[float] = []
        self.whole: list[float] = []
        self.errors: list[str] = []

    def run(self) -> None:
        try:
            client = Client(self.url, verbose=False)
            while time.monotonic() < self.until:
                self.look(client)
                time.sleep(PAUSE)
        except Exception as error:
            self.errors.append(f"visitor {self.number}: {type(error).__name__}: {error}")

    def look(self, client: Client) -> None:
        started, seen = time.monotonic(), None
        settings = (0 if MODEL == "features" else 4, 12, "mean", 0.25, 2.0, 0.5)
        for answer in client.submit([handle_file(self.picture)], MODEL, "gear", *settings, api_name="/inspect"):
            if isinstance(answer[0], str) and (head := messages.unpack(answer[0])[0])["kind"] == "partial":
                if seen is None:
                    seen = time.monotonic() - started
                if head["name"] != self.picture.name:
                    self.errors.append(f"visitor {self.number} was shown {head['name']}")
        if seen is None:
            self.errors.append(f"visitor {self.number} was shown nothing")
            return
        self.first.append(seen)
        self.whole.append(time.monotonic() - started)


def memory(pid: int) -> int:
    """Megabytes that a process holds."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) // 1000


@pytest.mark.alone
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_many_visitors_beside_a_long_fit(app, tmp_path):
    url, pid = app
    fitting = Client(url, verbose=False)
    fitting.predict(None, 0, MODEL, "gear", api_name="/score")  # the model is there, as for all but the very first
    until = time.monotonic() + SECONDS
    good = [handle_file(path) for path in write_blobs(tmp_path / "good", range(40), size=96)]
    fit = fitting.submit(good, api_name="/fit_own")
    visitors = [Visitor(url, tmp_path, number, until) for number in range(VISITORS)]
    for visitor in visitors:
        visitor.start()
    course, fits = [], 1
    while any(visitor.is_alive() for visitor in visitors):
        course.append(memory(pid))
        if fit.done() and time.monotonic() < until - 5:
            fit, fits = fitting.submit(good, api_name="/fit_own"), fits + 1
        time.sleep(0.5)
    fit.cancel()
    errors = [error for visitor in visitors for error in visitor.errors]
    first, whole = (np.concatenate([getattr(v, name) for v in visitors]) for name in ("first", "whole"))
    (p50, p95), (_, whole95) = (np.quantile(times, [0.5, 0.95]) for times in (first, whole))
    print(f"{VISITORS} visitors, {SECONDS:.0f} s: {len(first)} pictures, {fits} fits")
    print(f"first map p50 {p50:.2f} s, p95 {p95:.2f} s; whole p95 {whole95:.2f} s; errors {errors}")
    print(f"memory in MB {course[:: max(1, len(course) // 12)]}")
    assert errors == []
    assert p95 <= FIRST_MAP * TOLERANCE
    assert max(course) <= MOST_MEMORY
    if SECONDS >= LONG:  # a shorter run has its only fit at its end
        settled, last = max(course[len(course) // 4 : len(course) // 2]), max(course[-len(course) // 4 :])
        assert last <= GROWTH * settled
