"""What must stay quick, as ratios within one process, so that neither the machine nor its other work decides."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from conftest import ROOT

IMPORTS = """
import time

start = time.process_time()
import torch
middle = time.process_time()
import fmcore
from fmcore.detector import fit, model, score
print((time.process_time() - middle) / (middle - start))
"""
# Each round scores alone, with the neighbour halted, and then beside it.
NEIGHBOUR = """
import signal, statistics, subprocess, sys, time
import numpy as np
import fmcore

pictures = np.random.default_rng(0).integers(0, 256, (5, 192, 192, 3), dtype=np.uint8)
model = fmcore.fit(list(pictures), view={"places": 64})
neighbour, clocks = subprocess.Popen([sys.executable, "-c", "while True: pass"]), {}
try:
    for number in range(9):
        for state in (signal.SIGSTOP, signal.SIGCONT):
            neighbour.send_signal(state)
            start = time.perf_counter()
            for picture in pictures:
                model.score(picture)
            if number:
                clocks.setdefault(state, []).append(time.perf_counter() - start)
finally:
    neighbour.kill()
alone, beside = (statistics.median(clocks[state]) for state in (signal.SIGSTOP, signal.SIGCONT))
print(beside / alone)
"""


def ratio_of(code: str) -> float:
    """The number that a fresh process prints, with as many threads as it likes."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("OMP_")}
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, env=environment)
    assert said.returncode == 0, said.stderr
    return float(said.stdout)


@pytest.mark.alone
@pytest.mark.parametrize(("code", "most"), [(IMPORTS, 0.5), (NEIGHBOUR, 2.2)], ids=["import", "busy neighbour"])
def test_ratios(code, most):
    """`fmcore` takes little beside torch to import; a busy core costs no more than it must: threads that wait sleep."""
    assert ratio_of(code) <= most or ratio_of(code) <= most  # once more, should something else have come between
