"""The app: one tab per file, all computing done by fmcore."""

from __future__ import annotations

import gradio as gr

from demo.decomposition_tab import build_decomposition_tab
from demo.inspect_tab import build_inspect_tab
from demo.playground_tab import build_playground_tab
from demo.style import page_css, theme

TITLE = "Flow Mismatching"
TABS = (
    ("Inspect", build_inspect_tab),
    ("Playground", build_playground_tab),
    ("Decomposition", build_decomposition_tab),
)
SENTENCE = (
    "A flow model that has learned only good images predicts a velocity towards them; "
    "where the straight path to your picture disagrees, something is unlike the good ones."
)


def build() -> gr.Blocks:
    """The whole app, not yet launched."""
    with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(3600, 3600), fill_width=True) as app:
        gr.HTML(f"<h1>{TITLE}</h1><p>{SENTENCE}</p>", elem_id="title")
        with gr.Tabs():
            for name, build_tab in TABS:
                with gr.Tab(name):
                    build_tab(app)
    return app.queue(max_size=32, default_concurrency_limit=4)


def launch_options() -> dict:
    """Keyword arguments of ``launch`` that belong to the app's look and limits rather than to where it runs."""
    return {
        "theme": theme(),
        "css": page_css(),
        "max_file_size": "30mb",
        "footer_links": ["api"],
        "ssr_mode": False,
        "run_history": False,
    }
