"""The Playground tab: the method in the plane, computed as the visitor acts. Wiring only.

The page calls `demo.playground` straight through the component, past the queue, so that a model at work in another
tab never delays a drag; the server is asked nothing before the tab is first seen.
"""

from __future__ import annotations

import json
from pathlib import Path

import gradio as gr

from demo import playground
from demo.checks import MAX_PATHS, MAX_TIMES
from demo.style import ACCENT, COLOURS, HEAT_BASE64


def build_playground_tab(app: gr.Blocks) -> None:
    """Lay out the tab; to be called inside ``app``."""
    folder = Path(__file__).parent
    look = {
        "colours": COLOURS,
        "accent": ACCENT,
        "heat": HEAT_BASE64,
        "most": {"starts": MAX_PATHS, "times": MAX_TIMES, "points": playground.MAX_POINTS},
        "fewest": playground.FEWEST_POINTS,
        "window": playground.OWN_WINDOW,
    }
    scripts = [(folder / name).read_text() for name in ("playground_draw.js", "playground_view.js")]
    gr.HTML(
        value="",
        html_template=(folder / "playground_view.html").read_text(),
        css_template=(folder / "playground_view.css").read_text(),
        js_on_load=f"const LOOK = {json.dumps(look)};\n" + "\n".join(scripts),
        server_functions=[playground.scene, playground.look, playground.scores, playground.train],
        apply_default_css=False,
        elem_id="playground",
    )
