"""The app: one folder per tab, all computing done by fmcore."""

from __future__ import annotations

import gradio as gr

from demo.batch.tab import build_batch_tab
from demo.common.blocks import HOUR
from demo.common.embedded import warm_up
from demo.common.glossary import glossary
from demo.common.own import MODELS
from demo.common.style import page_css, theme
from demo.compare.tab import build_compare_tab
from demo.decomposition import api as decomposition_api
from demo.decomposition.tab import build_decomposition_tab
from demo.draw.tab import build_draw_tab
from demo.inspect import api as inspect_api
from demo.inspect.tab import build_inspect_tab
from demo.playground.tab import build_playground_tab

__all__ = ["build", "launch_options", "warm_up"]

TITLE = "Flow Mismatching"
APIS = (inspect_api.build_api, decomposition_api.build_api)
SENTENCE = "Shows where a picture is unlike good ones, having seen only good ones."
STEPS = (
    "Pick an example, or upload your own picture.",
    "Press ▶ and watch the map sharpen.",
    "Click a place to see why.",
)


def build() -> gr.Blocks:
    """The whole app, not yet launched."""
    with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(3600, 3600), fill_width=True) as app:
        steps = "".join(f"<li>{step}</li>" for step in STEPS)
        gr.HTML(f"<h1>{TITLE}</h1><p>{SENTENCE}</p><ol>{steps}</ol>{glossary()}", elem_id="title")
        own_token = gr.State(None, time_to_live=HOUR, delete_callback=MODELS.forget)
        with gr.Tabs(overflow_behavior="wrap"):
            with gr.Tab("Inspect", id="inspect"):
                build_inspect_tab(app, own_token)
            with gr.Tab("Batch", id="batch"):
                build_batch_tab(app, own_token)
            with gr.Tab("Draw", id="draw"):
                build_draw_tab(app)
            with gr.Tab("Compare", id="compare"):
                build_compare_tab(app)
            with gr.Tab("Playground", id="playground"):
                build_playground_tab(app)
            with gr.Tab("Decomposition", id="decomposition"):
                build_decomposition_tab(app)
        for build_api in APIS:
            build_api()
    return app.queue(max_size=32, default_concurrency_limit=4)


def launch_options() -> dict:
    """Keyword arguments of ``launch`` that belong to the app's look and limits rather than to where it runs."""
    return {
        "theme": theme(),
        "css": page_css(),
        "max_file_size": "200mb",
        "footer_links": ["api"],
        "ssr_mode": False,
        "run_history": False,
    }
