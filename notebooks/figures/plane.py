"""The toys of the plane in notebook 01 and the workshop, and how they are drawn, large enough for a projector.
A point of the plane is an image of two channels and one pixel, ``(2, 1, 1)``, so that all of fmcore applies."""

from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import PathCollection
from matplotlib.colors import LogNorm
from numpy.typing import ArrayLike
from torch import Tensor

from figures.style import COLOURS, HEAT, Figure
from fmcore.decomposition.landscape import PlaneGrid
from fmcore.errors import SettingsError
from fmcore.fields import MixtureField, semicircle, three_clusters, two_moons

NOISE = "#777777"  # neither normal nor anomalous
SCALE = (0.03, 300.0)  # mismatch, dark to bright, of every landscape: frames can be compared
WINDOW = 1.5  # the picture goes this far beyond the data


@dataclass(frozen=True)
class Toy:
    """A law of normal points, and one point on it and one just off it, each ``(2, 1, 1)``."""

    field: MixtureField
    normal: Tensor
    anomalous: Tensor

    def draws(self, count: int = 600, seed: int = 1) -> np.ndarray:
        """Normal points to draw, ``(count, 2)``."""
        return self.field.sample(count, torch.Generator().manual_seed(seed)).numpy()


def toy(name: str) -> Toy:
    """The anomalous point lies 0.5 (five standard deviations) outside the arc, or as far off the other laws;
    `SettingsError` for an unknown name."""
    known = {
        "semicircle": (semicircle, (3.0, 7.0), (3.3, 7.4)),
        "three_clusters": (three_clusters, (0.3, 4.0), (0.3, 6.5)),
        "two_moons": (two_moons, (-1.5, 2.25), (-1.5, 3.25)),
    }
    if name not in known:
        raise SettingsError(f"There is no toy '{name}': choose one of {', '.join(known)}.")
    law, normal, anomalous = known[name]
    return Toy(law(), *(torch.tensor(p).view(2, 1, 1) for p in (normal, anomalous)))


def use_projector_style() -> None:
    """Letters and lines that can be read from the last row."""
    large = {"figure.dpi": 80, "font.size": 14, "axes.titlesize": 15, "lines.linewidth": 2.5}
    plt.rcParams.update(large | {"axes.titlelocation": "center"})


def data_panels(points: np.ndarray, titles: Sequence[str] = ("",)) -> tuple[Figure, list[Axes]]:
    """One panel per title, side by side: equal axes, the normal points in the background."""
    figure, grid = plt.subplots(1, len(titles), figsize=(6.2 * len(titles), 5.6), squeeze=False)
    together = np.concatenate([points, [[-2, -2], [2, 2]]])  # the noise has its place too
    for axis, title in zip(grid[0], titles, strict=True):
        axis.scatter(*points.T, s=6, color=COLOURS["normal"], alpha=0.4, linewidths=0, label="normal data")
        axis.set(aspect="equal", title=title, xlabel="$x$", ylabel="$y$")
        axis.locator_params(integer=True, nbins=6)
        (left, bottom), (right, top) = together.min(0) - WINDOW, together.max(0) + WINDOW
        axis.set(xlim=(left, right), ylim=(bottom, top))
    return figure, list(grid[0])


def panels(titles: Sequence[str], *, rows: int = 1, height: float = 5.0, share: str = "") -> tuple[Figure, np.ndarray]:
    """Empty panels, one per title and row: axes ``(columns,)``, or ``(rows, columns)`` for several rows."""
    size = (height * 1.05 * len(titles), height * rows)
    figure, grid = plt.subplots(rows, len(titles), figsize=size, squeeze=False, sharey="y" in share)
    for axis, title in zip(grid[0], titles, strict=True):
        axis.set_title(title)
    return figure, grid if rows > 1 else grid[0]


def draw_target(axis: Axes, target: Tensor, *, anomalous: bool = False, label: str = "", size: int = 340) -> None:
    """A star in the colour of normal or anomalous things."""
    kind = "anomalous" if anomalous else "normal"
    style = {"color": COLOURS[kind], "edgecolor": "black", "linewidth": 1, "zorder": 5, "marker": "*"}
    axis.scatter(*target.flatten().tolist(), s=size, label=label or f"{kind} target $y$", **style)


def draw_paths(axis: Axes, starts: Tensor, target: Tensor) -> None:
    """Straight lines from the noise draws ``(K, 2, ...)`` to the target."""
    end = target.flatten().numpy()
    for number, start in enumerate(starts.flatten(1).numpy()):
        axis.plot(*np.stack([start, end]).T, color=NOISE, linewidth=1, alpha=0.7, zorder=2)
        axis.scatter(*start, s=60, color=NOISE, zorder=3, label=None if number else "noise $x_0$")


def draw_states(axis: Axes, states: Sequence[Tensor], times: Sequence[float]) -> None:
    """Points on a path, each with its time beside it."""
    for state, t in zip(states, times, strict=True):
        x, y = torch.as_tensor(state).flatten().tolist()
        axis.scatter(x, y, s=70, color="black", zorder=4)
        axis.annotate(f"$t = {t:g}$", (x, y), xytext=(12, -4), textcoords="offset points", fontsize=15)


def draw_velocities(axis: Axes, states: ArrayLike, velocities: dict[str, ArrayLike], *, shrink: float = 0.3) -> None:
    """Arrows at states ``(B, 2)``, by name ``predicted`` or ``geometric``, ``shrink`` of their true length."""
    for name, width in (("geometric", 0.013), ("predicted", 0.007)):  # the thin one lies on top of the broad one
        if name in velocities:
            style = {"color": COLOURS[f"{name}_velocity"], "width": width, "zorder": 4, "label": f"{name} velocity"}
            arrows = (shrink * np.asarray(velocities[name])).T
            axis.quiver(*np.asarray(states).T, *arrows, angles="xy", scale_units="xy", scale=1, **style)


def draw_curve(axis: Axes, x: ArrayLike, y: ArrayLike, colour: str, label: str = "", *, thin: bool = False) -> None:
    """One curve; ``colour`` is a name of the project's or any of matplotlib's."""
    options = {"linewidth": 1.5, "markersize": 4} if thin else {"markersize": 7}
    axis.plot(x, y, "o-", color=COLOURS.get(colour, colour), label=label or None, **options)


def draw_landscape(axis: Axes, values: np.ndarray, grid: PlaneGrid) -> None:
    """A score ``(side, side)`` over the plane, logarithmic, on the one scale that all landscapes share."""
    extent = (grid.left, grid.right, grid.bottom, grid.top)
    axis.imshow(values, cmap=HEAT, norm=LogNorm(*SCALE, clip=True), extent=extent, interpolation="bilinear")
    axis.locator_params(integer=True, nbins=4)
    axis.set(xlabel="$x$", ylabel="$y$")
    axis.label_outer()


def zoom(axis: Axes, target: Tensor, reach: float) -> None:
    """Show only what lies within ``reach`` of the target, to each side."""
    x, y = target.flatten().tolist()
    axis.set(xlim=(x - reach, x + reach), ylim=(y - reach, y + reach))


def landscape_bar(figure: Figure, axes: np.ndarray) -> None:
    """The colour bar of all landscapes of a figure."""
    scale = ScalarMappable(LogNorm(*SCALE), HEAT)
    figure.colorbar(scale, ax=axes, extend="both", shrink=0.8, label="mismatch", pad=0.01)


def legend_below(figure: Figure) -> None:
    """One legend for all panels, under them, without repetition."""
    found: dict[str, object] = {}
    for axis in figure.axes:
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    legend = figure.legend(found.values(), found.keys(), loc="outside lower center", ncols=min(len(found), 3))
    for handle in legend.legend_handles:
        handle.set_alpha(1)
        if isinstance(handle, PathCollection):  # dots of the data are too small to be seen there
            handle.set_sizes([max(60, *handle.get_sizes())])
