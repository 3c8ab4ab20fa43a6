"""How figures look, in every notebook: colours from the one place that defines them, few lines, readable size."""

import matplotlib
from matplotlib.figure import Figure

from demo.style import COLOURS

HEAT = "inferno"
SOFT = "#5b6470"

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

__all__ = ["COLOURS", "HEAT", "SOFT", "Figure"]
