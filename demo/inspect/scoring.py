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

from demo.common import checks, embedded, own
from demo.common.messages import figure, outline, pack, plain_message
from demo.common.store import Store
from demo.inspect import view
from demo.inspect.link import write_link
from demo.inspect.sight import sight
from demo.inspect.view import Shown
from fmcore.data.picture import Picture, read_mask, read_picture
from fmcore.detector.model import Model
from fmcore.detector.score import Verdict, judge, score_steps
from fmcore.errors import ImageError, SettingsError
from fmcore.mismatch import HeatSettings, Mismatch, PathSettings, RunningHeatmap
from fmcore.path import interior_times

SCREEN = 512  # longest side of a picture sent to the browser
PAUSE = 0.15  # seconds between two anytime maps; more often costs time and shows nothing new

# All visitors together. One result takes K T h w floats (3 MB of pixels by default, 50 MB at the app's limits; less of
# feature maps) and its picture at most 0.8 MB; a fitted model 130 MB.
RESULTS = Store(1_000_000_000)


@dataclass(frozen=True)
class Scored:
    """A finished mismatch with what it takes to judge and draw it again under other heat settings."""

    picture: Shown
    model: Model
    category: str
    paths: PathSettings
    mismatch: Mismatch
    sight: dict[str, np.ndarray]

    @property
    def size(self) -> int:
        """Bytes, for the store."""
        return sum(a.nbytes for a in (self.mismatch.maps, self.picture.pixels, *self.sight.values()))

    def message(self, heat: HeatSettings, link: dict) -> str:
        """Full message for the viewer; ``link``: of the page's address."""
        head, arrays = self.parts(heat)
        return pack({**head, "link": link}, arrays)

    def parts(self, heat: HeatSettings) -> tuple[dict, dict[str, np.ndarray]]:
        """Header and arrays of that message."""
        return view.full_parts(**vars(self), heat=heat, verdict=self.judged(heat))

    def label(self, heat: HeatSettings) -> str:
        """One line for the list of results."""
        verdict = self.judged(heat)
        word = "no verdict" if verdict.anomalous is None else "anomalous" if verdict.anomalous else "normal"
        return f"{self.picture.name}: {figure(verdict.score)}, {word}"

    def judged(self, heat: HeatSettings) -> Verdict:
        """Its verdict under these settings."""
        return judge(self.model, self.mismatch, self.paths, heat, self.category)


@dataclass(frozen=True)
class Item:
    """A picture to score; ``key`` names its result where visitors can share it, as they can for examples."""

    name: str
    path: Path
    mask: Path | None = None
    truth: str | None = None
    key: tuple | None = None

    def read(self) -> tuple[Picture, Shown]:
        """The picture, and what the browser shows of it.

        Raises:
            ImageError: if it can't be read.
        """
        picture = read_picture(self.path, max_pixels=checks.MAX_PIXELS)
        pixels = picture.rgb(SCREEN)
        marked = None
        if self.mask is not None:
            marked = outline(read_mask(self.mask, height=pixels.shape[0], width=pixels.shape[1]))
        return picture, Shown(self.name, pixels, marked, self.truth)


def preparing(name: object, category: object) -> Iterator[str]:
    """Messages for the viewer while the model that a request names is being made; raises as `find_model`."""
    for sentence in own.preparing(name, category):
        yield plain_message("preparing", note=f"{sentence}. This is done once, when the app was just started.")


def example_item(model: str, category: str, index: object, paths: PathSettings) -> Item:
    """An embedded example as an item; raises `SettingsError` if there is no such example."""
    found, key = embedded.example(category, index), (model, category, index, paths)
    truth = embedded.caption(found)
    return Item(f"Example: {category}, {truth}", found.path, found.mask, truth, key)


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
        if item.key is not None and RESULTS.get(item.key) is not None:
            tokens = [*tokens, item.key]
            yield None, tokens, skipped
            continue
        try:
            picture, shown = item.read()
        except ImageError as error:
            skipped.append(str(error))
            continue
        title = item.name if len(items) == 1 else f"{item.name} ({number} of {len(items)})"
        scales = view.known_scales(model, category, heat, np.array(interior_times(paths.times)))
        steps, shown_at, running = [], None, RunningHeatmap(heat)
        for step in score_steps(model, picture, paths, category):
            steps.append(step)
            heatmap = running.add(step)
            if shown_at is None or time.monotonic() - shown_at > PAUSE:
                ends = scales.running[step.index].tolist() if scales else [0.0, float(heatmap.max()) or 1.0]
                head = {"run": run, "name": title, "t": step.t, "done": len(steps), "total": paths.times}
                head["of_good"] = scales is not None
                pixels = shown.pixels if shown_at is None else None
                yield view.partial_message(head, heatmap, ends, pixels), tokens, skipped
                shown_at = time.monotonic()
        mismatch = Mismatch.collect(steps)
        scored = Scored(shown, model, category, paths, mismatch, sight(model, category, picture, paths))
        tokens = [*tokens, RESULTS.put(scored, scored.size, item.key)]
        yield None, tokens, skipped
    if not tokens:
        raise ImageError(skipped[0])
    yield None, tokens, skipped  # of the last ones too


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
    return results[index].message(heat, write_link(tokens[index], heat)), gr.update(
        choices=choices, value=index, visible=len(tokens) > 1
    )


def skipped_text(skipped: list[str]) -> str:
    """Notice about files that were left out; the sentences quote file names, so they are escaped."""
    return "".join(f"<p>Skipped: {html.escape(sentence)}</p>" for sentence in skipped)
