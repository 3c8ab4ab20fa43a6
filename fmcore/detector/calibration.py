"""What normal images that a field has not seen say about it: a threshold, outliers, and the normal range of its maps;
and thresholds other than the fit's."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydantic import BaseModel, ConfigDict

from fmcore.data import Progress
from fmcore.data.folders import find_good_images, read_pictures
from fmcore.data.picture import Picture
from fmcore.detector.features import readable
from fmcore.detector.settings import FitSettings
from fmcore.errors import DataError, SettingsError
from fmcore.mismatch import HeatSettings, Mismatch, image_score

if TYPE_CHECKING:
    from fmcore.detector.model import CategoryInfo, Model

RANGE_GRID = 32  # cells per side of the stored range: enough for a place, small enough to ship
USEFUL_RATE = 0.2  # a threshold that more good images than that exceed is not worth suggesting
BY_HAND = "set by hand"  # origin of a threshold that no rate was asked of
UNLIKE = 6.0  # robust standard deviations of the logarithm from which a normal image's score is an outlier


class Stored(BaseModel):
    """A part of the JSON of a model."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Threshold(Stored):
    """Largest score still called normal; at most the share ``false_alarm_rate`` of new normal images is expected above
    it, judged by ``held_out`` normal images. ``origin`` says in a few words where the value comes from."""

    value: float
    false_alarm_rate: float
    held_out: int
    origin: str = "from good images held out in the fit"


@dataclass(frozen=True)
class NormalRange:
    """Where the path-aggregated mismatch of normal images lies: its 5 % and 95 % quantiles ``(T, G, G')`` at ``times``
    ``(T,)``, over held-out images and the pixels of each cell of a G x G' grid, unweighted and unsmoothed."""

    times: np.ndarray
    lower: np.ndarray
    upper: np.ndarray

    def scale(self, exponent: float) -> float:
        """Upper end of the colour scale of a model's maps, one for all times and images: three times what the
        weighted upper values reach at nine places in ten (not the largest, or one odd place darkens all)."""
        weights = (self.times**exponent)[:, None, None]
        return float(3 * np.quantile((weights * self.upper).mean(0), 0.9))


def calibrate(mismatches: list[Mismatch], heat: HeatSettings) -> tuple[np.ndarray, tuple[int, ...], NormalRange]:
    """Of the mismatch of held-out normal images (at least one): scores ``(n,)`` without those of outliers, the numbers
    of these, and the normal range of the others."""
    scores = np.array([image_score(m.heatmap(heat)) for m in mismatches])
    outliers = find_outliers(scores)
    kept = [m for number, m in enumerate(mismatches) if number not in outliers]
    return np.delete(scores, outliers), outliers, _normal_range(kept, heat)


def find_outliers(scores: np.ndarray) -> tuple[int, ...]:
    """The numbers of scores far above the others: more than `UNLIKE` robust standard deviations (1.48 times the median
    absolute deviation) of the logarithm above its median, and more than twice the median score. Of fewer than five
    scores, none."""
    logarithms = np.log(np.maximum(scores, 1e-12))
    above = logarithms - np.median(logarithms)
    spread = max(1.4826 * float(np.median(np.abs(above))), 0.02)
    far = above > max(UNLIKE * spread, math.log(2))
    return tuple(np.flatnonzero(far).tolist()) if len(scores) >= 5 else ()


def conformal_threshold(scores: np.ndarray, false_alarm_rate: float) -> tuple[Threshold | None, str]:
    """The ceil((n + 1)(1 - a))-th smallest of n held-out scores, or None and the reason in a sentence.

    For exchangeable images a new normal one exceeds it with probability at most ``a`` (split conformal prediction;
    approximately so for cross-fitted scores, each from a field that saw the other folds). That order statistic exists
    only for n >= 1 / a - 1.
    """
    count = len(scores)
    rank = math.ceil((count + 1) * (1 - false_alarm_rate) - 1e-9)
    if rank > count:
        return None, (
            f"No threshold: {count} held-out normal images are too few for a false-alarm rate of "
            f"{_percent(false_alarm_rate)}; it takes {fewest_held_out(false_alarm_rate)}."
        )
    value = float(np.sort(scores)[rank - 1])
    return Threshold(value=value, false_alarm_rate=false_alarm_rate, held_out=count), ""


def fewest_held_out(false_alarm_rate: float) -> int:
    """The fewest held-out scores that have a threshold with this rate of false alarms."""
    return math.ceil(1 / false_alarm_rate - 1 - 1e-9)


def held_out_count(count: int, false_alarm_rate: float) -> int:
    """How many of ``count`` normal images a trained field does not see: a tenth, or what the threshold needs where that
    leaves two thirds to train on; never fewer than one."""
    needed = fewest_held_out(false_alarm_rate)
    return max(1, round(count / 10), needed if count >= 3 * needed else 0)


def why_no_threshold(count: int, false_alarm_rate: float, trained: bool) -> str:
    """What keeps ``count`` normal images of a category from giving a threshold, in a sentence; "" if nothing does.
    Known before a long training, so told before it."""
    needed = fewest_held_out(false_alarm_rate)
    if (held_out_count(count, false_alarm_rate) if trained else count) >= needed:
        return ""
    usable = count // 3 if trained else count
    least = math.ceil(100 / (usable + 1)) / 100
    enough = f"; they are enough for --false-alarm-rate {least:g}" if usable and least <= USEFUL_RATE else ""
    return (
        f"{count} good images will give no threshold, so no verdicts: a false-alarm rate of "
        f"{_percent(false_alarm_rate)} takes {needed * (3 if trained else 1)}{enough}."
    )


def of_rate(info: CategoryInfo, rate: float) -> CategoryInfo:
    """With a threshold of another rate. Raises `SettingsError` if the fit held out no scores, or too few for it."""
    if not info.scores:
        raise SettingsError("The model keeps no scores of its fit: give good images with --from, or fit it again.")
    return _with_threshold(info, np.array(info.scores), FitSettings.parse(false_alarm_rate=rate).false_alarm_rate)


def of_value(info: CategoryInfo, value: float) -> CategoryInfo:
    """With ``value`` as threshold, whose rate is read off the held-out scores. Raises as `check_value`."""
    above, count = sum(score > value for score in info.scores), len(info.scores)
    rate, value = (above + 1) / (count + 1), check_value(value)
    threshold = Threshold(value=value, false_alarm_rate=rate, held_out=count, origin=BY_HAND)
    return info.model_copy(update={"threshold": threshold, "note": ""})


def of_folder(model: Model, category: str, folder: Path, rate: float | None) -> Iterator[Progress]:
    """With a threshold from good pictures that the model has not seen, but for those that are unlike the others: the
    result of the last record.

    ``rate`` of false alarms; None: that of the threshold so far where it was measured, else a fit's default. Raises
    `DataError` if none can be read, `SettingsError` if they are too few for the rate.
    """
    found, info = find_good_images(folder).categories, model.info.categories[category]
    if len(found) > 1 and category not in found:
        raise DataError(f"'{folder}' holds several categories, and none is named '{category}': give one folder.")
    paths, names, scores = found.get(category) or next(iter(found.values())), [], []
    fallback = info.threshold if info.threshold and info.threshold.origin != BY_HAND else FitSettings()
    rate = FitSettings.parse(false_alarm_rate=fallback.false_alarm_rate if rate is None else rate).false_alarm_rate
    for done, picture in enumerate(read_pictures(paths), start=1):
        if isinstance(picture, Picture):
            scores.append(model.score(picture, category).score)
            names.append(paths[done - 1].name)
        yield Progress(done, len(paths), "" if isinstance(picture, Picture) else f"Skipped: {picture}")
    if not scores:
        raise DataError(f"None of the {len(paths)} images in '{folder}' could be read.")
    unlike = find_outliers(np.array(scores))
    left = ", ".join(f"'{names[number]}'" for number in unlike)
    note = f"Unlike the other good images, and left out: {left}; look at them." if unlike else ""
    info = _with_threshold(info, np.delete(scores, unlike), rate, f"from the good images in '{readable(folder)}'")
    info = info.model_copy(update={"unlike": tuple(names[number] for number in unlike)})
    yield Progress(len(paths), len(paths), note, info)


def describe(info: CategoryInfo) -> str:
    """The threshold and where it is from, or why there is none; and the good images that are to be looked at."""
    if (found := info.threshold) is None:
        said = info.note or "No threshold is stored."
    else:
        share = f"; false-alarm rate at most about {_percent(found.false_alarm_rate)} ({found.held_out} good images)"
        said = f"threshold {found.value:.6g}, {found.origin}{share if found.held_out else ''}."
    if info.unlike:
        names = ", ".join(f"'{name}'" for name in info.unlike)
        said += f" Unlike the other good images, and not counted: {names}; look there, and fit again without bad parts."
    return said


def check_value(value: float) -> float:
    """Itself. Raises `SettingsError` if it can be no threshold."""
    if not (math.isfinite(value) and value >= 0):
        raise SettingsError(f"A threshold of {value} is not usable: give a number that is not negative.")
    return value


def _with_threshold(info: CategoryInfo, scores: np.ndarray, rate: float, origin: str = "") -> CategoryInfo:
    threshold, reason = conformal_threshold(scores, rate)
    if threshold is None:
        raise SettingsError(reason)
    threshold = threshold.model_copy(update={"origin": origin}) if origin else threshold
    return info.model_copy(update={"threshold": threshold, "note": ""})


def _percent(rate: float) -> str:
    return f"{100 * rate:.3g}%"


def _normal_range(mismatches: list[Mismatch], heat: HeatSettings) -> NormalRange:
    stack = np.stack([m.per_time(heat) for m in mismatches], axis=1)  # (T, n, H, W)
    rows, columns = (np.array_split(np.arange(side), min(RANGE_GRID, side)) for side in stack.shape[2:])
    found = np.empty((2, len(stack), len(rows), len(columns)), dtype=np.float32)
    for i, row in enumerate(rows):
        for j, column in enumerate(columns):
            cell = stack[:, :, row[0] : row[-1] + 1, column[0] : column[-1] + 1].reshape(len(stack), -1)
            found[:, :, i, j] = np.quantile(cell, [0.05, 0.95], axis=1)
    return NormalRange(mismatches[0].times, *found)
