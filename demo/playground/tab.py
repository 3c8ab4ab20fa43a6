"""The Playground tab: the method in the plane, computed as the visitor acts. Wiring only.

The page calls `demo.playground.answers` straight through the component, past the queue, so that a model at work in
another tab never delays a drag; the server is asked nothing before the tab is first seen.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import gradio as gr

from demo.common.checks import MAX_PATHS, MAX_TIMES
from demo.common.component import component
from demo.playground import answers
from demo.playground.scenes import FEWEST_POINTS, MAX_POINTS, OWN_WINDOW
from fmcore.mismatch import AGGREGATORS, Aggregator

SCRIPTS = ("drawing.js", "asking.js", "painting.js", "pointer.js", "training.js")


def build_playground_tab(app: gr.Blocks) -> None:
    """Lay out the tab; to be called inside ``app``."""
    look = {
        "most": {"starts": MAX_PATHS, "times": MAX_TIMES, "points": MAX_POINTS},
        "fewest": FEWEST_POINTS,
        "window": OWN_WINDOW,
        "aggregators": [_told(one) for one in AGGREGATORS.values()],
    }
    component(
        Path(__file__).parent,
        look=look,
        scripts=SCRIPTS,
        value="",
        server_functions=[answers.scene, answers.look, answers.scores, answers.train],
        elem_id="playground",
    )


def _told(one: Aggregator) -> dict:
    """What the page needs of an aggregator, as plain JSON."""
    parameter = one.parameter and asdict(one.parameter)
    return {"name": one.name, "description": one.description, "parameter": parameter}
