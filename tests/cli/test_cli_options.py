"""Options made from settings classes: names, types, defaults, and what the command receives."""

from __future__ import annotations

import inspect
from typing import Literal

import pytest
import typer
from pydantic import Field
from typer.testing import CliRunner

from fmcore.cli.options import Given, with_settings
from fmcore.detector.settings import FitSettings
from fmcore.settings import Settings


class Inner(Settings):
    depth: int = 1


class Example(Settings):
    count: int = Field(3, ge=1, description="how many")
    rate: float | None = Field(None, description="how fast")
    kind: Literal["round", "square"] = "round"
    strict_order: bool = False
    widths: tuple[int, ...] = (1, 2)
    inner: Inner = Inner()


def invoke(*arguments: str, **options):
    """Exit code, text and what a command with the options of `Example` received."""
    received = {}

    @with_settings(**{"example": Example, **options})
    def command(name: str, example: Given, flag: bool = False) -> None:
        """An example."""
        received.update(name=name, example=example, flag=flag)

    app = typer.Typer()
    app.command()(command)
    result = CliRunner().invoke(app, list(arguments))
    return result.exit_code, result.output, received


def test_only_what_was_given_reaches_the_command():
    assert invoke("x")[2] == {"name": "x", "example": {}, "flag": False}
    given = ("x", "--count", "5", "--rate", "2", "--kind", "triangle", "--strict-order", "--flag")
    code, _, received = invoke(*given)
    assert code == 0 and received["flag"] is True
    assert received["example"] == {"count": 5, "rate": 2.0, "kind": "triangle", "strict_order": True}
    assert invoke("x", "--no-strict-order")[2]["example"] == {"strict_order": False}


@pytest.mark.parametrize(("text", "expected"), [("4,5", (4, 5)), ("7", (7,)), (" 4 , 5,", (4, 5))])
def test_tuples_are_written_with_commas(text, expected):
    assert invoke("x", "--widths", text)[2]["example"] == {"widths": expected}


@pytest.mark.parametrize("option", ["--inner", "--depth"])
def test_fields_without_a_plain_value_have_no_option(option):
    code, text, received = invoke("x", option, "1")
    assert code == 2 and "No such option" in text and not received


def test_of_one_name_the_parameter_comes_first_and_then_the_first_class():
    class Other(Settings):
        count: float = 1.0
        name: str = "other"
        own: int = 2

    text = invoke("--help", example=[Example, Other])[1]
    assert text.count("--count") == 1 and "--name" not in text and "--own" in text
    assert invoke("x", "--count", "5", "--own", "1", example=[Example, Other])[2]["name"] == "x"
    assert invoke("x", "--count", "5", "--own", "1", example=[Example, Other])[2]["example"] == {"count": 5, "own": 1}


def test_help_comes_from_the_class():
    text = invoke("--help")[1]
    for part in ("how many (default: 3)", "how fast", "kind: round, square (default: round)", "An example."):
        assert part in text
    text = invoke("--help", defaults={"Example": "the model's", "kind": "its own"})[1]
    assert "how many (default: the model's)" in text and "round, square (default: its own)" in text


def test_every_plain_setting_of_a_fit_is_an_option():
    from fmcore.cli.data import fit

    options = set(inspect.signature(fit).parameters)
    plain = {name for name, f in FitSettings.model_fields.items() if f.annotation in (int, float, str, bool)}
    assert (
        plain
        and plain | {"field", "start", "steps", "aggregator", "noise_seed", "size", "resolution", "places", "widths"}
        <= options
    )
    assert not {"view", "options", "paths_settings", "training"} & options
