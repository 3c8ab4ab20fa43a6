"""The Playground tab: the method in the plane, computed as the visitor acts. Wiring only.

The page calls `demo.playground` straight through the component, past the queue, so that a model at work in another
tab never delays a drag; the server is asked nothing before the tab is first seen.
"""

from __future__ import annotations

import gradio as gr

from demo import playground
from demo.checks import MAX_PATHS, MAX_TIMES
from demo.component import component
from demo.style import ACCENT


def build_playground_tab(app: gr.Blocks) -> None:
    """Lay out the tab; to be called inside ``app``."""
    look = {
        "accent": ACCENT,
        "most": {"starts": MAX_PATHS, "times": MAX_TIMES, "points": playground.MAX_POINTS},
        "fewest": playground.FEWEST_POINTS,
        "window": playground.OWN_WINDOW,
    }
    component(
        "playground_view",
        look=look,
        scripts=("playground_draw.js",),
        value="",
        server_functions=[playground.scene, playground.look, playground.scores, playground.train],
        elem_id="playground",
    )
