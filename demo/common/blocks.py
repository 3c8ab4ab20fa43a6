"""Parts that several tabs lay out alike: the gallery of examples, the drop zone, and how their events queue."""

from __future__ import annotations

import gradio as gr

from demo.common import embedded
from fmcore.data.picture import SUFFIXES

DROP = 82  # pixels; less than its frame in page.css, so that nothing scrolls while it is empty
HOUR = 3600  # seconds that a visitor's own results are kept
# As many pictures at a time as there are cores; what takes half a minute has a queue of its own, and everything else is
# cheap and must wait for neither.
QUIET = {"show_progress": "hidden", "preprocess": False}
MODEL_WORK = {"concurrency_id": "model", "concurrency_limit": 2, **QUIET}
LONG_WORK = {"concurrency_id": "long", "concurrency_limit": 1, **QUIET}
BATCH_WORK = {"concurrency_id": "batch", "concurrency_limit": 1, **QUIET}
PLUMBING = {"concurrency_id": "cheap", "concurrency_limit": 4, "api_visibility": "private", **QUIET}


def example_gallery(category: str | None, elem_id: str) -> gr.Gallery:
    """Thumbnails of a category's examples; a click is an event with the index of the example."""
    return gr.Gallery(
        value=thumbnails(category),
        label="Examples",
        show_label=False,
        container=False,
        columns=5,
        allow_preview=False,
        object_fit="cover",
        buttons=[],
        interactive=False,
        elem_id=elem_id,
        elem_classes="examples",
    )


def drop_zone(label: str, elem_id: str, *, archives: bool = False) -> gr.File:
    """Where pictures are dropped or chosen, any number, and zip files of them with ``archives``; as they were sent."""
    return gr.File(
        file_count="multiple",
        file_types=[*SUFFIXES, *([".zip"] if archives else [])],
        label=label,
        show_label=False,
        height=DROP,
        elem_id=elem_id,
        elem_classes="drop",
    )


def thumbnails(category: str | None) -> list:
    """``(picture, caption)`` of each example."""
    return [(embedded.thumbnail(item.path), embedded.caption(item)) for item in embedded.examples(category)]


def tab_of(block) -> gr.Tab:
    """The tab that a block lies in."""
    while not isinstance(block, gr.Tab):
        block = block.parent
    return block


def picked(event: gr.SelectData):
    """Index of the example that was clicked; uploads are put away."""
    return event.index, None
