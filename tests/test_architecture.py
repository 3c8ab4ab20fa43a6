"""The house: imports run downwards only, nothing goes in a circle, and files and settings stay few and small."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

import fmcore
from fmcore.settings import Settings

LAYERS = (
    ("errors", "path", "palette", "parallel"),
    ("settings",),
    ("registry",),
    ("data",),
    ("views",),
    ("fields",),
    ("mismatch",),
    ("training",),
    ("detector",),
    ("decomposition",),
    ("evaluation",),
    ("cli",),
)
RANK = {name: rank for rank, layer in enumerate(LAYERS) for name in layer}
FILES = [p for p in sorted((ROOT / "fmcore").rglob("*.py")) if "rendered" not in p.parts]


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(path: Path) -> set[str]:
    """Modules of the package that a file imports, at its top or inside a function; not those for type checkers."""
    found, tree = set(), ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            node.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "fmcore":
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.split(".")[0] == "fmcore"}
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_run_downwards(path):
    room = module_of(path).split(".")[1:2]
    if not room or room == ["__main__"]:
        return  # the front door opens to every room
    for imported in imports_of(path):
        target = imported.split(".")[1:2]
        if target and target[0] in RANK:
            assert RANK[target[0]] <= RANK[room[0]], f"{module_of(path)} imports {imported}, which is above it"


def test_no_circle():
    modules = {module_of(path): path for path in FILES}
    below = {name: {m for m in imports_of(path) if m in modules and m != name} for name, path in modules.items()}
    # A package and its own modules are one: what counts is which module needs which.
    below = {name: {m for m in found if not name.startswith(f"{m}.")} for name, found in below.items()}
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, f"circle: {' -> '.join((*trail, name))}"
        if name not in done:
            for other in below[name]:
                visit(other, (*trail, name))
            done.add(name)

    for name in below:
        visit(name, ())


def test_the_house_stays_small():
    lines = {path: len(path.read_text().splitlines()) for path in FILES}
    # Where the house stands; these limits only go down, to 60 files and 5,500 lines.
    assert len(FILES) <= 57, len(FILES)
    assert sum(lines.values()) <= 6865, sum(lines.values())
    assert {str(p) for p, count in lines.items() if count > 250} == set()


def test_settings_classes_are_few():
    for module in pkgutil.walk_packages(fmcore.__path__, "fmcore."):
        if "rendered" not in module.name and "__main__" not in module.name:
            importlib.import_module(module.name)
    # Options of views and fields are made from their signatures and declared nowhere.
    declared = {
        c for c in Settings.__subclasses__() if not c.__name__.endswith("Options") and "rendered" not in c.__module__
    }
    declared = {c for c in declared if c.__module__.startswith("fmcore.")}
    assert len(declared) <= 10, sorted(c.__name__ for c in declared)


def test_every_package_has_its_tests():
    packages = {p.parent.name for p in (ROOT / "fmcore").glob("*/__init__.py")}
    assert packages <= {p.name for p in (ROOT / "tests").iterdir() if p.is_dir()}


def test_the_core_imports_neither_app_nor_plots():
    code = "import sys, fmcore.detector.fit, fmcore.evaluation.evaluate; print([m.split('.')[0] for m in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True).stdout
    assert not {"gradio", "matplotlib", "plotly", "demo"} & set(ast.literal_eval(loaded))
