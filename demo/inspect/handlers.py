"""What the events of the Inspect tab do: handlers between its components and the work of `scoring` and `fitting`.

``asked`` names what ought to be on the screen. Every control that decides it answers with a new one; whatever changes
it starts a run, and what leaves it as it was, a menu opened and closed or the same choice again, does nothing.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import gradio as gr

from demo.common import checks, embedded, own
from demo.common.blocks import thumbnails
from demo.common.checks import plain_errors
from demo.common.messages import plain_message
from demo.common.own import OWN
from demo.common.store import Store
from demo.inspect import scoring
from demo.inspect.download import write_zip
from demo.inspect.link import read_link
from fmcore.detector.model import Model
from fmcore.errors import FlowMismatchingError
from fmcore.mismatch import AGGREGATORS, HeatSettings, PathSettings, has_exact_mean

PICK = "Click an example, or upload pictures."
FIT_FIRST = "First fit good pictures."
NONE = -1  # number of no run
LATEST = Store(100_000)  # by visitor, the number of the run whose result is still wanted
UPLOAD = "The field is fitted: now upload pictures to inspect."
FETCHED = "The model is here: now upload pictures to inspect."


# ---- what is asked for ----
def asked_for(files, example, name, category, own_token, k, t) -> list | None:
    """What ought to be on the screen, as plain values that can be compared; None: nothing."""
    if (not files and example is None) or (name == OWN and own_token is None):
        return None
    token = own_token if name == OWN else None
    return [[file["path"] for file in files] if files else example, name, category, token, k, t]


def first_asked(request: gr.Request):
    """Model, category, gallery, settings, ``chosen``, example and ``asked`` of a page just opened, by its address."""
    wish = read_link(request.query_params)
    if wish is None:
        return [gr.skip()] * 11
    choices = gr.update(choices=embedded.categories(wish.model), value=wish.category)
    asked = asked_for(None, wish.example, wish.model, wish.category, None, wish.paths.paths, wish.paths.times)
    shown = [wish.model, choices, thumbnails(wish.category), *_shown_settings(wish.paths, wish.heat)]
    return [*shown, [wish.model, wish.category], wish.example, asked]


def example_picked(event: gr.SelectData, name, category, k, t):
    """Example, files (put away) and ``asked``."""
    return event.index, None, asked_for(None, event.index, name, category, None, k, t)


def files_changed(files, name, category, own_token, k, t):
    """Example, ``asked``, screen, tokens and results: without files nothing is left to look at."""
    asked = asked_for(files, None, name, category, own_token, k, t)
    return None, asked, *([gr.skip()] * 3 if files else empty(PICK))


def model_changed(chosen, files, example, name, category, own_token):
    """Category, groups, example, settings, ``chosen``, ``asked``, screen, tokens and results of another model."""
    if chosen and name == chosen[0]:
        return [gr.skip()] * 16
    categories, has_examples = own.categories(name), own.has_examples(name)
    had_examples = bool(chosen) and own.has_examples(chosen[0])
    kept = category if category in categories else own.first_category(name) if categories else None
    if not has_examples or files:
        example = None
    elif example is None or kept != category:
        example = 0
    paths, heat = own.settings(name, own_token)
    asked = asked_for(files, example, name, kept, own_token, paths.paths, paths.times)
    note = FETCHED if own.is_of_hub(name) else UPLOAD if own_token else FIT_FIRST
    return [
        gr.update(choices=categories, value=kept, visible=bool(categories)),
        gr.skip() if kept == category and had_examples else thumbnails(kept if has_examples else None),
        gr.update(visible=has_examples),
        gr.update(visible=name == OWN),
        example,
        *_shown_settings(paths, heat),
        [name, kept],
        asked,
        *([gr.skip()] * 3 if asked else empty(note)),
    ]


def category_changed(chosen, files, name, category, own_token, k, t):
    """Gallery, example, ``chosen`` and ``asked`` of another category."""
    if chosen == [name, category]:
        return [gr.skip()] * 4
    example = None if files or own.is_of_hub(name) else 0
    asked = asked_for(files, example, name, category, own_token, k, t)
    return thumbnails(category if isinstance(category, str) else None), example, [name, category], asked


def reset(files, example, name, category, own_token):
    """The model's own settings, and ``asked`` with them."""
    paths, heat = own.settings(name, own_token)
    asked = asked_for(files, example, name, category, own_token, paths.paths, paths.times)
    return *_shown_settings(paths, heat), asked


def started(request: gr.Request, asked, runs):
    """The number of the next run, where anything is asked for; an earlier one ends when it sees it."""
    if asked is not None:
        return started_again(request, runs)
    LATEST.put(NONE, 1, request.session_hash)
    return gr.skip()


def started_again(request: gr.Request, runs):
    """The number of the next run, whatever was asked for before."""
    LATEST.put(runs + 1, 1, request.session_hash)
    return runs + 1


def stopped():
    """Screen and ``asked`` after a cancelled run: the same choice again is a new wish."""
    return plain_message("stopped"), None


def empty(note):
    """An empty screen, no tokens and no results."""
    return plain_message("empty", note=note), [], no_results()


# ---- settings ----
def alpha_slider(aggregator, value=None):
    """The slider of an aggregator's one parameter; hidden where it has none."""
    known = AGGREGATORS.get(aggregator) if isinstance(aggregator, str) else None
    parameter = known and known.parameter
    if parameter is None:
        return gr.update(visible=False)
    value = parameter.default if value is None else value
    return gr.update(
        visible=True, label=parameter.description, minimum=parameter.low, maximum=parameter.high, value=value
    )


def _shown_settings(paths: PathSettings, heat: HeatSettings) -> list:
    alpha = alpha_slider(heat.aggregator, heat.alpha)
    draws = gr.update(value=paths.paths, minimum=min(1, paths.paths))  # 0 where the model takes all noise, exactly
    return [draws, paths.times, heat.aggregator, alpha, heat.exponent, heat.smoothing]


def parsed(model: Model, values: Sequence) -> tuple[PathSettings, HeatSettings]:
    """K, T, aggregator, alpha, exponent and smoothing, checked for this model."""
    exact = has_exact_mean(next(iter(model.fields.values()), None))
    return checks.path_settings(model.info.paths, *values[:2], exact=exact), checks.heat_settings(*values[2:])


# ---- work ----
@plain_errors
def run(request: gr.Request, number, before, files, example, name, category, own_token, *settings):
    """Screen, tokens, results and skipped files, while pictures are scored; a failure leaves an empty screen.

    ``before``: tokens of what the visitor saw last, which nobody can see any more once there is something new.
    """
    try:
        for message in scoring.preparing(name, category):
            if LATEST.get(request.session_hash) not in (None, number):
                return
            yield message, [], no_results(), ""
        model, category = own.find_model(name, category, own_token)
        paths, heat = parsed(model, settings)
        if files or example is None:
            items = scoring.uploaded_items(files)
        else:
            items = [scoring.example_item(name, category, example, paths)]
        for message, tokens, skipped in scoring.score_items(items, model, category, paths, heat):
            if LATEST.get(request.session_hash) not in (None, number):
                return
            yield message or gr.skip(), tokens, gr.skip(), scoring.skipped_text(skipped)
        forget([token for token in before if token not in tokens])
    except FlowMismatchingError as error:
        yield *empty(str(error)), ""
        raise


@plain_errors
def show(tokens, chosen, *heat):
    """Screen and results under these heat settings."""
    if not tokens:
        return gr.skip(), no_results()
    return scoring.show(tokens, chosen, checks.heat_settings(*heat))


def show_last(tokens, *heat):
    """What was just scored: a picture added to others is the one its visitor wants to see."""
    return show(tokens, len(tokens) - 1, *heat)


@plain_errors
def download(tokens, *heat):
    """The results as a file, which is gone from its folder once gradio has taken it over."""
    with tempfile.TemporaryDirectory() as folder:
        path = write_zip(Path(folder), tokens or [], checks.heat_settings(*heat))
        yield gr.update(value=str(path), visible=True)


def no_results():
    """An empty list of results."""
    return gr.update(choices=[], value=None, visible=False)


def forget(tokens: list) -> None:
    """Drop a visitor's results when their session ends."""
    # Results of examples have a speaking key and are shared; a visitor's own have random tokens.
    scoring.RESULTS.drop([token for token in tokens if isinstance(token, str)])
