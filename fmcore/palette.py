"""The one place for colours: what each quantity looks like in the app, the notebooks and the report.

The hues are Okabe and Ito's, which stay apart for the colour-blind and on a projector; heat maps use one perceptually
uniform colour map.
"""

from __future__ import annotations

COLOURS = {
    "predicted_velocity": "#0072B2",
    "geometric_velocity": "#E69F00",
    "denoising_term": "#56B4E9",
    "fisher_term": "#D55E00",
    "normal": "#009E73",
    "anomalous": "#CC79A7",
}
ACCENT = COLOURS["predicted_velocity"]
INK = "#1c1f23"  # text, and curves that stand for no quantity above
SOFT = "#5b6470"  # axes, captions, what is said in passing
HEAT = "inferno"  # matplotlib's name of the heat colour map
