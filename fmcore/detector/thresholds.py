"""A threshold other than the fit's: for another rate of false alarms, as a number, or from other good images."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fmcore.data.folders import find_good_images
from fmcore.detector.calibration import Threshold, conformal_threshold, find_outliers
from fmcore.detector.model import CategoryInfo, Model
from fmcore.detector.saving import FILE
from fmcore.detector.score import Verdict
from fmcore.detector.settings import FitSettings
from fmcore.errors import DataError, ImageError, SettingsError
from fmcore.training.checkpoint import write_atomically


class ThresholdRecord(NamedTuple):
    """``done`` of ``total`` pictures; ``note`` is a sentence worth showing; the last record carries the category."""

    done: int
    total: int
    note: str = ""
    info: CategoryInfo | None = None


def of_rate(info: CategoryInfo, rate: float) -> CategoryInfo:
    """From the held-out scores of the fit. Raises `SettingsError` if there are none, or too few for the rate."""
    if not info.scores:
        raise SettingsError("The model keeps no scores of its fit: give good images with --from, or fit it again.")
    return _with_threshold(info, np.array(info.scores), rate)


def of_value(info: CategoryInfo, value: float) -> CategoryInfo:
    """``value`` itself; its rate of false alarms is read off the held-out scores. Raises `SettingsError` as
    `check_value`."""
    above, count = sum(score > check_value(value) for score in info.scores), len(info.scores)
    rate = (above + 1) / (count + 1)
    threshold = Threshold(value=value, false_alarm_rate=rate, held_out=count, origin="set by hand")
    return info.model_copy(update={"threshold": threshold, "note": ""})


def of_folder(model: Model, category: str, folder: Path, rate: float | None) -> Iterator[ThresholdRecord]:
    """From a folder of good pictures that the model has not seen, without those that are unlike the others.

    Args:
        rate: of false alarms; None: that of the threshold so far, or of a fit.

    Raises:
        DataError: if none can be read. SettingsError: if they are too few for the rate.
    """
    found = find_good_images(folder).categories
    if len(found) > 1 and category not in found:
        raise DataError(f"'{folder}' holds several categories, and none is named '{category}': give one folder.")
    pictures = found.get(category) or next(iter(found.values()))
    info, names, scores = model.info.categories[category], [], []
    if rate is None:
        rate = info.threshold.false_alarm_rate if info.threshold else FitSettings().false_alarm_rate
    _check_rate(rate)
    for done, path in enumerate(pictures, start=1):
        note = ""
        try:
            scores.append(model.score(path, category).score)
            names.append(path.name)
        except ImageError as error:
            note = f"Skipped: {error}"
        yield ThresholdRecord(done, len(pictures), note)
    if not scores:
        raise DataError(f"None of the {len(pictures)} images in '{folder}' could be read.")
    unlike = find_outliers(np.array(scores))
    left = ", ".join(f"'{names[number]}'" for number in unlike)
    note = f"Unlike the other good images, and left out: {left}; look at them." if unlike else ""
    info = _with_threshold(info, np.delete(scores, unlike), rate, f"from the good images in '{folder}'")
    yield ThresholdRecord(len(pictures), len(pictures), note, info)


def judged_at(verdict: Verdict, value: float) -> Verdict:
    """The same score against another threshold."""
    return replace(verdict, threshold=value, anomalous=verdict.score > value, note="")


def check_value(value: float) -> float:
    """Itself. Raises `SettingsError` if it can be no threshold."""
    if not (math.isfinite(value) and value >= 0):
        raise SettingsError(f"A threshold of {value} is not usable: give a number that is not negative.")
    return value


def describe(info: CategoryInfo) -> str:
    """The threshold and where it is from, or why there is none; and the good images that are to be looked at."""
    if (found := info.threshold) is None:
        said = info.note or "No threshold is stored."
    else:
        share = f"; false-alarm rate at most about {100 * found.false_alarm_rate:.3g}% ({found.held_out} good images)"
        said = f"threshold {found.value:.6g}, {found.origin}{share if found.held_out else ''}."
    if info.unlike:
        names = ", ".join(f"'{name}'" for name in info.unlike)
        said += f" Unlike the other good images, and not counted: {names}; look there, and fit again without bad parts."
    return said


def store(folder: str | Path, model: Model, changed: dict[str, CategoryInfo]) -> None:
    """Write changed categories into a model's folder; its weights stay as they are. Raises `ModelError`."""
    info = model.info.model_copy(update={"categories": model.info.categories | changed})
    text = json.dumps(info.model_dump(mode="json"), indent=1)
    write_atomically(Path(folder) / FILE, lambda path: path.write_text(text, encoding="utf-8"))


def _with_threshold(info: CategoryInfo, scores: np.ndarray, rate: float, origin: str = "") -> CategoryInfo:
    threshold, reason = conformal_threshold(scores, _check_rate(rate))
    if threshold is None:
        raise SettingsError(reason)
    threshold = threshold.model_copy(update={"origin": origin}) if origin else threshold
    return info.model_copy(update={"threshold": threshold, "note": ""})


def _check_rate(rate: float) -> float:
    if not 0 < rate < 1:
        raise SettingsError(f"A false-alarm rate of {rate} is not usable: give a share between 0 and 1, as 0.01.")
    return rate
