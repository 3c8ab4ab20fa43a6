"""A fit in closed form: one pass over the pictures, and a threshold from scores of fields that have not seen them."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from fmcore.detector.features import Features, shuffled
from fmcore.detector.fitting import CategoryParts, FitRecord, calibrated, read, reduced
from fmcore.detector.settings import FitSettings
from fmcore.fields.field import Field, VelocityField
from fmcore.mismatch import Mismatch, has_exact_mean

FOLDS = 5
MOST_SCORED = 256  # held-out pictures scored for a threshold


def fit_closed_form(name: str, features: Features, settings: FitSettings, device: str) -> Iterator[FitRecord]:
    """Fit and calibrate one category; returns its `CategoryParts`."""
    cls, options = settings.field_class, settings.field_options()
    count = len(features.pictures)
    if count <= features.most_kept:
        yield from read(features, name, settings)
        yield FitRecord("field", 0, 1)
        field = cls.fit(features.chosen(range(len(features))), **options).to(device)
        order = shuffled(len(features), settings.seed)
        scored = _cross_fitted(features, order, lambda numbers: cls.fit(features.chosen(numbers), **options).to(device))
    else:
        # The kept pictures come first in order; a random choice of the whole set must be held out.
        aside = set(shuffled(count, settings.seed)[: min(MOST_SCORED, features.most_kept)].tolist())
        held_features = Features([features.pictures[i] for i in sorted(aside)], features.view)
        rest = Features([p for i, p in enumerate(features.pictures) if i not in aside], features.view)
        rest.most_kept = 0
        yield from read(held_features, name, settings)
        field = yield from _streamed(lambda tensors: cls.fit(tensors, **options), rest)
        field.to(device)
        features, order = held_features, torch.arange(len(held_features))
        scored = ((number, field) for number in order.tolist())
    paths = settings.path_settings(has_exact_mean(field))
    heat = settings.heat_settings(features.view, paths)
    order = order[:MOST_SCORED]
    found: dict[int, Mismatch] = {}
    for number, judge_field in scored:
        found[number] = reduced(judge_field, features[number], paths, heat)
        yield FitRecord("calibration", len(found), len(order))
    calibration, unlike = calibrated(found, features, heat, settings)
    return CategoryParts(features.view, field, calibration, unlike, count - len(features.unreadable))


def _cross_fitted(
    features: Features, order: Tensor, fit_to: Callable[[list[int]], Field]
) -> Iterator[tuple[int, VelocityField]]:
    """Pairs of a picture's number and a field that has not seen it; each fold's field is made when it is needed."""
    wanted = set(order[:MOST_SCORED].tolist())
    folds = min(FOLDS, len(order))
    for fold in range(folds):
        held = order[fold::folds].tolist()
        scored = [number for number in held if number in wanted]
        if scored:
            field = fit_to(sorted(set(order.tolist()) - set(held)))
            yield from ((number, field) for number in scored)


def _streamed(fit_to: Callable[[Iterable[Tensor]], Field], features: Features) -> Iterator[FitRecord]:
    """Fit to pictures that are read as they are needed, with progress; returns the field."""
    waiting: queue.Queue[Tensor | None] = queue.Queue(maxsize=8)
    with ThreadPoolExecutor(1) as pool:
        fitted = pool.submit(fit_to, iter(waiting.get, None))
        try:
            for done, tensor in enumerate(features.read(), start=1):
                waiting.put(tensor)
                if fitted.done():
                    break
                yield FitRecord("reading", done, len(features.pictures))
        finally:
            waiting.put(None)
        return fitted.result()
