"""What every fit is made of: a view, reading pictures, calibration, and putting a model together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from fmcore.data.folders import describe_set
from fmcore.detector.calibration import NormalRange, calibrate, why_no_threshold
from fmcore.detector.features import Features, sample_of
from fmcore.detector.model import CategoryInfo, Model, ModelInfo, PartInfo
from fmcore.detector.settings import FitSettings
from fmcore.errors import DataError
from fmcore.fields.field import Field, VelocityField
from fmcore.mismatch import Mismatch, mismatch_steps
from fmcore.training.loop import TrainRecord
from fmcore.views import View

FEWEST = 3  # two to fit a Gaussian, one held out


@dataclass(frozen=True)
class FitRecord:
    """Progress: ``done`` of ``total`` in this ``stage``; ``note`` is a sentence worth showing; training steps carry
    their `TrainRecord`, the last record carries the model."""

    stage: Literal["reading", "field", "training", "calibration", "finished"]
    done: int
    total: int
    note: str = ""
    train: TrainRecord | None = None
    model: Model | None = None


class Fitted(NamedTuple):
    """What a model needs of one category; ``field`` is None where all share one; ``images`` were used."""

    info: CategoryInfo
    view: View
    field: Field | None
    normal_range: NormalRange
    images: int


def fit_view(sources: Sequence[Any], settings: FitSettings) -> View:
    """Of pictures, all on disk or not."""
    sample = sample_of(sources)
    if all(isinstance(source, str | Path) for source in sources):
        about = describe_set([Path(source) for source in sources])
        height, width, gray = about.height, about.width, about.is_gray
    else:
        every = sample_of(sources, len(sources))
        height, width = (int(np.median([getattr(p, side) for p in every])) for side in ("height", "width"))
        gray = all(p.is_gray for p in every)
    return settings.view_class.fit(sample, height, width, gray, **settings.view_options())


def read(features: Features, name: str, settings: FitSettings) -> Iterator[FitRecord]:
    """Read every picture once. Raises `DataError` for too few; notes where they are too few for a threshold."""
    for _ in features.read():
        yield reading(features)
    yield reading(features)
    if (count := len(features)) < FEWEST:
        raise DataError(f"Category '{name}' has {count} readable image(s): give at least {FEWEST}, better 20 or more.")
    if why := why_no_threshold(count, settings.false_alarm_rate, settings.field_class.trained):
        yield FitRecord("reading", len(features.pictures), len(features.pictures), note=f"{name}: {why}")


def reading(features: Features) -> FitRecord:
    """Where `Features.read` is, and what it could not read since this was last asked."""
    done, note = len(features) + len(features.unreadable), "\n".join(f"Skipped: {why}" for why in features.news())
    return FitRecord("reading", done, len(features.pictures), note)


def calibrated(
    scored: Iterable[tuple[int, VelocityField]], total: int, features: Features, field: Field | None, fit: FitSettings
) -> Iterator[FitRecord]:
    """Score ``total`` held-out pictures, by number, each under a field that has not seen it; returns `Fitted`."""
    paths, heat = fit.path_settings(), fit.heat_settings(features.view)
    mismatches, names = [], []
    for number, judge in scored:
        full = Mismatch.collect(mismatch_steps(judge, features[number], paths))
        # Aggregated already, as one path, which every aggregator leaves as it is: all that calibration needs.
        mismatches.append(Mismatch(full.times, full.per_time(heat)[:, None]))
        names.append(features.name(number))
        yield FitRecord("calibration", len(names), total)
    found = calibrate(mismatches, heat, fit.false_alarm_rate)
    info = CategoryInfo(
        view=PartInfo.of(features.view),
        field=field and PartInfo.of(field),
        threshold=found.threshold,
        note=found.reason,
        unlike=tuple(names[number] for number in found.outliers),
        scores=tuple(np.delete(found.scores, found.outliers).tolist()),
    )
    return Fitted(info, features.view, field, found.normal_range, len(features))


def assemble(
    parts: dict[str, Fitted], settings: FitSettings, seconds: float, shared: Field | None = None, **told: Any
) -> Model:
    """A model of its categories; ``told`` is added to what it says of its fit."""
    training = {"fit": settings.model_dump(mode="json"), "images": {name: p.images for name, p in parts.items()}}
    info = ModelInfo(
        categories={name: p.info for name, p in parts.items()},
        shared=shared and PartInfo.of(shared),
        paths=settings.path_settings(),
        heat=settings.heat_settings(next(iter(parts.values())).view),
        training=training | {"seconds": round(seconds, 1)} | told,
    )
    views, fields, ranges = ({n: getattr(p, k) for n, p in parts.items()} for k in ("view", "field", "normal_range"))
    return Model(info, views, {} if shared else fields, shared, ranges)
