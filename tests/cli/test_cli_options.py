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

    @with_settings(example=Example, **options)
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


@pytest.mark.parametrize("option", ["--widths", "--inner", "--depth"])
def test_fields_without_a_plain_value_have_no_option(option):
    code, text, received = invoke("x", option, "1")
    assert code == 2 and "No such option" in text and not received


def test_a_field_left_out_has_no_option():
    assert invoke("x", "--count", "5", leave_out=("count",))[0] == 2
    assert invoke("x", "--rate", "5", leave_out=("count",))[2]["example"] == {"rate": 5.0}


def test_help_comes_from_the_class():
    text = invoke("--help")[1]
    for part in ("how many (default: 3)", "how fast", "kind: round, square (default: round)", "An example."):
        assert part in text
    text = invoke("--help", of_model=("example",), help={"kind": "the form"})[1]
    assert "how many (default: the model's)" in text and "the form (default: the model's)" in text


def test_every_plain_setting_of_a_fit_is_an_option():
    from fmcore.cli.fit import fit

    options = set(inspect.signature(fit).parameters)
    plain = {name for name, f in FitSettings.model_fields.items() if f.annotation in (int, float, str, bool)}
    assert plain and plain | {"field", "start", "steps", "aggregator", "noise_seed"} <= options
    assert "options" not in options
