"""Figures of the ablation and speed notebooks; every number comes from fmcore."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from fmcore.evaluation.ablation import AblationResult, ResolutionResult
from fmcore.evaluation.aggregator_study import AggregatorStep
from fmcore.evaluation.estimator_study import Estimate, Gain
from fmcore.evaluation.speed import STAGES, Timing
from nbtools.look import COLOURS

BLUE, ORANGE, GREEN, PINK = (
    COLOURS[name] for name in ("predicted_velocity", "geometric_velocity", "normal", "anomalous")
)
LINES = {"mean": BLUE, "median": GREEN, "percentile": ORANGE, "min": PINK}


def ablation_panels(groups: dict[str, tuple[Sequence, Sequence[AblationResult]]], title: str) -> Figure:
    """One panel per choice: image and pixel AUROC against its values; ``groups`` maps a name to values, results."""
    figure, axes = plt.subplots(1, len(groups), figsize=(3.1 * len(groups), 3.4), sharey=True)
    for axis, (name, (values, results)) in zip(np.atleast_1d(axes), groups.items(), strict=True):
        places = np.arange(len(values))
        _auroc_lines(axis, places, [r.image_auroc for r in results], [r.pixel_auroc for r in results])
        axis.set_xticks(places, [str(v) for v in values])
        axis.set_xlabel(name)
    axes = np.atleast_1d(axes)
    axes[0].set_ylabel("AUROC")
    axes[0].legend(frameon=False)
    figure.suptitle(title)
    return figure


def resolution_panel(results: Sequence[ResolutionResult], title: str) -> Figure:
    """AUROC, and seconds per image, against the size that the field sees."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.2))
    sizes = [r.size for r in results]
    _auroc_lines(left, sizes, [r.image_auroc for r in results], [r.pixel_auroc for r in results])
    left.set(xlabel="pixels per side", ylabel="AUROC", xticks=sizes)
    left.legend(frameon=False)
    right.plot(sizes, [r.seconds_per_image for r in results], "o-", color=BLUE)
    right.set(xlabel="pixels per side", ylabel="seconds per image", xticks=sizes, ylim=(0, None))
    figure.suptitle(title)
    return figure


def aggregator_panels(steps: Sequence[AggregatorStep], t: float, title: str) -> Figure:
    """Left: mean over repeats against K at the time nearest ``t``, with the expected mismatch. Middle: variance.
    Right: bias of the largest K but one, against t, relative to the expected mismatch."""
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(12, 3.6))
    step = min(steps, key=lambda s: abs(s.t - t))
    for name, colour in LINES.items():
        points = [p for p in step.points if p.aggregator == name]
        counts, means = [p.paths for p in points], [p.mean for p in points]
        left.errorbar(counts, means, [2 * p.error for p in points], fmt="o-", color=colour, label=name)
        middle.plot(counts, [p.variance for p in points], "o-", color=colour)
        k = sorted({p.paths for p in step.points})[-2]
        shares = [_point(s, name, k).bias / s.expected for s in steps]
        right.plot([s.t for s in steps], shares, "o-", color=colour)
    left.axhline(step.expected, color="black", linewidth=1, linestyle="--", label="expected")
    left.set(xscale="log", xlabel="K", ylabel=f"mismatch at t = {step.t:g}, bars: 2 s.e.", ylim=(0, None))
    left.legend(frameon=False, fontsize=8)
    middle.set(xscale="log", yscale="log", xlabel="K", ylabel=f"variance at t = {step.t:g}")
    right.axhline(0, color="black", linewidth=1, linestyle="--")
    right.set(xlabel="t", ylabel=f"bias / expected mismatch, K = {k}")
    for axis in (left, middle):
        _plain_ticks(axis, sorted({p.paths for p in step.points}))
    figure.suptitle(title)
    return figure


def gain_bars(gains: dict[str, dict[str, Gain]], title: str) -> Figure:
    """Variance of independent noise over that of each kind; outer keys are aggregators, inner ones kinds."""
    figure, axis = plt.subplots(figsize=(7, 3.4))
    kinds = list(next(iter(gains.values())))
    width = 0.8 / len(gains)
    for shift, (name, found) in enumerate(gains.items()):
        places = np.arange(len(kinds)) + shift * width
        errors = [2 * found[k].error for k in kinds]
        axis.bar(places, [found[k].ratio for k in kinds], width, yerr=errors, color=LINES[name], label=name, capsize=3)
    axis.axhline(1, color="black", linewidth=1, linestyle="--")
    axis.set_xticks(np.arange(len(kinds)) + 0.4 - width / 2, kinds)
    axis.set_ylabel("gain in variance of the map\n(bars: 2 s.e.)")
    axis.legend(frameon=False)
    figure.suptitle(title)
    return figure


def budget_panels(estimates: Sequence[Estimate], labels: np.ndarray, title: str) -> Figure:
    """Every way to spend a budget, against T: relative error without a common factor, and AUROC, per aggregator."""
    names = list(dict.fromkeys(e.heat.aggregator for e in estimates))
    figure, axes = plt.subplots(2, len(names), figsize=(5 * len(names), 6), sharex=True, sharey="row", squeeze=False)
    budgets = sorted({e.evaluations for e in estimates})
    for column, name in zip(axes.T, names, strict=True):
        for budget, colour in zip(budgets, plt.colormaps["viridis"](np.linspace(0, 0.85, len(budgets))), strict=True):
            mine = [e for e in estimates if e.heat.aggregator == name and e.evaluations == budget]
            mine = sorted(mine, key=lambda e: e.paths.times)
            times = [e.paths.times for e in mine]
            column[0].plot(times, [e.score_scatter for e in mine], "o-", color=colour, label=f"K T = {budget}")
            aurocs, errors = zip(*(e.auroc(labels) for e in mine), strict=True)
            column[1].errorbar(times, aurocs, [2 * e for e in errors], fmt="o-", color=colour)
        column[0].set(title=f"aggregator: {name}", yscale="log", xscale="log")
        column[1].set_xlabel("T, each with K = budget / T")
        _plain_ticks(column[1], sorted({e.paths.times for e in estimates}))
    axes[0, 0].set_ylabel("relative squared error of the score,\na common factor divided out")
    axes[1, 0].set_ylabel("image AUROC (bars: 2 s.e. of noise)")
    axes[0, 0].legend(frameon=False, fontsize=8)
    figure.suptitle(title)
    return figure


def seconds_lines(groups: dict[str, tuple[Sequence[float], Sequence[Timing]]], title: str) -> Figure:
    """Seconds per image against K, T, chunk or size; bars reach from the fastest to the slowest round."""
    figure, axes = plt.subplots(1, len(groups), figsize=(3.3 * len(groups), 3.3), squeeze=False)
    for axis, (name, (values, timings)) in zip(axes[0], groups.items(), strict=True):
        middle = np.array([t.seconds for t in timings])
        reach = [middle - [t.fastest for t in timings], [t.slowest for t in timings] - middle]
        axis.errorbar(values, middle, reach, fmt="o-", color=BLUE, capsize=3)
        axis.set(xlabel=name, ylim=(0, None), xticks=list(values))
    axes[0, 0].set_ylabel("seconds per image")
    figure.suptitle(title)
    return figure


def stage_bars(timings: Iterable[Timing], title: str) -> Figure:
    """On what the time goes, as shares of each case's stages."""
    timings = list(timings)
    figure, axis = plt.subplots(figsize=(8, 1 + 0.5 * len(timings)))
    colours = dict(zip(STAGES, (GREEN, ORANGE, BLUE, COLOURS["denoising_term"], PINK), strict=True))
    left = np.zeros(len(timings))
    for name in STAGES:
        shares = np.array([t.stages[name] / sum(t.stages.values()) for t in timings])
        axis.barh([t.label for t in timings], shares, left=left, color=colours[name], label=name)
        left += shares
    axis.invert_yaxis()
    axis.set(xlabel="share of the time of one image", xlim=(0, 1))
    axis.legend(frameon=False, ncols=len(STAGES), loc="upper center", bbox_to_anchor=(0.5, -0.4))
    figure.suptitle(title)
    return figure


def _auroc_lines(axis: Axes, places: Sequence, image: Sequence, pixel: Sequence) -> None:
    axis.plot(places, image, "o-", color=BLUE, label="image")
    if all(value is not None for value in pixel):
        axis.plot(places, pixel, "s--", color=ORANGE, label="pixel")


def _plain_ticks(axis: Axes, values: Sequence) -> None:
    """Ticks of a logarithmic axis at these values alone, as plain numbers."""
    axis.set_xticks(values, [str(v) for v in values])
    axis.xaxis.set_minor_locator(NullLocator())


def _point(step: AggregatorStep, name: str, paths: int):
    return next(p for p in step.points if p.aggregator == name and p.paths == paths)
