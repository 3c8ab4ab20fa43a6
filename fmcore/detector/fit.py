"""From good pictures to a calibrated model: closed forms in seconds, or a network trained on top of them.

A generator of small records; the last one carries the model. With a folder, an unfinished training is resumed from its
checkpoint.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from torch.utils.data import ConcatDataset, Subset

from fmcore.data.folders import describe_set
from fmcore.data.picture import read_mask
from fmcore.detector.calibration import NormalRange, calibrate, conformal_threshold, held_out_count, why_no_threshold
from fmcore.detector.features import Features, readable, shuffled
from fmcore.detector.model import CategoryInfo, Model, ModelInfo, PartInfo
from fmcore.detector.settings import FitSettings
from fmcore.errors import DataError
from fmcore.fields import FIELDS
from fmcore.fields.field import Field, VelocityField
from fmcore.mismatch import Mismatch, mismatch_steps, within
from fmcore.training.checkpoint import start_training
from fmcore.training.loop import TrainRecord, train
from fmcore.views import View

FEWEST = 3  # pictures of a category: two to fit a Gaussian, one held out
FOLDS = 5
MOST_SCORED = 256  # held-out pictures scored for a threshold
PARTS = 1000  # of a training by the clock, for progress


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


class _Category(NamedTuple):
    """What a model needs of one; ``field`` is None where all share one."""

    info: CategoryInfo
    view: View
    field: Field | None
    normal_range: NormalRange
    images: int


def fit(
    pictures: Mapping[str, Sequence[Any]],
    settings: FitSettings,
    *,
    device: str = "cpu",
    folder: str | Path | None = None,
) -> Iterator[FitRecord]:
    """Fit a view and a field to the good pictures of each category, and calibrate on held-out ones.

    A closed form sees all pictures and is calibrated by cross-fitting: each picture is scored by a field that has not
    seen it, at most `MOST_SCORED`. For a trained field some are set aside.

    Args:
        pictures: by category, paths or what `Picture.of` takes, at least three readable ones each.
        folder: where an unfinished training is kept, and resumed from.

    Raises:
        DataError: for too few pictures. SettingsError: for options that the view or the field does not have.
        ModelError: if the encoder cannot be had, or ``folder`` holds an unfinished training of other settings or data.
        TrainingError: if the loss is no longer finite.
    """
    settings, started, network, told = settings.checked(), time.perf_counter(), None, {}
    pictures = {readable(name): sources for name, sources in pictures.items()}  # names become keys of a JSON file
    if not pictures:
        raise DataError("There is no category to fit: give at least one, with good pictures.")
    if settings.field_class.trained:
        categories, network, told = yield from _trained(pictures, settings, device, folder)
    else:
        categories = {}
        for name, sources in pictures.items():
            categories[name] = yield from _closed_form(name, sources, settings, device)
    training = {"fit": settings.model_dump(mode="json"), "images": {n: c.images for n, c in categories.items()}}
    info = ModelInfo(
        categories={name: category.info for name, category in categories.items()},
        shared=network and PartInfo.of(network),
        paths=settings.path_settings(),
        heat=settings.heat_settings(next(iter(categories.values())).view),
        training=training | {"seconds": round(time.perf_counter() - started, 1)} | told,
    )
    views, fields, ranges = ({n: c[i] for n, c in categories.items() if c[i] is not None} for i in (1, 2, 3))
    yield FitRecord("finished", 1, 1, model=Model(info, views, fields, network, ranges))


def _closed_form(name: str, sources: Sequence[Any], settings: FitSettings, device: str) -> Iterator[FitRecord]:
    """Returns a `_Category`."""
    cls, options = settings.field_class, settings.field_options()
    features = Features(sources, _view(sources, settings).to(device))
    yield from _read(features, name, settings)
    yield FitRecord("field", 0, 1)
    order = shuffled(len(features), settings.seed)

    def fit_to(numbers: Iterable[int]) -> Field:
        return cls.fit(Subset(features, sorted(numbers)), **options).to(device)

    field, held = fit_to(order), order[:MOST_SCORED]
    return (yield from _calibrated(_cross_fitted(order, fit_to), len(held), features, field, settings))


def _cross_fitted(order: list[int], fit_to: Callable[[Iterable[int]], Field]) -> Iterator[tuple[int, Field]]:
    """Numbers of pictures, each with a field that has not seen it; a fold's field is made when it is needed."""
    for fold in range(FOLDS):
        if scored := order[fold:MOST_SCORED:FOLDS]:
            field = fit_to(set(order) - set(order[fold::FOLDS]))
            yield from ((number, field) for number in scored)


def _trained(
    pictures: Mapping[str, Sequence[Any]], settings: FitSettings, device: str, folder: str | Path | None
) -> Iterator[FitRecord]:
    """One network for all categories, which starts from the closed form of each; of each, some pictures are set aside
    for the threshold. Returns a `_Category` of each, the network, and what to tell of the training."""
    view = _view([source for sources in pictures.values() for source in sources], settings).to(device)
    every = {name: Features(sources, view) for name, sources in pictures.items()}
    options, plan = settings.field_options(), settings.training.replace(seed=settings.seed)
    held, seen, starts = {}, {}, []
    # Of pictures, view and start: an unfinished training of others is refused.
    about = hashlib.sha256(str(options).encode())
    for name, features in every.items():
        yield from _read(features, name, settings)
        order = shuffled(len(features), settings.seed)
        count = held_out_count(len(order), settings.false_alarm_rate)
        held[name], seen[name] = order[:count], order[count:]
        about.update(f"{view.config} {features.digest.hexdigest()} {seen[name]}".encode())
        if options.get("start") != "none":
            starts.append(FIELDS[view.closed_form].fit(Subset(features, sorted(seen[name]))).to(device))
        yield FitRecord("field", len(held), len(every))
    architecture = {k: v for k, v in options.items() if k != "start"}
    network = settings.field_class.new(starts or None, view.shape, len(every), seed=settings.seed, **architecture)
    network.to(device)
    for index, name in enumerate(every if starts else ()):
        network.measure_level(index, Subset(every[name], held[name]))
    images = ConcatDataset([Subset(every[name], numbers) for name, numbers in seen.items()])
    labels = [index for index, numbers in enumerate(seen.values()) for _ in numbers]
    state = start_training(network)
    workers = 4 if device.startswith("cuda") else 0  # beside a GPU the noise of a batch takes as long as its step
    # Closed with this generator, which is what writes the checkpoint of an interrupted run.
    with closing(train(state, images, labels, plan, folder, about.hexdigest(), workers)) as records:
        for record in records:
            done, total = (record.step, plan.steps) if plan.steps else (round(PARTS * record.progress), PARTS)
            yield FitRecord("training", done, total, train=record)
    if not plan.steps and state.step == plan.most_steps(len(labels)):
        ended = f"Training ended after {plan.passes:g} passes over {len(labels)} images"
        yield FitRecord("training", PARTS, PARTS, note=f"{ended}: more would learn so few by heart.")
    categories = {}
    for index, (name, features) in enumerate(every.items()):
        scored = ((number, network.conditioned(index)) for number in held[name])
        categories[name] = yield from _calibrated(scored, len(held[name]), features, None, settings)
    return categories, network, {"steps": state.step, "seconds_of_training": round(state.seconds, 1)}


def _view(sources: Sequence[Any], settings: FitSettings) -> View:
    about = describe_set(sources)
    view = settings.view_class.fit(about.sample, about.height, about.width, about.is_gray, **settings.view_options())
    mask = read_mask(settings.roi) if settings.roi else None
    if mask is not None and abs(mask.shape[1] * about.height / (mask.shape[0] * about.width) - 1) > 0.02:
        sides, shape = f"{mask.shape[1]} x {mask.shape[0]}", f"{about.width} x {about.height}"
        raise DataError(f"The region of interest is {sides} and the pictures are {shape}: they must have one shape.")
    view = view.at_depth(about.bits).within(mask)
    view.depth += f", {about.gray_among_colour} gray images taken as RGB" * (about.gray_among_colour > 0)
    return view


def _read(features: Features, name: str, settings: FitSettings) -> Iterator[FitRecord]:
    """Read every picture once. Raises `DataError` for too few; notes where they are too few for a threshold."""
    total = len(features.pictures)
    for done, _ in enumerate(features.read(), start=1):
        yield FitRecord("reading", done, total)
    yield FitRecord("reading", total, total, note="\n".join(f"Skipped: {why}" for why in features.unreadable))
    if (count := len(features)) < FEWEST:
        raise DataError(f"Category '{name}' has {count} readable image(s): give at least {FEWEST}, better 20 or more.")
    if why := why_no_threshold(count, settings.false_alarm_rate, settings.field_class.trained):
        yield FitRecord("reading", total, total, note=f"{name}: {why}")


def _calibrated(
    scored: Iterable[tuple[int, VelocityField]], total: int, features: Features, field: Field | None, fit: FitSettings
) -> Iterator[FitRecord]:
    """Score ``total`` held-out pictures, by number, each under a field that has not seen it; returns a `_Category`."""
    paths, heat = fit.path_settings(), fit.heat_settings(features.view)
    mismatches, names = [], []
    for number, judge in scored:
        steps = mismatch_steps(judge, features[number].to(features.view.device), paths)
        full = Mismatch.collect(within(steps, features.view.roi_of_grid))
        # Aggregated already, as one path, which every aggregator leaves as it is: all that calibration needs.
        mismatches.append(Mismatch(full.times, full.per_time(heat)[:, None], full.roi))
        names.append(features.name(number))
        yield FitRecord("calibration", len(names), total)
    scores, outliers, normal_range = calibrate(mismatches, heat)
    threshold, reason = conformal_threshold(scores, fit.false_alarm_rate)
    info = CategoryInfo(
        view=PartInfo.of(features.view),
        field=field and PartInfo.of(field),
        threshold=threshold,
        note=reason,
        unlike=tuple(names[number] for number in outliers),
        scores=tuple(scores.tolist()),
    )
    return _Category(info, features.view, field, normal_range, len(features))
