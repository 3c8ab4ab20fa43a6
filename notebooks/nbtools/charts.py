"""Charts shared by the notebooks: they draw what they are given, in the one visual language."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import LogLocator, NullFormatter

from fmcore.decomposition.terms import Terms
from fmcore.detector.fit import FitRecord
from nbtools.look import COLOURS, SOFT, Figure

TERMS = {
    "mismatch": ("mismatch", "#1c1f23", "-"),
    "denoising": ("denoising term", COLOURS["denoising_term"], "-"),
    "fisher": ("Fisher term", COLOURS["fisher_term"], "-"),
    "cross": ("cross term", SOFT, ":"),
}


def training_chart(records: Sequence[FitRecord], unit: str) -> Figure:
    """Loss against step, and the running loss in ten bins of t at the last step."""
    train = [r.train for r in records if r.train]
    figure = Figure(figsize=(9, 3.2))
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    left.plot([r.step for r in train], [r.loss for r in train], color=COLOURS["predicted_velocity"], lw=1)
    left.set(title="Training loss by step: lower is better", xlabel="step", ylabel=f"loss, {unit}", ylim=0)
    bins = train[-1].loss_by_time
    edges = np.arange(len(bins)) / len(bins)
    right.bar(edges, np.nan_to_num(bins), 0.9 / len(bins), align="edge", color=COLOURS["predicted_velocity"])
    right.set(title="... and by time", xlabel="t", ylabel=f"loss, {unit}", xlim=(0, 1))
    return figure


def held_out_chart(terms: Terms, expected: np.ndarray, dimensions: int, n: int) -> Figure:
    """Squared velocity error per pixel and channel against t: closed form, its own expectation, and the network."""
    figure = Figure(figsize=(7, 3.6))
    axes = figure.subplots()
    for name, label, colour in (
        ("mismatch", "Gaussian field", COLOURS["geometric_velocity"]),
        ("denoising", "network", COLOURS["predicted_velocity"]),
    ):
        value, error = terms.values[name] / dimensions, terms.errors[name] / dimensions
        axes.plot(terms.times, value, "o-", ms=3, color=colour, label=label)
        axes.fill_between(terms.times, value - 2 * error, value + 2 * error, color=colour, alpha=0.2, lw=0)
    axes.plot(terms.times, expected, "--", color=SOFT, label="Gaussian field, as it expects itself")
    axes.set(title=f"Lower is better: error on {n} held-out good images (band: 2 standard errors)", xlabel="t")
    axes.set(ylabel="squared velocity error\nper pixel and channel", yscale="log")
    _plain_ticks(axes.yaxis)
    axes.legend()
    return figure


def histogram(axes: Axes, images: Sequence[dict], threshold: float | None, title: str) -> None:
    """Scores of good and defective images on common bins, with the threshold."""
    scores = {d: np.array([i["score"] for i in images if i["defective"] == d]) for d in (False, True)}
    every = np.concatenate(list(scores.values()))
    positive = every.min() > 0
    edges = np.geomspace(every.min(), every.max() * 1.001, 25) if positive else 24
    for defective, name in ((False, "normal"), (True, "anomalous")):
        label = "defective" if defective else "good"
        axes.hist(scores[defective], edges, color=COLOURS[name], alpha=0.75, label=label)
    if threshold is not None:
        axes.axvline(threshold, color="black", lw=1.2, ls="--", label="threshold")
    counts = f"{len(scores[False])} good, {len(scores[True])} defective"
    axes.set(title=f"{title}: {counts}", xlabel="score (logarithmic)" if positive else "score", ylabel="images")
    axes.yaxis.get_major_locator().set_params(integer=True)
    if positive:
        axes.set_xscale("log")
        _plain_ticks(axes.xaxis)


def histograms(results: dict[str, dict], columns: int = 3) -> Figure:
    """`histogram` of each category: the less the colours overlap, the better."""
    columns = min(columns, len(results))
    rows = -(-len(results) // columns)
    figure = Figure(figsize=(max(5.0, 3.6 * columns), 2.7 * rows + 0.4))
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, (name, result) in zip(grid, results.items(), strict=False):
        histogram(axes, result["images"], (result["threshold"] or {}).get("value"), name)
    for axes in grid[len(results) :]:
        axes.remove()
    named = {
        label: h for axes in grid[: len(results)] for h, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(named.values(), named, loc="outside upper left", ncols=len(named), fontsize=9)
    return figure


def terms_chart(groups: dict[str, dict], columns: int = 2) -> Figure:
    """Terms of the decomposition against t, one panel per group of images, on one scale; ``groups`` holds
    ``{"times": [...], "mismatch": [...], ...}`` as written by `terms_record`."""
    columns = min(columns, len(groups))
    rows = -(-len(groups) // columns)
    figure = Figure(figsize=(4.5 * columns, 3.0 * rows))
    grid = figure.subplots(rows, columns, squeeze=False, sharey="row").ravel()
    for axes, (title, group) in zip(grid, groups.items(), strict=False):
        for name, (label, colour, line) in TERMS.items():
            axes.plot(group["times"], group[name], line, color=colour, label=label, lw=1.6)
        axes.axhline(0, color=SOFT, lw=0.6)
        axes.set(title=f"{title} (n = {group['n']})", xlabel="t", ylabel="per pixel and channel")
    grid[0].legend(fontsize=8)
    for axes in grid[len(groups) :]:
        axes.remove()
    return figure


def terms_record(terms: Terms, dimensions: int, n: int) -> dict:
    """Plain numbers of a decomposition, per pixel and channel."""
    values = {name: (terms.values[name] / dimensions).round(6).tolist() for name in TERMS}
    return {"n": n, "times": terms.times.round(6).tolist(), **values}


def _plain_ticks(axis: Axis) -> None:
    """1, 2, 5, 10 instead of powers, on a logarithmic axis."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter(NullFormatter())
