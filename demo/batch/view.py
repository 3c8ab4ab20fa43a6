"""What the page gets of a batch: every picture's thumbnail, score and heat map, ready to be sorted and relabelled."""

from __future__ import annotations

import base64
from pathlib import Path

import gradio as gr
import numpy as np

from demo.batch.batch import Batch, labels_of
from demo.common.component import component
from demo.common.messages import OVER, encode, pack, plain_message
from demo.inspect.view import known_scales
from fmcore.evaluation.metrics import image_metrics
from fmcore.path import interior_times


def batch_viewer(**options) -> gr.HTML:
    """The component; its value is a message of this module, or of `demo.common.messages.plain_message`."""
    files = {"scripts": ("charts.js",), "look": {"over": OVER}, "charts": True}
    return component(Path(__file__).parent, value=plain_message("empty"), **files, **options)


def batch_message(batch: Batch, *, stopped: bool = False) -> str:
    """All pictures of a batch that are finished, at least one."""
    rows, skipped = batch.finished()
    maps = np.stack([row.verdict.heatmap for row in rows])
    threshold = batch.model.threshold(batch.category)
    last = np.array(interior_times(batch.model.info.paths.times)[-1:])
    scales = known_scales(batch.model, batch.category, batch.model.info.heat, last)
    low, high = scales.running[-1] if scales else (0.0, float(maps.max()) or 1.0)
    scores, bad = labels_of(rows)
    auroc = image_metrics(scores, bad)["image_auroc"] if len(scores) else None
    head = {
        "kind": "batch",
        "stopped": stopped,
        "title": batch.title,
        "threshold": threshold and threshold.value,
        "rate": threshold and threshold.false_alarm_rate,
        "note": rows[0].verdict.note,
        "good": list(batch.model.info.categories[batch.category].scores),
        "auroc": auroc,
        "skipped": skipped,
        "rows": [
            {
                "name": row.name,
                "label": row.label,
                "score": row.verdict.score,
                "size": row.size,
                "image": "data:image/jpeg;base64," + base64.b64encode(row.thumbnail).decode(),
            }
            for row in rows
        ],
    }
    return pack(head, {"maps": encode(maps, high, low)})
