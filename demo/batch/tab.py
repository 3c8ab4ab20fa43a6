"""The Batch tab: choose a model, give many pictures, look at all of them. Wiring only."""

from __future__ import annotations

import tempfile
from pathlib import Path

import gradio as gr

from demo.batch import batch as work
from demo.batch import incoming
from demo.batch.download import write_zip
from demo.batch.view import batch_message, batch_viewer
from demo.common import checks, embedded, own
from demo.common.blocks import BATCH_WORK, HOUR, PLUMBING, drop_zone, tab_of
from demo.common.checks import plain_errors
from demo.common.fetching import fetched_first
from demo.common.messages import plain_message
from demo.common.own import OWN, find_model
from fmcore.detector.calibration import check_value
from fmcore.errors import FlowMismatchingError, SettingsError

DROP = "Drop pictures, or a zip file of them, to score them all."
GONE = "These results have made room for others: score the pictures again."
HINT = (
    f"<b>Your pictures.</b> Up to {incoming.MOST}, or a zip file. Folders inside it named <i>good</i> and after "
    "defects become labels."
)


def build_batch_tab(app: gr.Blocks, own_token: gr.State) -> None:
    """Lay out the tab and connect its events; to be called inside a ``gr.Tab``."""
    names = embedded.model_names()
    first = names[0] if names else OWN
    categories = embedded.categories(first)
    opened = embedded.first_category(first)
    token = gr.State(None, time_to_live=HOUR, delete_callback=work.BATCHES.forget)
    chosen = gr.State([first, opened], time_to_live=HOUR)

    with gr.Row(elem_classes="inspect") as row:
        with gr.Column(scale=1, min_width=280, elem_classes="choices"):
            with gr.Row(elem_classes="menus"):
                model = gr.Dropdown(own.menu(), value=first, label="Model", elem_id="batch-model", min_width=130)
                category = gr.Dropdown(
                    categories, value=opened, label="Category", elem_id="batch-category", visible=bool(categories)
                )
            with gr.Column(elem_classes="own uploads"):
                gr.HTML(HINT, elem_classes="hint")
                files = drop_zone("Pictures or a zip file", "batch-files", archives=True)
            with gr.Column(elem_classes="own"):
                with gr.Row():
                    start = gr.Button("Score", variant="primary", elem_id="batch-start", min_width=80)
                    cancel = gr.Button("Cancel", elem_id="batch-cancel", min_width=80)
                gr.HTML("Without pictures of yours, the examples are scored.", elem_classes="hint")
                saved = gr.File(visible=False, interactive=False, show_label=False, elem_id="batch-saved")
        with gr.Column(scale=3, min_width=320, elem_classes="result"):
            screen = batch_viewer(elem_id="batch")

    wish = [files, model, category, own_token]
    run = {"inputs": wish, "outputs": [screen, token], **BATCH_WORK, "api_visibility": "private"}
    seen = {"show_progress": "minimal", "show_progress_on": files}  # how many wait before
    running = [event(_run, **run | seen) for event in (files.upload, start.click)]
    running.append(tab_of(row).select(_first_look, **run | {"inputs": [token, *wish]}))
    # Choosing what is chosen already changes nothing, and so starts nothing.
    changed = {"inputs": [chosen, model, category], "outputs": [category, chosen], **PLUMBING}
    for other in (fetched_first(model, chosen), category.input):
        other(_menu_changed, **changed)
    running.append(chosen.change(_run_changed, **run | seen))
    cut = cancel.click(lambda: plain_message("stopped"), None, screen, cancels=running, **PLUMBING)
    cut.then(_show_stopped, token, screen, **PLUMBING)
    for emptied in (files.clear, files.delete):
        emptied(_files_left, files, [screen, token], **PLUMBING)
    screen.download(_download, token, saved, **PLUMBING)
    token.change(lambda: gr.update(value=None, visible=False), None, saved, **PLUMBING)


@plain_errors
def _run(files, model, category, own_token):
    """Screen and token, while pictures are scored; a failure leaves an empty screen."""
    try:
        paths = checks.uploads(files, most=incoming.MOST, archive=incoming.LIMITS.total) if files else []
        if not paths and (model == OWN or own.is_of_hub(model)):
            yield plain_message("empty", note=DROP), None
            return
        yield plain_message("working", note="Getting to know good pictures"), None
        found, category = find_model(model, category, own_token)
        title = f"{own.label(model)}, {category}"
        batch = work.Batch(found, title, category)
        token = work.BATCHES.put(batch, work.SIZE)
        with work.temporary() as folder:
            given = incoming.pictures(paths, Path(folder)) if paths else incoming.examples(category)
            for sentence in work.run(batch, given):
                yield plain_message("working", note=sentence), token
        work.BATCHES.put(batch, batch.size, token)
        yield batch_message(batch), token
    except FlowMismatchingError as error:
        yield plain_message("empty", note=str(error)), None
        raise


def _run_changed(files, model, category, own_token):
    """As `_run`; a model without examples waits for pictures."""
    if model == OWN and own_token is None:
        yield plain_message("empty", note="First fit good pictures, in the tab Inspect."), None
        return
    yield from _run(files, model, category, own_token)


def _first_look(token, *wish):
    # Nothing is computed for those who never look at this tab.
    if token is not None or not embedded.model_names():
        yield gr.skip(), token
    else:
        yield from _run(*wish)


def _menu_changed(chosen, name, category):
    if [name, category] == chosen:
        return gr.skip(), gr.skip()
    choices = own.categories(name)
    kept = category if category in choices else own.first_category(name) if choices else None
    return gr.update(choices=choices, value=kept, visible=bool(choices)), [name, kept]


def _files_left(files):
    return (gr.skip(), gr.skip()) if files else (plain_message("empty", note=DROP), None)


def _show_stopped(token):
    batch = work.BATCHES.get(token)
    if batch is None or not batch.finished()[0]:
        return plain_message("empty", note="Stopped before the first picture was scored.")
    return batch_message(batch, stopped=True)


@plain_errors
def _download(token, event: gr.EventData):
    """All results as a file, judged at the threshold of the page."""
    batch = work.BATCHES.get(token)
    if batch is None or not batch.finished()[0]:
        raise SettingsError(GONE)
    threshold = (event._data or {}).get("threshold")
    if threshold is not None:
        if isinstance(threshold, bool) or not isinstance(threshold, int | float):
            raise SettingsError("The threshold must be a number.")
        check_value(threshold)
    with tempfile.TemporaryDirectory() as folder:
        path = write_zip(Path(folder), batch, threshold)
        yield gr.update(value=str(path), visible=True)
