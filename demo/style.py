"""The one place for colours: what each quantity looks like in the app, the notebooks and the report.

The eight hues are Okabe and Ito's, which stay apart for the colour-blind and on a projector. Heat maps
use matplotlib's ``inferno``, perceptually uniform, tabulated so that drawing needs no plotting library.
"""

from __future__ import annotations

import base64
from pathlib import Path

import gradio as gr
import numpy as np

COLOURS = {
    "predicted_velocity": "#0072B2",
    "geometric_velocity": "#E69F00",
    "denoising_term": "#56B4E9",
    "fisher_term": "#D55E00",
    "normal": "#009E73",
    "anomalous": "#CC79A7",
}
ACCENT = COLOURS["predicted_velocity"]

# 256 RGB triples, dark to bright, base64.
HEAT_BASE64 = (
    "AAAEAQAFAQEGAQEIAgEKAgIMAgIOAwIQBAMSBAMUBQQXBgQZBwUbCAUdCQYfCgciCwckDAgmDQgpDgkrEAktEQowEgoyFAs0FQs3Fgs5GAw8"
    "GQw+GwxBHAxDHgxFHwxIIQxKIwxMJAxPJgxRKAtTKQtVKwtXLQtZLwpbMQpcMgpeNApfNglhOAliOQljOwlkPQllPglmQApnQgpoRApoRQpp"
    "RwtqSQtqSgxrTAxrTQ1sTw1sUQ5sUg5tVA9tVQ9tVxBuWRBuWhFuXBJuXRJuXxNuYRNuYhRuZBVuZRVuZxZuaRZuahdubBhubRhubxlucRlu"
    "chpudBpudRtudxxteBxteh1tfB1tfR5tfx5sgB9sgiBshCBrhSFrhyFriCJqiiJqjCNpjSNpjyRpkCVokiVokyZnlSZnlydmmCdmmihlmylk"
    "nSlknypjoCpjoitioyxhpSxgpi1gqC5fqS5eqy9erTBdrjBcsDFbsTJaszJatDNZtjRYtzVXuTVWujZVvDdUvThTvzlSwDpRwTpQwztPxDxO"
    "xj1Nxz5MyD9LykBKy0FJzEJIzkNHz0RG0EVF0kZE00dD1EhC1UpB10s/2Ew+2U092k4821A73VE63lI431M34FU24VY14lc041kz5Fox5Vww"
    "5l0v514u6GAt6WEr6mMq62Qp62Yo7Gcm7Wkl7mok72wj724h8G8g8XEf8XMd8nQc83Yb83gZ9HkY9XsX9X0V9n4U9oAT94IS94QQ+IUP+IcO"
    "+IkM+YsL+YwK+Y4J+pAI+pIH+pQH+5YG+5cG+5kG+5sG+50H/J8H/KEI/KMJ/KUK/KYM/KgN/KoP/KwR/K4S/LAU/LIW/LQY+7Ya+7gd+7of"
    "+7wh+74j+sAm+sIo+sQq+sYt+ccv+cky+cs1+M03+M8699E999NA9tVD9tdG9dlJ9dtM9N1P9N9T9OFW8+Na8+Vd8uZh8uhl8upp8ext8e1x"
    "8e918fF58vJ98vSC8/WG8/aK9PiO9fmS9vqW+Pua+fyd+v2h/P+k"
)


def heat_colours() -> np.ndarray:
    """The heat colour map ``(256, 3)`` uint8, from 0 to the upper end of the scale."""
    return np.frombuffer(base64.b64decode(HEAT_BASE64), dtype=np.uint8).reshape(256, 3)


ACCENT_HUE = gr.themes.Color(
    "#eef6fb",
    "#d7eaf5",
    "#b0d5eb",
    "#7fbbdd",
    "#3f97c9",
    ACCENT,
    ACCENT,
    "#005a8e",
    "#00466f",
    "#003450",
    "#00263b",
    name="accent",
)


def theme() -> gr.themes.Base:
    """Gradio's look: system fonts, so that nothing is fetched from elsewhere, and the one accent colour."""
    fonts = ["system-ui", "-apple-system", "Segoe UI", "sans-serif"]
    looks = gr.themes.Base(primary_hue=ACCENT_HUE, font=fonts, font_mono=["ui-monospace", "monospace"])
    return looks.set(block_border_width="0px", block_shadow="none", block_background_fill="transparent")


def page_css() -> str:
    """Style of the page around the viewer."""
    return (Path(__file__).parent / "page.css").read_text()
