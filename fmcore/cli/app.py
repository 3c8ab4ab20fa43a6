"""The list of commands."""

from __future__ import annotations

import typer

from fmcore.cli.benchmark import benchmark
from fmcore.cli.check import check
from fmcore.cli.evaluate import evaluate
from fmcore.cli.fit import fit
from fmcore.cli.render import render
from fmcore.cli.score import score

app = typer.Typer(
    add_completion=False, no_args_is_help=True, help="Flow Mismatching: find anomalies with a model of normal images."
)
for command in (check, fit, score, evaluate, benchmark, render):
    app.command()(command)
