"""Charts of scores and settings: they draw what they are given."""

from collections.abc import Sequence

import numpy as np

from figures.style import COLOURS, Figure, headline, plain_ticks
from fmcore.evaluation.studies import SweepResult


def histograms(results: dict[str, dict], columns: int = 3) -> Figure:
    """Scores of good and defective images of each category on common bins, with the threshold."""
    columns = min(columns, len(results))
    rows = -(-len(results) // columns)
    figure = Figure(figsize=(max(5.0, 3.6 * columns), 2.7 * rows + 0.4))
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, (title, result) in zip(grid, results.items(), strict=False):
        scores = {d: np.array([i["score"] for i in result["images"] if i["defective"] == d]) for d in (False, True)}
        every = np.concatenate(list(scores.values()))
        positive = every.min() > 0
        edges = np.geomspace(every.min(), every.max() * 1.001, 25) if positive else 24
        for defective, label, kind in ((False, "good", "normal"), (True, "defective", "anomalous")):
            axes.hist(scores[defective], edges, color=COLOURS[kind], alpha=0.75, label=label)
        if result["threshold"]:
            axes.axvline(result["threshold"]["value"], color="black", lw=1.2, ls="--", label="threshold")
        counts = f"{len(scores[False])} good, {len(scores[True])} defective"
        axes.set(title=f"{title}: {counts}", xlabel="score (logarithmic)" if positive else "score", ylabel="images")
        axes.yaxis.get_major_locator().set_params(integer=True)
        if positive:
            axes.set_xscale("log")
            plain_ticks(axes.xaxis)
    for axes in grid[len(results) :]:
        axes.remove()
    named = {label: h for axes in figure.axes for h, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(named.values(), named, loc="outside upper left", ncols=len(named), fontsize=9)
    return figure


def ablation_panels(groups: dict[str, tuple[Sequence, Sequence[SweepResult]]], title: str) -> Figure:
    """One panel per choice: image and pixel AUROC against its values; ``groups`` maps a name to values, results."""
    figure = Figure(figsize=(3.2 * len(groups), 3.4))
    headline(figure, title)
    panels = figure.subplots(1, len(groups), sharey=True, squeeze=False)[0]
    for axes, (name, (values, results)) in zip(panels, groups.items(), strict=True):
        places = np.arange(len(values))
        axes.plot(places, [r.image_auroc for r in results], "o-", color=COLOURS["predicted_velocity"], label="image")
        if all(r.pixel_auroc is not None for r in results):
            axes.plot(
                places, [r.pixel_auroc for r in results], "s--", color=COLOURS["geometric_velocity"], label="pixel"
            )
        axes.set_xticks(places, ["exact" if (name, v) == ("K", 0) else str(v) for v in values])
        axes.set_xlabel(name)
    panels[0].set_ylabel("AUROC")
    panels[0].legend()
    return figure
