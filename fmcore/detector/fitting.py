"""What every fit is made of: reading pictures through a view, calibration, and putting a model together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from torch import Tensor

from fmcore.data.folders import describe_set
from fmcore.detector.calibration import Calibration, calibrate, why_no_threshold
from fmcore.detector.features import Features, sample_of
from fmcore.detector.model import CategoryInfo, Model, ModelInfo, PartInfo
from fmcore.detector.settings import FitSettings
from fmcore.errors import DataError
from fmcore.fields.field import Field, VelocityField
from fmcore.mismatch import HeatSettings, Mismatch, PathSettings, has_exact_mean, mismatch_steps
from fmcore.registry import Part
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


@dataclass(frozen=True)
class CategoryParts:
    """What a fit found for one category; ``field`` is None where all share one."""

    view: View
    field: Field | None
    calibration: Calibration
    unlike: tuple[str, ...]
    images: int


def fit_view(pictures: Mapping[str, Sequence[Any]], settings: FitSettings) -> View:
    """One view for all the pictures given."""
    sources = [source for every in pictures.values() for source in every]
    about = describe_set(sources)
    sample = [picture.of_depth(about.bits) for picture in sample_of(sources)]
    view = settings.view_class.fit(sample, about.height, about.width, about.is_gray, **settings.view_options())
    return view.at_depth(about.bits)


def read(features: Features, name: str, settings: FitSettings) -> Iterator[FitRecord]:
    """Read every picture once; unreadable ones are told, and whether they are too few for a threshold."""
    said = 0
    for done, _ in enumerate(features.read(), start=1):
        notes = features.unreadable[said:]
        said = len(features.unreadable)
        yield FitRecord("reading", done, len(features.pictures), note="\n".join(f"Skipped: {n}" for n in notes))
    for note in features.unreadable[said:]:
        yield FitRecord("reading", len(features.pictures), len(features.pictures), note=f"Skipped: {note}")
    if len(features) < FEWEST:
        raise DataError(
            f"Category '{name}' has {len(features)} readable image(s): give at least {FEWEST}, better 20 or more."
        )
    if why := why_no_threshold(len(features), settings.false_alarm_rate, settings.field_class.trained):
        yield FitRecord("reading", len(features.pictures), len(features.pictures), note=f"{name}: {why}")


def reduced(field: VelocityField, tensor: Tensor, paths: PathSettings, heat: HeatSettings) -> Mismatch:
    """The mismatch of one image, already aggregated over paths, as one path: all that calibration needs."""
    full = Mismatch.collect(mismatch_steps(field, tensor, paths))
    return Mismatch(full.times, full.per_time(heat)[:, None])


def calibrated(
    found: dict[int, Mismatch], features: Features, heat: HeatSettings, settings: FitSettings
) -> tuple[Calibration, tuple[str, ...]]:
    """Threshold and range of one category, and the names of good pictures that are unlike the others."""
    numbers = list(found)
    # An exact mean or an aggregated path: one path, which every aggregator leaves as it is.
    calibration = calibrate([found[number] for number in numbers], heat, settings.false_alarm_rate)
    return calibration, tuple(features.names[numbers[i]] for i in calibration.outliers)


def assemble(
    parts: dict[str, CategoryParts],
    settings: FitSettings,
    seconds: float,
    shared: Field | None = None,
    told: dict[str, Any] | None = None,
) -> Model:
    """A model of the parts of its categories; ``told`` is added to what it says of its fit."""
    first = next(iter(parts.values()))
    paths = settings.path_settings(has_exact_mean(shared or first.field))
    info = ModelInfo(
        categories={
            name: CategoryInfo(
                view=_info(p.view),
                field=None if p.field is None else _info(p.field),
                threshold=p.calibration.threshold,
                note=p.calibration.reason,
                unlike=p.unlike,
                scores=tuple(np.delete(p.calibration.scores, p.calibration.outliers).tolist()),
            )
            for name, p in parts.items()
        },
        shared=None if shared is None else _info(shared),
        paths=paths,
        heat=settings.heat_settings(first.view, paths),
        training={
            "fit": settings.model_dump(mode="json"),
            "images": {name: p.images for name, p in parts.items()},
            "seconds": round(seconds, 1),
            **(told or {}),
        },
    )
    views = {name: p.view for name, p in parts.items()}
    fields = {name: p.field for name, p in parts.items() if p.field is not None}
    return Model(info, views, fields, shared, {name: p.calibration.normal_range for name, p in parts.items()})


def _info(part: Part) -> PartInfo:
    return PartInfo(kind=part.kind, config=part.config)
