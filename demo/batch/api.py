"""The programming interface to many pictures at once: `score_batch`, typed, so that gradio documents it."""

from pathlib import Path
from typing import TypedDict

import gradio as gr

from demo.batch import batch as work
from demo.batch import incoming
from demo.common import checks, embedded
from demo.common.blocks import BATCH_WORK
from demo.common.checks import plain_errors
from demo.common.own import named_model
from demo.common.text_files import files_as_text
from fmcore.evaluation.metrics import image_metrics


class Scored(TypedDict):
    """One picture; ``label`` is that of its folder in a zip file."""

    name: str
    label: str | None
    score: float
    anomalous: bool | None


class BatchAnswer(TypedDict):
    """``pictures`` by descending score; ``image_auroc`` where labels hold good and defective ones; ``skipped`` has a
    sentence per file that could not be used."""

    category: str
    threshold: float | None
    note: str
    image_auroc: float | None
    pictures: list[Scored]
    skipped: list[str]


def build_api() -> None:
    """Add the endpoint; to be called inside ``gr.Blocks``."""
    queue = {key: value for key, value in BATCH_WORK.items() if key.startswith("concurrency")}
    gr.api(score_batch, api_name="score_batch", **queue)


@plain_errors
@files_as_text
def score_batch(
    pictures: list[gr.FileData], model: str = embedded.FEATURES, category: str | None = None
) -> BatchAnswer:
    """Score up to 500 pictures, with the model's own settings; a bad file never stops the rest.

    Args:
        pictures: image files, or zip files of them, whose folders named "good" and after defects become labels.
        model: "features", "unet", "gaussian", what ``/fit`` returned, or an id of the Hub that the app offers.
        category: of the model, as "gear"; may be left out where it has one only.

    Returns:
        category, threshold, image_auroc (where folders of a zip file label), pictures by score, skipped
    """
    paths = checks.sent(pictures, most=incoming.MOST, archive=incoming.LIMITS.total)
    found, category = named_model(model, category)
    batch = work.Batch(found, "", category)
    with work.temporary() as folder:
        for _ in work.run(batch, incoming.pictures(paths, Path(folder))):
            pass
    rows, skipped = batch.finished()
    scores, bad = work.labels_of(rows)
    threshold = found.threshold(category)
    rows.sort(key=lambda row: -row.verdict.score)
    return BatchAnswer(
        category=category,
        threshold=threshold and threshold.value,
        note=rows[0].verdict.note,
        image_auroc=image_metrics(scores, bad)["image_auroc"] if len(scores) else None,
        pictures=[
            Scored(name=row.name, label=row.label, score=row.verdict.score, anomalous=row.verdict.anomalous)
            for row in rows
        ],
        skipped=skipped,
    )
