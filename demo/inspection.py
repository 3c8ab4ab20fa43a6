"""Scoring pictures for the app: the route of the command line, with progress, and results kept on the server."""

from __future__ import annotations

import html
import secrets
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import gradio as gr
import numpy as np

from demo import checks, library, viewer
from demo.shelf import Shelf
from fmcore.data.picture import read_mask, read_picture
from fmcore.detector.model import Model
from fmcore.detector.score import judge, score_steps
from fmcore.errors import ImageError, SettingsError
from fmcore.mismatch.anytime import RunningHeatmap
from fmcore.mismatch.mismatch import HeatSettings, Mismatch, PathSettings

OWN = "own"
OWN_CATEGORY = "own"
SCREEN = 512  # longest side of a picture sent to the browser
PAUSE = 0.15  # seconds between two anytime maps; more often costs time and shows nothing new

# All visitors together. One result takes K T size^2 floats (3 MB by default, 50 MB at the app's limits and
# 128 px) and its picture at most 0.8 MB; a fitted model at most 21 MB.
RESULTS = Shelf(1_000_000_000)
MODELS = Shelf(500_000_000)


@dataclass(frozen=True)
class Scored:
    """A finished mismatch with what it takes to judge and draw it again under other heat settings."""

    name: str
    image: np.ndarray
    outline: np.ndarray | None
    model: Model
    category: str
    paths: PathSettings
    mismatch: Mismatch

    def message(self, heat: HeatSettings) -> str:
        """Full message for the viewer."""
        verdict = judge(self.model, self.mismatch, self.paths, heat, self.category)
        return viewer.full_message(verdict=verdict, heat=heat, **vars(self))

    def label(self, heat: HeatSettings) -> str:
        """One line for the list of results."""
        verdict = judge(self.model, self.mismatch, self.paths, heat, self.category)
        word = "no verdict" if verdict.anomalous is None else "anomalous" if verdict.anomalous else "normal"
        return f"{self.name}: {verdict.score:.6g}, {word}"


@dataclass(frozen=True)
class Item:
    """A picture to score; ``key`` names its result where visitors can share it, as they can for examples."""

    name: str
    path: Path
    mask: Path | None = None
    key: tuple | None = None


def find_model(name: object, category: object, own: str | None) -> tuple[Model, str]:
    """The model a request names, and its category; ``own`` is the visitor's token of a fitted model.

    Raises:
        SettingsError: if either is unknown, or no own model was fitted.
    """
    if name == OWN:
        model = MODELS.get(own) if own else None
        if model is None:
            raise SettingsError("No field was fitted to your images yet: give good images and press 'Fit' first.")
        return model, OWN_CATEGORY
    if not isinstance(name, str) or not (category is None or isinstance(category, str)):
        raise SettingsError("Model and category must be names: choose one of the list.")
    model = library.model(name)
    return model, model.category(category)


def example_item(model: str, category: str, index: object, paths: PathSettings) -> Item:
    """An embedded example as an item; raises `SettingsError` if there is no such example."""
    found = library.example(category, index)
    what = found.defect.replace("_", " ")
    return Item(f"Example: {category}, {what}", found.path, found.mask, (model, category, index, paths))


def uploaded_items(files: object) -> list[Item]:
    """A visitor's pictures as items, of gradio's file data; those from several folders with one name are numbered.

    Raises:
        SettingsError: for too few or too many.
    """
    paths = checks.uploads(files)
    often, seen, items = Counter(path.name for path in paths), Counter(), []
    for path in paths:
        seen[path.name] += 1
        items.append(Item(f"{path.name} #{seen[path.name]}" if often[path.name] > 1 else path.name, path))
    return items


def score_items(
    items: list[Item], model: Model, category: str, paths: PathSettings, heat: HeatSettings
) -> Iterator[tuple[str | None, list, list[str]]]:
    """Score one picture after the other.

    Yields:
        Message for the viewer (None: nothing new), tokens of the results so far, and why files were skipped.

    Raises:
        ImageError: if not a single file could be read.
    """
    tokens, skipped = [], []
    run = secrets.token_hex(4)  # by which the browser ignores what arrives after the run was cancelled
    for number, item in enumerate(items, 1):
        title = item.name if len(items) == 1 else f"{item.name} ({number} of {len(items)})"
        if item.key is None or RESULTS.get(item.key) is None:
            try:
                picture = read_picture(item.path)
            except ImageError as error:
                skipped.append(str(error))
                continue
            image = picture.rgb(SCREEN)
            outline = None
            if item.mask is not None:
                outline = viewer.outline(read_mask(item.mask, height=image.shape[0], width=image.shape[1]))
            steps, shown_at, running = [], None, RunningHeatmap(heat)
            for step in score_steps(model, picture, paths, category):
                steps.append(step)
                heatmap = running.add(step)
                if shown_at is None or time.monotonic() - shown_at > PAUSE:
                    scale, _ = viewer.colour_scale(model, category, heat, heatmap)
                    head = {"run": run, "name": title, "t": step.t, "done": len(steps), "total": paths.times}
                    yield (
                        viewer.partial_message(head, heatmap, scale, image if shown_at is None else None),
                        tokens,
                        skipped,
                    )
                    shown_at = time.monotonic()
            mismatch = Mismatch.collect(steps)
            scored = Scored(item.name, image, outline, model, category, paths, mismatch)
            tokens = [*tokens, RESULTS.put(scored, mismatch.maps.nbytes + image.nbytes, item.key)]
        else:
            tokens = [*tokens, item.key]
        yield None, tokens, skipped
    if not tokens:
        raise ImageError(skipped[0])


def show(tokens: list, chosen: object, heat: HeatSettings):
    """The chosen result under these heat settings: message for the viewer, and the list of all results.

    Raises:
        SettingsError: if the results are gone.
    """
    results = [RESULTS.get(token) for token in tokens]
    present = [i for i, result in enumerate(results) if result is not None]
    if not present:
        raise SettingsError("These results have made room for others: score the picture again.")
    index = chosen if isinstance(chosen, int) and chosen in present else present[0]
    choices = [(results[i].label(heat), i) for i in present]
    return results[index].message(heat), gr.update(choices=choices, value=index, visible=len(tokens) > 1)


def skipped_text(skipped: list[str]) -> str:
    """Notice about files that were left out; the sentences quote file names, so they are escaped."""
    return "".join(f"<p>Skipped: {html.escape(sentence)}</p>" for sentence in skipped)


def score_request(
    file: str | None, example: object, model: Model, category: str, paths: PathSettings, heat: HeatSettings
) -> dict:
    """Score one uploaded file, or else one embedded example (-1: none), as the command line does."""
    path = checks.uploads(file)[0] if file or example in (None, -1) else library.example(category, example).path
    mismatch = Mismatch.collect(score_steps(model, read_picture(path), paths, category))
    verdict = judge(model, mismatch, paths, heat, category)
    return {
        "score": verdict.score,
        "threshold": verdict.threshold,
        "anomalous": verdict.anomalous,
        "note": verdict.note,
        "category": category,
        "settings": {**paths.model_dump(), **heat.model_dump()},
    }
