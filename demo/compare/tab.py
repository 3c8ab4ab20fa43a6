"""The Compare tab: two of anything side by side. Wiring only.

The page calls `demo.compare.answers` straight through the component, past the queue.
"""

from __future__ import annotations

from pathlib import Path

import gradio as gr

from demo.common import embedded
from demo.common.component import component
from demo.common.messages import OVER
from demo.compare import answers


def build_compare_tab(app: gr.Blocks) -> None:
    """Lay out the tab; to be called inside ``app``."""
    look = {**answers.offered(), "opening": embedded.OPENING, "over": OVER}
    component(Path(__file__).parent, look=look, value="", server_functions=[answers.side], elem_id="compare")
