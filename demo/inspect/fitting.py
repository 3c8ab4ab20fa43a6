"""Fitting a detector to a visitor's own good pictures, as ``python -m fmcore fit`` does by default."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from demo.common import checks
from demo.common.features import progress_text
from demo.inspect import scoring
from fmcore.data.decoder import open_image
from fmcore.detector.calibration import fewest_held_out
from fmcore.detector.fit import fit
from fmcore.detector.model import Model
from fmcore.detector.settings import FitSettings
from fmcore.errors import DataError, ImageError

FEWEST, MOST = 5, 500
SETTINGS = FitSettings()
FOR_A_THRESHOLD = fewest_held_out(SETTINGS.false_alarm_rate)
SKIPPED = "Skipped: "  # how a record begins that tells of a file left out
PAUSE = 0.2  # seconds between two sentences of progress
MOST_NAMED = 5  # odd pictures that are named


def fit_own(files: object, *, trusted: bool = True) -> Iterator[tuple[str, str | None]]:
    """Fit and calibrate; ``trusted``: gradio has checked that the files are uploads.

    Yields:
        A sentence on the progress, and in the end the token of the fitted model.

    Raises:
        SettingsError: for a wrong number of files. DataError: if fewer than five can be read.
    """
    started, shown_at = time.monotonic(), 0.0
    given = (checks.uploads if trusted else checks.sent)(files, least=FEWEST, most=MOST)
    paths, skipped = _readable(given)
    _check_enough(len(given), skipped)
    for record in fit({scoring.OWN_CATEGORY: paths}, SETTINGS):
        told = (line for line in record.note.splitlines() if line.startswith(SKIPPED))
        skipped += [line.removeprefix(SKIPPED) for line in told]
        if record.stage != "reading":
            _check_enough(len(given), skipped)
        if record.model is not None:
            text = _summary(record.model, len(given), skipped, time.monotonic() - started)
            yield text, scoring.MODELS.put(record.model, _bytes(record.model))
        elif time.monotonic() - shown_at > PAUSE:
            yield f"{progress_text(record)}.", None
            shown_at = time.monotonic()


def _readable(paths: list[Path]) -> tuple[list[Path], list[str]]:
    """Files whose headers are those of pictures within the app's limit, and what is wrong with the others."""
    kept, refused = [], []
    for path in paths:
        try:
            with open_image(path, checks.MAX_PIXELS):
                kept.append(path)
        except ImageError as error:
            refused.append(str(error))
    return kept, refused


def _check_enough(given: int, skipped: list[str]) -> None:
    left = given - len(skipped)
    if left < FEWEST:
        raise DataError(f"Only {left} of {given} files can be read, it takes {FEWEST}. {skipped[0]}")


def _bytes(model: Model) -> int:
    parts = (*model.views.values(), *model.fields.values())
    return sum(tensor.nbytes for part in parts for tensor in part.state_dict().values())


def _summary(model: Model, given: int, skipped: list[str], seconds: float) -> str:
    category = scoring.OWN_CATEGORY
    threshold, unlike = model.threshold(category), model.info.categories[category].unlike
    text = f"Fitted to {given - len(skipped)} pictures in {seconds:.0f} s. "
    if skipped:
        text += f"Left out: {len(skipped)}. {skipped[0]} "
    if unlike:
        others = f" and {len(unlike) - MOST_NAMED} more" if len(unlike) > MOST_NAMED else ""
        text += f"Unlike the others, so not counted: {', '.join(unlike[:MOST_NAMED])}{others}; are they good? "
    if threshold is None:
        return text + model.note(category)
    return text + (
        f"Threshold {threshold.value:.4g}: of new good pictures at most {threshold.false_alarm_rate:.0%} should exceed "
        f"it, which rests on {threshold.held_out} scored by fields that had not seen them."
    )
