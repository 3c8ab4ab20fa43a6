"""Fitting a detector to a visitor's own good pictures, as ``python -m fmcore fit`` does by default."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from demo.common import checks
from demo.common.archive import MEGABYTE, Limits, is_picture, is_zip, unpack
from demo.common.features import progress_text
from demo.common.own import MODELS, OWN_CATEGORY, size_of
from fmcore.data.decoder import open_image
from fmcore.detector.calibration import fewest_held_out
from fmcore.detector.fit import fit
from fmcore.detector.model import Model
from fmcore.detector.settings import FitSettings
from fmcore.errors import DataError, ImageError, SettingsError

FEWEST, MOST = 5, 500
SETTINGS = FitSettings()
LIMITS = Limits(count=2000, single=checks.MAX_BYTES, total=500 * MEGABYTE)
FOR_A_THRESHOLD = fewest_held_out(SETTINGS.false_alarm_rate)
SKIPPED = "Skipped: "  # how a record begins that tells of a file left out
PAUSE = 0.2  # seconds between two sentences of progress
MOST_NAMED = 5  # odd pictures that are named


def fit_own(files: object, *, trusted: bool = True) -> Iterator[tuple[str, str | None]]:
    """Fit and calibrate; ``trusted``: gradio has checked that the files are uploads.

    Yields:
        A sentence on the progress, and in the end the token of the fitted model.

    Raises:
        SettingsError: for a wrong number of files. DataError: if fewer than five can be read, or a zip file is damaged.
    """
    if not files:
        raise SettingsError(f"There are no good pictures yet: give at least {FEWEST}, or a zip file of them.")
    check = checks.uploads if trusted else checks.sent
    given = check(files, most=MOST, archive=LIMITS.total)
    if not any(is_zip(path) for path in given):
        check(files, least=FEWEST, most=MOST)
    with tempfile.TemporaryDirectory(prefix="good-", ignore_cleanup_errors=True) as folder:
        given, refused = _unpacked(given, Path(folder))
        yield from _fitted(given, refused, time.monotonic())


def _fitted(given: list[Path], refused: list[str], started: float) -> Iterator[tuple[str, str | None]]:
    shown_at = 0.0
    paths, unreadable = _readable(given)
    total, skipped = len(given) + len(refused), refused + unreadable
    _check_enough(total, skipped)
    for record in fit({OWN_CATEGORY: paths}, SETTINGS):
        told = (line for line in record.note.splitlines() if line.startswith(SKIPPED))
        skipped += [line.removeprefix(SKIPPED) for line in told]
        if record.stage != "reading":
            _check_enough(total, skipped)
        if record.model is not None:
            text = _summary(record.model, total, skipped, time.monotonic() - started)
            yield text, MODELS.put(record.model, size_of(record.model))
        elif time.monotonic() - shown_at > PAUSE:
            yield f"{progress_text(record)}.", None
            shown_at = time.monotonic()


def _unpacked(files: list[Path], folder: Path) -> tuple[list[Path], list[str]]:
    """Pictures among the files and inside zip files, there those of ``train`` where there is such a folder; and why
    entries were refused. Raises `SettingsError` for too many, `DataError` as `unpack`."""
    found, refused = [], []
    for number, path in enumerate(files):
        if not is_zip(path):
            found.append(path)
            continue
        entries = list(unpack(path, folder / str(number), is_picture, LIMITS))
        train = [entry for entry in entries if "train" in entry.name.parts[:-1]]
        found += [entry.path for entry in train or entries if entry.path is not None]
        refused += [entry.why for entry in train or entries if entry.path is None]
    if len(found) > MOST:
        raise SettingsError(f"{len(found)} files are too many at once: upload at most {MOST}.")
    return found, refused


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


def _summary(model: Model, given: int, skipped: list[str], seconds: float) -> str:
    category = OWN_CATEGORY
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
