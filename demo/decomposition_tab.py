"""The Decomposition tab: choose a model, a picture and a test law, look at the terms. Wiring only."""

from __future__ import annotations

import gradio as gr

from demo import decomposition_run, library
from demo.blocks import HOUR, MODEL_WORK, PLUMBING, drop_zone, example_gallery, picked, thumbnails
from demo.checks import plain_errors
from demo.decomposition_run import ENDS, MAX_NOISE, MAX_SAMPLES, MAX_TIMES, OF_MIX
from demo.decomposition_view import LAWS, decomposition_viewer
from demo.viewer import plain_message

LAW, NOISE, SAMPLES, TIMES = "noisy", 0.05, 8, 12  # what the tab opens with


def build_decomposition_tab(app: gr.Blocks) -> None:
    """Lay out the tab and connect its events; to be called inside a ``gr.Tab``."""
    names = library.model_names()
    first = names[0] if names else None
    opened = library.first_category(first) if first else None
    token = gr.State(None, time_to_live=HOUR, delete_callback=_forget)
    example = gr.State(0, time_to_live=HOUR)

    with gr.Row(elem_classes="inspect") as row:
        with gr.Column(scale=1, min_width=280, elem_classes="choices"):
            labels = [(library.LABELS[name], name) for name in names]
            model = gr.Dropdown(labels, value=first, label="Model of the good pictures, p", elem_id="fd-model")
            choices = library.categories(first) if first else []
            category = gr.Dropdown(choices, value=opened, label="Category", elem_id="fd-category")
            gr.HTML("<b>Examples.</b> Click one to decompose it.", elem_classes="hint")
            gallery = example_gallery(opened, "fd-examples")
            hint = "The first is decomposed; all of them join the test mix."
            gr.HTML(f"<b>Your pictures.</b> {hint}", elem_classes="hint")
            files = drop_zone("Your pictures", "fd-files")
            law = gr.Radio(
                [(label, kind) for kind, label in LAWS.items()], value=LAW, label="Test law q", elem_id="fd-law"
            )
            noise = gr.Slider(0.01, MAX_NOISE, NOISE, step=0.01, label="s, noise; pictures span −1 to 1")
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
            with gr.Accordion("Settings", open=False, elem_id="fd-settings"):
                samples = gr.Slider(2, MAX_SAMPLES, SAMPLES, step=1, label="Paths")
                times = gr.Slider(1, MAX_TIMES, TIMES, step=1, label="T, times")
                exponent = gr.Slider(0, 8, 2.0, step=0.25, label="r, in the weight t^r of the maps")
                seed = gr.Number(0, precision=0, minimum=0, label="Seed of the draws")
        with gr.Column(scale=3, min_width=320, elem_classes="result"):
            screen = decomposition_viewer(elem_id="decomposition")

    chosen = [files, example, model, category, law, noise, ends, samples, times, seed, exponent]
    run = {"inputs": chosen, "outputs": [screen, token], "api_visibility": "private", **MODEL_WORK}
    run |= {"show_progress": "minimal", "show_progress_on": files}  # also says how many are waiting before
    clicked = gallery.select(picked, None, [example, files], **PLUMBING)
    runs = [clicked.success(_run, **run), files.upload(_run, **run), start.click(_run, **run)]
    # Nothing is computed for those who never look at this tab.
    runs.append(
        _tab_of(row).select(_first_look, [token, *chosen], [screen, token], api_visibility="private", **MODEL_WORK)
    )
    for finished in runs:
        finished.success(_show, [token, exponent], screen, **PLUMBING)
    cancel.click(lambda: plain_message("stopped"), None, screen, cancels=runs, **PLUMBING)

    exponent.input(_show, [token, exponent], screen, trigger_mode="always_last", **PLUMBING)
    law.input(_law_changed, law, [noise, ends], **PLUMBING)
    model.input(_model_changed, model, [category, gallery, example], **PLUMBING)
    category.input(_category_changed, category, [gallery, example], **PLUMBING)

    # The programming interface: one picture, or the number of an example.
    with gr.Group(visible=False):
        file = gr.File(file_count="multiple")
        number = gr.Number(0)
        answer = gr.JSON()
        ask = gr.Button()
    asked = [file, number, model, category, law, noise, ends, samples, times, seed]
    ask.click(_decompose, asked, answer, api_name="decompose", **MODEL_WORK)


def _tab_of(block) -> gr.Tab:
    while not isinstance(block, gr.Tab):
        block = block.parent
    return block


def _forget(token) -> None:
    # Results of examples have a speaking key and are shared; a visitor's own have random tokens.
    if isinstance(token, str):
        decomposition_run.RESULTS.drop([token])


def _model_changed(name):
    choices = library.categories(name) if isinstance(name, str) else []
    first = library.first_category(name) if choices else None
    return gr.update(choices=choices, value=first), thumbnails(first), 0


def _category_changed(name):
    return thumbnails(name if isinstance(name, str) else None), 0


def _law_changed(law):
    return gr.update(visible=law == "noisy"), gr.update(visible=law in OF_MIX)


@plain_errors
def _run(files, example, model, category, law, noise, ends, samples, times, seed, exponent):
    request = decomposition_run.check_request(files, example, model, category, law, noise, ends, samples, times, seed)
    for message, token in decomposition_run.run_request(request, decomposition_run.exponent_of(exponent)):
        yield gr.skip() if message is None else message, token


def _first_look(token, *chosen):
    if token is not None or not library.model_names():
        yield gr.skip(), token
    else:
        yield from _run(*chosen)


@plain_errors
def _show(token, exponent):
    return gr.skip() if token is None else decomposition_run.show_result(token, decomposition_run.exponent_of(exponent))


@plain_errors
def _decompose(files, example, model, category, law, noise, ends, samples, times, seed):
    """Terms by time of the first file, or with no file of the example of that number; further files join the mix."""
    request = decomposition_run.check_request(files, example, model, category, law, noise, ends, samples, times, seed)
    *_, (_, token) = decomposition_run.run_request(request, 2.0)
    return decomposition_run.RESULTS.get(token).table()
