"""The Inspect tab: choose a model, give pictures, look at their mismatch. Wiring only."""

from __future__ import annotations

import html
from collections.abc import Sequence

import gradio as gr

from demo import checks, inspection, library, own
from demo.blocks import HOUR, MODEL_WORK, PLUMBING, drop_zone, example_gallery, picked, thumbnails
from demo.checks import plain_errors
from demo.inspection import OWN
from demo.viewer import plain_message, viewer
from fmcore.detector.model import Model
from fmcore.mismatch.mismatch import HeatSettings, PathSettings

AGGREGATORS = ["min", "mean", "median", "percentile"]


def build_inspect_tab(app: gr.Blocks) -> None:
    """Lay out the tab and connect its events; to be called inside ``app``."""
    names = library.model_names()
    first = names[0] if names else OWN
    categories = library.categories(first)
    opened = library.first_category(first)
    paths, heat = _info(first, None)

    tokens = gr.State([], time_to_live=HOUR, delete_callback=_forget)
    own_token = gr.State(None, time_to_live=HOUR, delete_callback=_forget_model)
    example = gr.State(None, time_to_live=HOUR)

    with gr.Row(elem_classes="inspect"):
        with gr.Column(scale=1, min_width=280, elem_classes="choices"):
            labels = [(library.LABELS[name], name) for name in names] + [("My own good images", OWN)]
            model = gr.Dropdown(labels, value=first, label="Model", elem_id="model")
            category = gr.Dropdown(
                categories, value=opened, label="Category", elem_id="category", visible=bool(categories)
            )
            with gr.Column(visible=first == OWN, elem_classes="own") as own_group:
                range_hint = f"{own.FEWEST} to {own.MOST}; from {own.CALIBRATED} on with a threshold."
                gr.HTML(f"<b>Good pictures.</b> {range_hint}", elem_classes="hint")
                good = drop_zone("Good pictures", "good")
                size = gr.Radio(list(own.SIZES), value=own.SIZES[0], label="Pixels per side", elem_id="size")
                with gr.Row():
                    fit = gr.Button("Fit", variant="primary", elem_id="fit", min_width=80)
                    stop_fit = gr.Button("Cancel fit", elem_id="stop-fit", min_width=80)
                fitted = gr.HTML(elem_id="fitted", padding=True)
            with gr.Column(visible=bool(categories), elem_classes="own") as example_group:
                gr.HTML("<b>Examples.</b> Click one to score it.", elem_classes="hint")
                gallery = example_gallery(opened, "examples")
            gr.HTML(f"<b>Pictures to inspect.</b> At most {checks.MAX_FILES} at once.", elem_classes="hint")
            files = drop_zone("Pictures to inspect", "files")
            with gr.Row():
                score = gr.Button("Score", variant="primary", elem_id="score", min_width=80)
                cancel = gr.Button("Cancel", elem_id="cancel", min_width=80)
            with gr.Accordion("Settings", open=False, elem_id="settings"):
                k = gr.Slider(1, checks.MAX_PATHS, paths.paths, step=1, label="K, noise draws; score again")
                t = gr.Slider(1, checks.MAX_TIMES, paths.times, step=1, label="T, times; score again")
                structure = gr.Slider(
                    0,
                    1,
                    paths.structure,
                    step=0.05,
                    label="Share of structure; score again",
                    info="0: the paper's mismatch. Above: differences count by the contrast around them.",
                )
                aggregator = gr.Dropdown(AGGREGATORS, value=heat.aggregator, label="Over the draws take the")
                percentile = gr.Slider(0.05, 1, heat.percentile, step=0.05, label="alpha of 'percentile'")
                exponent = gr.Slider(0, 8, heat.exponent, step=0.25, label="r, in the weight t^r")
                smoothing = gr.Slider(0, 8, heat.smoothing, step=0.5, label="Smoothing, sigma in pixels")
                reset = gr.Button("Back to the model's own", size="sm", elem_id="reset")
        with gr.Column(scale=3, min_width=320, elem_classes="result"):
            results = gr.Radio([], label="Results: raw score, verdict", visible=False, elem_id="results")
            screen = viewer(elem_id="viewer")
            skipped = gr.HTML(elem_id="skipped", padding=True)

    heat_inputs = [aggregator, percentile, exponent, smoothing]
    setting_inputs = [k, t, structure, *heat_inputs]
    shown = [screen, results]
    run = {
        "inputs": [files, example, model, category, own_token, *setting_inputs],
        "outputs": [screen, tokens, skipped],
        **MODEL_WORK,
        "show_progress": "minimal",  # also says how many are waiting before
        "show_progress_on": files,
    }
    clicked = gallery.select(picked, None, [example, files], **PLUMBING)
    runs = [
        clicked.success(_run, api_visibility="private", **run),
        files.upload(_run, api_visibility="undocumented", api_name="inspect", **run),
        score.click(_run, api_visibility="private", **run),
    ]
    for finished in runs:
        finished.success(_show_last, [tokens, *heat_inputs], shown, **PLUMBING)
    stopped = cancel.click(_stopped, None, screen, cancels=runs, **PLUMBING)
    stopped.then(_show_last, [tokens, *heat_inputs], shown, **PLUMBING)

    view = {"fn": _show, "inputs": [tokens, results, *heat_inputs], "outputs": shown, **PLUMBING}
    results.input(**view)
    for component in heat_inputs:
        component.input(**view, trigger_mode="always_last")
    reset.click(_own_values, [model, own_token], setting_inputs, **PLUMBING).success(**view)

    fitting = fit.click(
        _fit, [good, size], [fitted, own_token], api_visibility="undocumented", api_name="fit", **MODEL_WORK
    )
    fitted_values = fitting.success(_own_values, [model, own_token], setting_inputs, **PLUMBING)
    # What is on the screen was scored by an earlier field: it makes room for the same pictures under the new one.
    after_fit = fitted_values.success(_run_again, api_visibility="private", **run)
    after_fit.success(_show_last, [tokens, *heat_inputs], shown, **PLUMBING)
    stop_fit.click(lambda: "Cancelled.", None, fitted, cancels=[fitting, after_fit], **PLUMBING)

    changed = [category, gallery, example_group, own_group, example, *setting_inputs, screen, tokens, results]
    model.input(_model_changed, [model, own_token], changed, **PLUMBING)
    category.input(_category_changed, category, [gallery, example], **PLUMBING)
    first_look = app.load(_first_look, None, [screen, tokens, example], api_visibility="private", **MODEL_WORK)
    first_look.success(_show_last, [tokens, *heat_inputs], shown, **PLUMBING)

    # The programming interface: same inputs, plus a single file and the number of an example.
    with gr.Group(visible=False):
        file = gr.File()
        number = gr.Number(value=-1)
        answer = gr.JSON()
        ask = gr.Button()
    ask.click(
        _score, [file, model, category, *setting_inputs, number, own_token], answer, api_name="score", **MODEL_WORK
    )


def _forget(tokens: list) -> None:
    # Results of examples have a speaking key and are shared; a visitor's own have random tokens.
    inspection.RESULTS.drop([token for token in tokens if isinstance(token, str)])


def _forget_model(token: str | None) -> None:
    inspection.MODELS.drop([token])


def _info(name: object, own_token: str | None) -> tuple[PathSettings, HeatSettings]:
    model = inspection.MODELS.get(own_token) if name == OWN and own_token else None
    info = model.info if model else library.info(name) if isinstance(name, str) else None
    return (info.paths, info.heat) if info else (PathSettings(), HeatSettings())


def _values(paths: PathSettings, heat: HeatSettings) -> list:
    return [paths.paths, paths.times, paths.structure, heat.aggregator, heat.percentile, heat.exponent, heat.smoothing]


def _parsed(model: Model, values: Sequence) -> tuple[PathSettings, HeatSettings]:
    """The checked settings behind `_values`."""
    return checks.path_settings(model.info.paths, *values[:3]), checks.heat_settings(*values[3:])


def _own_values(name, own_token):
    return _values(*_info(name, own_token))


def _model_changed(name, own_token):
    categories = library.categories(name) if isinstance(name, str) else []
    first = library.first_category(name) if categories else None
    return [
        gr.update(choices=categories, value=first, visible=bool(categories)),
        thumbnails(first),
        gr.update(visible=bool(categories)),
        gr.update(visible=name == OWN),
        0 if categories else None,
        *_own_values(name, own_token),
        # What another model found would be judged by settings that are no longer shown.
        *_empty("Click an example, or upload pictures." if categories or own_token else "First fit good pictures."),
        _no_results(),
    ]


def _empty(note):
    """An empty screen, and no tokens."""
    return plain_message("empty", note=note), []


def _no_results():
    return gr.update(choices=[], value=None, visible=False)


def _category_changed(name):
    return thumbnails(name if isinstance(name, str) else None), 0


@plain_errors
def _run(files, example, name, category, own_token, *settings):
    model, category = inspection.find_model(name, category, own_token)
    paths, heat = _parsed(model, settings)
    if files or example is None:
        items = inspection.uploaded_items(files)
    else:
        items = [inspection.example_item(name, category, example, paths)]
    for message, tokens, skipped in inspection.score_items(items, model, category, paths, heat):
        yield message or gr.skip(), tokens, inspection.skipped_text(skipped)


def _run_again(files, *chosen):
    if files:
        yield from _run(files, *chosen)
    else:
        yield *_empty("The field is fitted: now upload pictures to inspect."), ""


def _first_look():
    name = next(iter(library.model_names()), OWN)
    category = library.first_category(name)
    if not library.examples(category):
        yield gr.skip(), [], None
    else:
        for message, tokens, _ in _run(None, 0, name, category, None, *_own_values(name, None)):
            yield message, tokens, 0


@plain_errors
def _show(tokens, chosen, *heat):
    if not tokens:
        return gr.skip(), _no_results()
    return inspection.show(tokens, chosen, checks.heat_settings(*heat))


def _show_last(tokens, *heat):
    # What was just scored is on the screen, and a picture added to others is the one its visitor wants to see.
    return _show(tokens, len(tokens) - 1, *heat)


def _stopped():
    return plain_message("stopped")


@plain_errors
def _fit(files, size):
    for sentence, token in own.fit_own(files, size):
        yield f"<p>{html.escape(sentence)}</p>", token


@plain_errors
def _score(
    file, model, category, paths, times, structure, aggregator, percentile, exponent, smoothing, example, own_token
):
    """Score one image file, or with no file the example of that number; None is the model's own setting."""
    chosen, category = inspection.find_model(model, category, own_token)
    asked = (paths, times, structure, aggregator, percentile, exponent, smoothing)
    own_values = _values(chosen.info.paths, chosen.info.heat)
    values = [mine if value is None else value for value, mine in zip(asked, own_values, strict=True)]
    return inspection.score_request(file, example, chosen, category, *_parsed(chosen, values))
