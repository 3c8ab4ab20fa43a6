"""The app: one folder per tab, all computing done by fmcore."""

from __future__ import annotations

import gradio as gr

from demo.batch import api as batch_api
from demo.batch.tab import build_batch_tab
from demo.common.blocks import HOUR, PLUMBING
from demo.common.embedded import warm_up
from demo.common.glossary import glossary
from demo.common.own import MODELS
from demo.common.style import page_css, page_js, theme
from demo.compare.tab import build_compare_tab
from demo.decomposition import api as decomposition_api
from demo.decomposition.tab import build_decomposition_tab
from demo.draw.tab import build_draw_tab
from demo.inspect import api as inspect_api
from demo.inspect.tab import build_inspect_tab
from demo.playground.tab import build_playground_tab

__all__ = ["build", "launch_options", "warm_up"]

TABS = ("inspect", "batch", "draw", "compare", "playground", "decomposition")  # as the page's address names them
TITLE = "Flow Mismatching"
APIS = (inspect_api.build_api, batch_api.build_api, decomposition_api.build_api)
SENTENCE = "Shows where a picture is unlike good ones, having seen only good ones."
PAPER = "https://arxiv.org/abs/2605.23070"
WAYS = (
    '<p class="ways"><button type="button" id="tour">Take the tour: five steps</button> '
    f'<a href="{PAPER}" target="_blank" rel="noopener">The paper, arXiv 2605.23070</a></p>'
)


def build() -> gr.Blocks:
    """The whole app, not yet launched."""
    with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(600, 3600), fill_width=True) as app:
        gr.HTML(f"<h1>{TITLE}</h1><p>{SENTENCE}</p>{WAYS}{glossary()}", elem_id="title")
        own_token = gr.State(None, time_to_live=HOUR, delete_callback=MODELS.forget)
        with gr.Tabs(overflow_behavior="wrap") as tabs:
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
        app.load(_asked_tab, None, tabs, **PLUMBING)
        for build_api in APIS:
            build_api()
    return app.queue(max_size=64, default_concurrency_limit=4)


def _asked_tab(request: gr.Request):
    """The tab that the page's address names."""
    asked = request.query_params.get("tab")
    return gr.Tabs(selected=asked) if asked in TABS and asked != TABS[0] else gr.skip()


def launch_options() -> dict:
    """Keyword arguments of ``launch`` that belong to the app's look and limits rather than to where it runs."""
    return {
        "theme": theme(),
        "css": page_css(),
        "js": page_js(),
        "max_file_size": "200mb",
        "footer_links": ["api"],
        "ssr_mode": False,
        "run_history": False,
    }
