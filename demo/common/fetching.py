"""A model of the Hub that is chosen in a menu is fetched first; one that cannot be had leaves the menu as it was."""

from __future__ import annotations

from collections.abc import Callable

import gradio as gr

from demo.common import hub, own
from demo.common.blocks import PLUMBING, QUIET
from demo.common.checks import plain_errors

WORK = {"concurrency_id": "hub", "concurrency_limit": 4, "api_visibility": "private", **QUIET}


def fetched_first(model: gr.Dropdown, chosen: gr.State) -> Callable:
    """The event of a choice in a menu of models, to be given what it does; ``chosen`` begins with the name of the model
    that is shown. Where no model of the Hub is allowed there is nothing to wait for."""
    if not hub.names():
        return model.input
    seen = {"show_progress": "minimal", "show_progress_on": model}
    fetching = model.input(_fetch, model, None, **WORK | seen, trigger_mode="multiple")
    # What is shown by then, not what was when the choice was made: another one may have come since.
    fetching.failure(lambda shown: shown[0], chosen, model, **PLUMBING)
    return fetching.success


@plain_errors
def _fetch(name):
    if own.is_of_hub(name):
        for number, sentence in enumerate(hub.progress(name)):
            if number == 0:
                gr.Info(f"{sentence}. This is done once.", title="A moment")
            yield
