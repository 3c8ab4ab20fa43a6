"""What the events of "My own good images" do: fit, save and open a model, and what is on the screen meanwhile."""

from __future__ import annotations

import html
import tempfile
from pathlib import Path

import gradio as gr

from demo.common import checks
from demo.common.checks import plain_errors
from demo.common.messages import plain_message
from demo.common.own import MODELS
from demo.inspect import fitting, handlers, model_file


@plain_errors
def fit(files, before):
    """A sentence on the progress, and in the end the token of the fitted model, which takes the place of the one
    ``before``."""
    for sentence, token in fitting.fit_own(files):
        yield f"<p>{html.escape(sentence)}</p>", token or gr.skip()
    MODELS.forget(before)


def fit_begun(asked):
    """The screen of one who has nothing to look at while the field is fitted."""
    return gr.skip() if asked else plain_message("empty", note="Fitting: how far it is stands beside the button.")


def fit_ended(asked, own_token):
    """The screen after a fit that failed or was cancelled, of one who has nothing else to look at."""
    note = handlers.UPLOAD if own_token else handlers.FIT_FIRST
    return gr.skip() if asked else plain_message("empty", note=note)


@plain_errors
def open_model(file, before):
    """A sentence on the uploaded model, and its token; it takes the place of the one ``before``."""
    (path,) = checks.uploads(file, most=1, archive=model_file.LIMITS.total)
    model, token = model_file.open_model(path)
    MODELS.forget(before)
    threshold = model.threshold(model.categories[0])
    said = f"threshold {threshold.value:.4g}" if threshold else model.note(model.categories[0])
    return f"<p>Opened {html.escape(path.name)}: {html.escape(model.categories[0])}, {html.escape(said)}</p>", token


@plain_errors
def save_model(token):
    """The fitted model as a file, which is gone from its folder once gradio has taken it over."""
    with tempfile.TemporaryDirectory() as folder:
        yield gr.update(value=str(model_file.write_model(Path(folder), token)), visible=True)


def after_fit(files, name, category, own_token):
    """Settings, ``asked``, screen, tokens and results: the same pictures are scored under the new field."""
    *settings, asked = handlers.reset(files, None, name, category, own_token)
    return *settings, asked, *([gr.skip()] * 3 if asked else handlers.empty(handlers.UPLOAD))
