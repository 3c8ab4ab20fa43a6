"""A component drawn by the browser: its template, style and scripts from files, with what all of them share."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import gradio as gr
import matplotlib
import numpy as np
import plotly

from demo.common.glossary import WORDS, explained
from fmcore.palette import COLOURS, HEAT

SHARED = Path(__file__).parent
# Heat maps' colours ``(256, 3)`` uint8, from 0 to the upper end of the scale; tabulated for the browser.
HEAT_COLOURS = np.rint(255 * np.array(matplotlib.colormaps[HEAT].colors)).astype(np.uint8)
LOOK = {
    "colours": COLOURS,
    "words": WORDS,
    "heat": base64.b64encode(HEAT_COLOURS.tobytes()).decode(),
}
# The charts' library comes from its Python package, and is fetched from this server when there is something to draw.
PLOTLY = Path(plotly.__file__).parent / "package_data" / "plotly.min.js"


def component(
    folder: Path, *, scripts: tuple[str, ...] = (), look: dict | None = None, charts: bool = False, **options
) -> gr.HTML:
    """``view.html``, ``view.css`` and ``view.js`` of a tab's folder as one component.

    Args:
        scripts: files of the folder that run before ``view.js``, after `component.js`.
        look: further constants that the scripts read as ``LOOK``.
        charts: whether it draws some, with `charts.js`.
    """
    run = [SHARED / "component.js", *(folder / script for script in scripts), folder / "view.js"]
    if charts:
        gr.set_static_paths([PLOTLY])
        run.insert(1, SHARED / "charts.js")
        look = {"plotly": f"gradio_api/file={PLOTLY.as_posix()}"} | (look or {})
    return gr.HTML(
        html_template=explained((folder / "view.html").read_text()),
        css_template=(SHARED / "component.css").read_text() + (folder / "view.css").read_text(),
        js_on_load="\n".join([f"const LOOK = {json.dumps(LOOK | (look or {}))};", *(p.read_text() for p in run)]),
        apply_default_css=False,
        **options,
    )
