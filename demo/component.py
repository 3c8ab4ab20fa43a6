"""A component drawn by the browser: its template, style and scripts from files, with what all of them share."""

from __future__ import annotations

import json
from pathlib import Path

import gradio as gr

from demo.style import COLOURS, HEAT_BASE64

FOLDER = Path(__file__).parent


def component(name: str, *, look: dict, scripts: tuple[str, ...] = (), **options) -> gr.HTML:
    """``name.html``, ``name.css`` and ``name.js`` as one component.

    Args:
        look: constants that the scripts read as ``LOOK``; colours and heat table are added.
        scripts: files that run before ``name.js``, after `component.js`.
    """
    constants = json.dumps({"colours": COLOURS, "heat": HEAT_BASE64, **look})
    run = [_read(script) for script in ("component.js", *scripts, f"{name}.js")]
    return gr.HTML(
        html_template=_read(f"{name}.html"),
        css_template=_read("component.css") + _read(f"{name}.css"),
        js_on_load="\n".join([f"const LOOK = {constants};", *run]),
        apply_default_css=False,
        **options,
    )


def _read(name: str) -> str:
    return (FOLDER / name).read_text()
