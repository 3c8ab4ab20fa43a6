"""The Inspect tab: choose a model, give pictures, look at their mismatch. Wiring only."""

from __future__ import annotations

import gradio as gr

from demo.common import checks, embedded, own
from demo.common.blocks import HOUR, LONG_WORK, MODEL_WORK, PLUMBING, drop_zone, example_gallery
from demo.common.fetching import fetched_first
from demo.common.own import OWN
from demo.inspect import fit_handlers, fitting, handlers
from demo.inspect.view import viewer
from fmcore.mismatch import AGGREGATORS


def build_inspect_tab(app: gr.Blocks, own_token: gr.State) -> None:
    """Lay out the tab and connect its events; to be called inside ``app``."""
    names = embedded.model_names()
    first = names[0] if names else OWN
    categories = embedded.categories(first)
    opened = embedded.first_category(first)

    tokens = gr.State([], time_to_live=HOUR, delete_callback=handlers.forget)
    example = gr.State(None, time_to_live=HOUR)
    chosen = gr.State([first, opened], time_to_live=HOUR)
    asked = gr.State(None, time_to_live=HOUR)
    started = gr.State(0, time_to_live=HOUR)

    with gr.Row(elem_classes="inspect"):
        with gr.Column(scale=1, min_width=280, elem_classes="choices"):
            with gr.Row(elem_classes="menus"):
                model = gr.Dropdown(own.menu(), value=first, label="Model", elem_id="model", min_width=130)
                category = gr.Dropdown(
                    categories,
                    value=opened,
                    label="Category",
                    elem_id="category",
                    min_width=110,
                    visible=bool(categories),
                )
            with gr.Column(visible=first == OWN, elem_classes="own") as own_group:
                least = f"From {fitting.FOR_A_THRESHOLD} on with a threshold."
                hint = f"<b>Good pictures.</b> {fitting.FEWEST} to {fitting.MOST}, or a zip file. {least}"
                gr.HTML(hint, elem_classes="hint")
                good = drop_zone("Good pictures", "good", archives=True)
                with gr.Row():
                    fit = gr.Button("Fit", variant="primary", elem_id="fit", min_width=80)
                    stop_fit = gr.Button("Cancel fit", elem_id="stop-fit", min_width=80)
                fitted = gr.HTML(elem_id="fitted", padding=True)
                with gr.Row():
                    save_model = gr.Button("Save the model", size="sm", elem_id="save-model", min_width=80)
                    open_model = gr.UploadButton(
                        "Open a saved one", file_types=[".zip"], size="sm", elem_id="open-model", min_width=80
                    )
                saved_model = gr.File(visible=False, interactive=False, show_label=False, elem_id="saved-model")
            with gr.Column(visible=bool(categories), elem_classes="own") as example_group:
                gr.HTML("<b>Examples.</b> Click one to score it.", elem_classes="hint")
                gallery = example_gallery(opened, "examples")
            with gr.Column(elem_classes="own uploads"):
                gr.HTML(f"<b>Your pictures.</b> At most {checks.MAX_FILES} at once.", elem_classes="hint")
                files = drop_zone("Your pictures", "files")
            with gr.Column(elem_classes="own after"):
                with gr.Row():
                    score = gr.Button("Score again", elem_id="score", min_width=80)
                    cancel = gr.Button("Cancel", elem_id="cancel", min_width=80)
                download = gr.Button("Save scores and maps", elem_id="download", min_width=80)
                saved = gr.File(visible=False, interactive=False, show_label=False, elem_id="saved")
                with gr.Accordion("Settings", open=False, elem_id="settings"):
                    settings = setting_controls(first)
                    reset = gr.Button("Back to the model's own", size="sm", elem_id="reset")
        with gr.Column(scale=3, min_width=320, elem_classes="result"):
            results = gr.Radio([], label="Results: raw score, verdict", visible=False, elem_id="results")
            screen = viewer(elem_id="viewer")
            skipped = gr.HTML(elem_id="skipped", padding=True)

    k, t, *heat = settings
    aggregator, alpha = heat[:2]
    shown = [screen, results]
    run = {
        "inputs": [started, tokens, files, example, model, category, own_token, *settings],
        "outputs": [screen, tokens, results, skipped],
        **MODEL_WORK,
        "show_progress": "minimal",  # also says how many are waiting before
        "show_progress_on": files,
    }
    running = started.change(handlers.run, **run, api_visibility="undocumented", api_name="inspect")
    asked.change(handlers.started, [asked, started], started, **PLUMBING)
    score.click(handlers.started_again, started, started, **PLUMBING)
    # Of two runs in quick succession the second one's result must not be dropped while the first one's is on its way.
    running.success(handlers.show_last, [tokens, *heat], shown, **PLUMBING, trigger_mode="multiple")
    cut = cancel.click(handlers.stopped, None, [screen, asked], cancels=running, **PLUMBING)
    cut.then(handlers.show_last, [tokens, *heat], shown, **PLUMBING)

    opening = [model, category, gallery, *settings, chosen, example, asked]
    app.load(handlers.first_asked, None, opening, **PLUMBING)
    gallery.select(handlers.example_picked, [model, category, k, t], [example, files, asked], **PLUMBING)
    given = [files, model, category, own_token, k, t]
    for changed in (files.upload, files.delete, files.clear):
        changed(handlers.files_changed, given, [example, asked, screen, tokens, results], **PLUMBING)
    fetched_first(model, chosen)(
        handlers.model_changed,
        [chosen, files, example, model, category, own_token],
        [category, gallery, example_group, own_group, example, *settings, chosen, asked, screen, tokens, results],
        **PLUMBING,
    )
    category.input(handlers.category_changed, [chosen, *given], [gallery, example, chosen, asked], **PLUMBING)
    wanted = [files, example, model, category, own_token]
    for slider in (k, t):
        slider.release(handlers.asked_for, [*wanted, k, t], asked, **PLUMBING)

    view = {"fn": handlers.show, "inputs": [tokens, results, *heat], "outputs": shown, **PLUMBING}
    results.input(**view)
    aggregator.input(handlers.alpha_slider, aggregator, alpha, **PLUMBING).success(**view)
    for component in heat[1:]:
        component.input(**view, trigger_mode="always_last")
    download.click(handlers.download, [tokens, *heat], saved, **PLUMBING)
    asked.change(lambda: gr.update(value=None, visible=False), None, saved, **PLUMBING)
    reset.click(handlers.reset, wanted, [*settings, asked], **PLUMBING).success(**view)

    # One after the other: beside the fit, its beginning may be heard of after its end.
    begun = fit.click(fit_handlers.fit_begun, asked, screen, **PLUMBING)
    fit_run = begun.then(
        fit_handlers.fit,
        [good, own_token],
        [fitted, own_token],
        api_visibility="undocumented",
        api_name="fit_own",
        **LONG_WORK,
    )
    after = {
        "fn": fit_handlers.after_fit,
        "inputs": [files, model, category, own_token],
        "outputs": [*settings, asked, screen, tokens, results],
        **PLUMBING,
    }
    fit_run.success(**after)
    kept = {**LONG_WORK, "api_visibility": "private"}
    opened_model = open_model.upload(fit_handlers.open_model, [open_model, own_token], [fitted, own_token], **kept)
    opened_model.success(**after)
    save_model.click(fit_handlers.save_model, own_token, saved_model, **kept)
    own_token.change(lambda: gr.update(value=None, visible=False), None, saved_model, **PLUMBING)
    ended = {"fn": fit_handlers.fit_ended, "inputs": [asked, own_token], "outputs": screen, **PLUMBING}
    fit_run.failure(**ended)
    stop_fit.click(lambda: "Cancelled.", None, fitted, cancels=[begun, fit_run], **PLUMBING).then(**ended)


def setting_controls(name: str) -> list:
    """K, T, aggregator, its parameter, exponent and smoothing, as the model has them."""
    paths, heat = embedded.settings(name)
    parameter = AGGREGATORS[heat.aggregator].parameter
    found = parameter or next(one.parameter for one in AGGREGATORS.values() if one.parameter)
    return [
        gr.Slider(
            min(1, paths.paths),
            checks.MAX_PATHS,
            paths.paths,
            step=1,
            label="Noise draws, K",
            info="How many straight paths from noise to the picture; 0: the mean over all of them. Scores again.",
        ),
        gr.Slider(
            1,
            checks.MAX_TIMES,
            paths.times,
            step=1,
            label="Times, T",
            info="At how many places along each path the velocities are compared. Scores again.",
        ),
        gr.Dropdown(
            [(f"{one.name}: {one.description}", one.name) for one in AGGREGATORS.values()],
            value=heat.aggregator,
            label="Of the draws take",
        ),
        gr.Slider(
            found.low,
            found.high,
            heat.alpha or found.default,
            step=0.05,
            label=found.description,
            visible=parameter is not None,
        ),
        gr.Slider(0, 8, heat.exponent, step=0.25, label="Weight of late times, r", info="Each time counts by t^r."),
        gr.Slider(0, 8, heat.smoothing, step=0.5, label="Smoothing", info="Blur of the map, in cells of its grid."),
    ]
