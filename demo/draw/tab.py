"""The Draw tab: a brush on a good picture; the score moves with it. Wiring only.

The page calls `demo.draw.answers` straight through the component, one request at a time, past the queue.
"""

from __future__ import annotations

from pathlib import Path

import gradio as gr

from demo.common import embedded
from demo.common.component import component
from demo.common.messages import OVER
from demo.draw import answers


def build_draw_tab(app: gr.Blocks) -> None:
    """Lay out the tab; to be called inside ``app``."""
    look = {"models": answers.offered(), "opening": embedded.OPENING, "over": OVER}
    component(
        Path(__file__).parent,
        scripts=("brush.js",),
        look=look,
        value="",
        server_functions=[answers.begin, answers.score],
        elem_id="draw",
    )
