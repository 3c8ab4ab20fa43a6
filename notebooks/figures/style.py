"""How figures look in every notebook: the project's colours, few lines, readable size. Importing this sets it."""

import matplotlib
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from fmcore.palette import COLOURS, HEAT, INK, SOFT

matplotlib.rcParams.update(
    {
        "figure.dpi": 110,
        "figure.constrained_layout.use": True,
        "font.size": 10,
        "axes.titlesize": 11,
        "axes.titlelocation": "left",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.edgecolor": SOFT,
        "xtick.color": SOFT,
        "ytick.color": SOFT,
        "legend.frameon": False,
    }
)


def headline(figure: Figure, title: str) -> None:
    """What to see, above the whole figure."""
    figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold")


def plain_ticks(axis: Axis) -> None:
    """1, 2, 5, 10 instead of powers, on a logarithmic axis."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_formatter(NullFormatter())


__all__ = ["COLOURS", "HEAT", "INK", "SOFT", "Figure", "headline", "plain_ticks"]
