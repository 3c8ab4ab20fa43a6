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
import psutil
from bs4 import BeautifulSoup
from conftest import ROOT
from jupyter_client import AsyncKernelManager
from jupyter_client.manager import start_new_kernel
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


class SharedKernel:
    """One kernel in which notebook after notebook runs, its names removed and its style restored in between: what they
    import is loaded once. What a kernel of its own changes is tested on toys, and on one notebook."""

    def __init__(self):
        self.manager, self.client = start_new_kernel(cwd=str(ROOT), env=os.environ | {"OMP_NUM_THREADS": "1"})
        self.process = psutil.Process(self.manager.provisioner.pid)
        self._run(f"import sys; sys.path[:0] = ['{ROOT}', '{NOTEBOOKS}']")
        self._run("import builtins, matplotlib, figures.style; builtins.style = dict(matplotlib.rcParams)")

    def _run(self, code: str) -> None:
        said = self.client.execute_interactive(code, timeout=60)
        assert said["content"]["status"] == "ok", said

    def seconds(self) -> float:
        """Processor time so far."""
        return self.process.cpu_times().user

    def stop(self) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)

    def managers(self, log: object) -> type[AsyncKernelManager]:
        """In place of `runner.execute.kernel_manager`."""
        shared = self

        class Manager(AsyncKernelManager):
            async def start_kernel(self, **options) -> None:
                shared._run("%reset -f")
                shared._run("import builtins, matplotlib; matplotlib.rcParams.update(builtins.style); del matplotlib")
                self.load_connection_info(shared.manager.get_connection_info())

            async def _async_is_alive(self) -> bool:  # what the client asks
                return shared.process.status() != psutil.STATUS_ZOMBIE

            is_alive = _async_is_alive

            async def shutdown_kernel(self, *arguments, **options) -> None:
                pass

            async def cleanup_resources(self, *arguments, **options) -> None:
                pass

        return Manager


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
