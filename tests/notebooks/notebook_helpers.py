"""A tiny notebook for tests of the runner, written by code, and the runner in this process or one of its own."""

from __future__ import annotations

import importlib.util
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import nbformat
from bs4 import BeautifulSoup
from conftest import ROOT
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

NOTEBOOKS = ROOT / "notebooks"
sys.path[:0] = [p for p in (str(NOTEBOOKS),) if p not in sys.path]

PARAMETERS = """data: str = ""  # images
category: str = ""
paths: int = 4  # K
exponent: float = 2.0
aggregator: str = "min"
widths: list[int] = [32, 64]
steps: int | None = None
seed: int = 0
out: str = "out/toy\""""

# Leaves a line per execution, so that a test can count them, and the process that runs the kernel. The runner checks
# parameters by the settings that are imported; the notebook does without them, since torch takes seconds to load.
BODY = """import json, os, time
from pathlib import Path
def settings():
    from fmcore.mismatch import HeatSettings, PathSettings
    return PathSettings.parse(paths=paths), HeatSettings.parse(exponent=exponent, aggregator=aggregator)
folder = Path(out)
with (folder / "executions.txt").open("a") as file:
    print(os.getpid(), os.getppid(), file=file)"""
END = """(folder / "metrics.json").write_text(json.dumps({"paths": paths, "category": category}))
print("finished", category)"""


def write_toy(path: Path, *cells: str, per_category: bool = True, end: str = END) -> Path:
    """A notebook with the cells between the parameters and the one that writes ``metrics.json``."""
    node = new_notebook()
    if per_category:
        node.metadata["fmcore"] = {"per_category": path.stem}
    setup = new_code_cell("import sys\nsys.path[:0] = ['..', '.', 'notebooks']")
    parameters = new_code_cell(PARAMETERS)
    parameters.metadata["tags"] = ["parameters"]
    code = [new_code_cell(source) for source in (BODY, *cells, end)]
    text = new_markdown_cell("# A toy\n\nThe path $x_t = (1 - t) x_0 + t x_1$.")
    node.cells = [text, setup, parameters, *code]
    nbformat.write(node, path)
    return path


def executions(folder: Path) -> list[tuple[int, int]]:
    """(kernel, its parent) of each execution so far."""
    file = folder / "executions.txt"
    return [tuple(map(int, line.split())) for line in file.read_text().splitlines()] if file.is_file() else []


def runner():
    """``notebooks/run.py`` as a module."""
    spec = importlib.util.spec_from_file_location("notebook_runner", NOTEBOOKS / "run.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def start_runner(*arguments: object) -> subprocess.Popen:
    """``python notebooks/run.py`` in a process of its own."""
    return subprocess.Popen(
        [sys.executable, str(NOTEBOOKS / "run.py"), *map(str, arguments)],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # A test run that was itself started in the background ignores Ctrl-C, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


LOADING = {"link": "href", "object": "data"} | dict.fromkeys(
    "script img iframe video audio source embed".split(), "src"
)


def outside_sources(html: str) -> list[str]:
    """Addresses of everything that a browser would load from elsewhere to show the page; empty if it is complete."""
    soup = BeautifulSoup(html, "html.parser")
    found = [tag.get(name) for kind, name in LOADING.items() for tag in soup.find_all(kind) if tag.get(name)]
    styles, scripts = (" ".join(tag.text for tag in soup.find_all(kind)) for kind in ("style", "script"))
    found += re.findall(r"@import[^;]+|url\(\s*['\"]?(?!data:|#)[^)]+", styles)
    found += re.findall(r"(?:import|fetch|from)\s*\(?\s*['\"](https?:[^'\"]+)", scripts)
    return [address for address in found if not address.startswith(("data:", "#"))]
