"""The Decomposition tab: choose a model, a picture and a test law, look at the terms. Wiring only."""

from __future__ import annotations

import secrets

import gradio as gr

from demo.common import embedded
from demo.common.blocks import (
    HOUR,
    LONG_WORK,
    MODEL_WORK,
    PLUMBING,
    drop_zone,
    example_gallery,
    picked,
    tab_of,
    thumbnails,
)
from demo.common.checks import plain_errors
from demo.common.messages import plain_message
from demo.decomposition import decompose
from demo.decomposition.request import ENDS, MAX_NOISE, MAX_SAMPLES, MAX_TIMES, OF_MIX, check_request, exponent_of
from demo.decomposition.view import LAWS, decomposition_viewer
from fmcore.errors import FlowMismatchingError

LONG = ("network",)  # laws whose field is learned first
LAW, NOISE, SAMPLES, TIMES = "noisy", 0.05, 8, 12  # what the tab opens with

IN_FEATURES = (
    "This tab lives on pixels. In feature space the terms would speak of features; and where both laws are Gaussian, "
    "ranking by mismatch is ranking by a Mahalanobis distance."
)


def build_decomposition_tab(app: gr.Blocks) -> None:
    """Lay out the tab and connect its events; to be called inside a ``gr.Tab``."""
    names = embedded.pixel_names()
    first = names[0] if names else None
    opened = embedded.first_category(first) if first else None
    token = gr.State(None, time_to_live=HOUR, delete_callback=_forget)
    example = gr.State(0, time_to_live=HOUR)

    chosen = gr.State([first, opened], time_to_live=HOUR)
    shown_for = gr.State(None, time_to_live=HOUR)
    waiting = gr.State(None, time_to_live=HOUR)  # what the queue of long jobs is to work on

    with gr.Row(elem_classes="inspect") as row:
        with gr.Column(scale=1, min_width=280, elem_classes="choices"):
            with gr.Row(elem_classes="menus"):
                labels = [(embedded.LABELS[name], name) for name in names]
                model = gr.Dropdown(labels, value=first, label="Model of good, p", elem_id="fd-model", min_width=130)
                choices = embedded.categories(first) if first else []
                category = gr.Dropdown(choices, value=opened, label="Category", elem_id="fd-category", min_width=110)
            with gr.Column(elem_classes="own"):
                gr.HTML("<b>Examples.</b> Click one to decompose it.", elem_classes="hint")
                gallery = example_gallery(opened, "fd-examples")
            with gr.Column(elem_classes="own uploads"):
                hint = "The first is decomposed."
                gr.HTML(f"<b>Your pictures.</b> {hint}", elem_classes="hint")
                files = drop_zone("Your pictures", "fd-files")
            with gr.Column(elem_classes="own"):
                law = gr.Radio(_law_choices(False), value=LAW, label="Test law, q", elem_id="fd-law")
                more = gr.Checkbox(False, label="More laws, of several pictures", elem_id="fd-more")
                noise = gr.Slider(0.01, MAX_NOISE, NOISE, step=0.01, label="Noise s; pictures span −1 to 1")
                ends = gr.Radio(
                    [(label, kind) for kind, label in ENDS.items()],
                    value="picture",
                    label="Paths end at",
                    visible=False,
                    elem_id="fd-ends",
                )
                with gr.Row():
                    start = gr.Button("Decompose", variant="primary", elem_id="fd-start", min_width=80)
                    cancel = gr.Button("Cancel", elem_id="fd-cancel", min_width=80)
            with gr.Column(elem_classes="own"):
                gr.HTML(IN_FEATURES, elem_classes="hint")
            with gr.Accordion("Settings", open=False, elem_id="fd-settings", elem_classes="after"):
                samples = gr.Slider(2, MAX_SAMPLES, SAMPLES, step=1, label="Noise draws, K")
                times = gr.Slider(1, MAX_TIMES, TIMES, step=1, label="Times, T")
                exponent = gr.Slider(0, 8, 2.0, step=0.25, label="Weight of late times, r", info="Of the maps: t^r.")
                seed = gr.Number(0, precision=0, minimum=0, label="Seed of the draws")
        with gr.Column(scale=3, min_width=320, elem_classes="result"):
            screen = decomposition_viewer(elem_id="decomposition")

    given = [files, example, model, category, law, noise, ends, samples, times, seed]
    outputs = [screen, token, shown_for, waiting]
    seen = {"api_visibility": "private", "show_progress": "minimal", "show_progress_on": files}  # how many wait before
    run = {"inputs": [*given, exponent], "outputs": outputs} | MODEL_WORK | seen
    clicked = gallery.select(picked, None, [example, files], **PLUMBING)
    running = [clicked.success(_run, **run), files.upload(_run, **run), start.click(_run, **run)]
    # Nothing is computed for those who never look at this tab.
    first_look = {**run, "inputs": [token, shown_for, *run["inputs"]], "show_progress": "hidden"}
    running.append(tab_of(row).select(_first_look, **first_look))
    running.append(waiting.change(_run_long, waiting, outputs, **LONG_WORK | seen))
    for finished in running:
        finished.success(_show, [token, exponent], screen, **PLUMBING)
    cancel.click(lambda: plain_message("stopped"), None, screen, cancels=running, **PLUMBING)

    exponent.input(_show, [token, exponent], screen, trigger_mode="always_last", **PLUMBING)
    # A result stays on the screen when a setting is changed, and says that it is one of other settings.
    mark = {"fn": _mark, "inputs": [token, shown_for, *given], "outputs": screen, **PLUMBING}
    more.input(_more_changed, [more, law], [law, noise, ends], **PLUMBING).success(**mark)
    law.input(_law_changed, law, [noise, ends], **PLUMBING).success(**mark)
    model.input(_model_changed, [chosen, model, category], [category, gallery, example, chosen], **PLUMBING).success(
        **mark
    )
    category.input(_category_changed, [chosen, model, category], [gallery, example, chosen], **PLUMBING).success(**mark)
    for setting in (noise, ends, samples, times, seed):
        setting.input(**mark, trigger_mode="always_last")
    for changed in (files.clear, files.delete):
        changed(**mark)


def _forget(token) -> None:
    # Results of examples have a speaking key and are shared; a visitor's own have random tokens.
    if isinstance(token, str):
        decompose.RESULTS.drop([token])


def _model_changed(chosen, name, category):
    if name == chosen[0]:
        return [gr.skip()] * 4
    choices = embedded.categories(name) if isinstance(name, str) else []
    kept = category if category in choices else embedded.first_category(name) if choices else None
    pictures = [gr.skip()] * 2 if kept == category else [thumbnails(kept), 0]
    return gr.update(choices=choices, value=kept), *pictures, [name, kept]


def _category_changed(chosen, name, category):
    if chosen == [name, category]:
        return [gr.skip()] * 3
    return thumbnails(category if isinstance(category, str) else None), 0, [name, category]


def _law_choices(more: bool) -> list[tuple[str, str]]:
    return [(label, kind) for kind, label in LAWS.items() if more or kind not in OF_MIX]


def _more_changed(more, law):
    kept = law if more or law not in OF_MIX else LAW
    return gr.update(choices=_law_choices(bool(more)), value=kept), *_law_changed(kept)


def _law_changed(law):
    return gr.update(visible=law == "noisy"), gr.update(visible=law in OF_MIX)


def _wish(files, example, model, category, law, noise, ends, *others) -> list:
    """What is asked for, as plain values that can be compared."""
    which = [file["path"] for file in files] if files else example
    return [which, model, category, law, law == "noisy" and noise, law in OF_MIX and ends, *others]


def _mark(token, shown_for, *given):
    if token is None:
        return gr.skip()
    return plain_message("current" if _wish(*given) == shown_for else "outdated")


@plain_errors
def _run(*chosen):
    """Screen, token, what the result is of, and what is left to the queue of long jobs."""
    yield from _computed(*chosen, may_wait=True)


@plain_errors
def _run_long(waiting):
    """As `_run`, in the queue of long jobs."""
    yield from _computed(*waiting[1:], may_wait=False)


def _computed(*chosen, may_wait: bool):
    *given, exponent = chosen
    try:
        request, exponent = check_request(*given), exponent_of(exponent)
        if may_wait and request.law in LONG and not decompose.is_there(request):
            # A number of its own, or the same wish once more would start nothing.
            yield decompose.waiting_message(request), None, None, [secrets.token_hex(4), *chosen]
            return
        for message, token in decompose.run_request(request, exponent):
            yield gr.skip() if message is None else message, token, _wish(*given), gr.skip()
    except FlowMismatchingError as error:
        yield plain_message("empty", note=str(error)), None, None, gr.skip()
        raise


def _first_look(token, shown_for, *chosen):
    if token is not None or not embedded.pixel_names():
        yield gr.skip(), token, shown_for, gr.skip()
    else:
        yield from _run(*chosen)


@plain_errors
def _show(token, exponent):
    return gr.skip() if token is None else decompose.show_result(token, exponent_of(exponent))
