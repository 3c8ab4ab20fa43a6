"""From good pictures to a calibrated model: closed forms in seconds, or a network trained on top of them.

A generator of small records; the last one carries the model. With a folder, an unfinished training is resumed from its
checkpoint.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing
from itertools import takewhile
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.utils.data import ConcatDataset, Subset

from fmcore.data.folders import find_good_images
from fmcore.detector.calibration import held_out_count
from fmcore.detector.features import Features, shuffled
from fmcore.detector.fit_steps import FitRecord, assemble, calibrated, fit_view, read, reading
from fmcore.detector.model import Model
from fmcore.detector.settings import FitSettings
from fmcore.errors import DataError
from fmcore.fields import FIELDS
from fmcore.fields.field import Field
from fmcore.training.checkpoint import start_training
from fmcore.training.loop import adopt_average, train

FOLDS = 5
MOST_SCORED = 256  # held-out pictures scored for a threshold
POLL = 0.1  # seconds between two looks at a fit that reads by itself
PARTS = 1000  # of a training by the clock, for progress


def fit_model(good: Any, device: str, settings: dict[str, Any]) -> Model:
    """`fmcore.fit`."""
    if isinstance(good, str | Path):
        good = find_good_images(good).categories
    elif not isinstance(good, Mapping):
        if not isinstance(good, Sequence):
            kind = type(good).__name__
            raise DataError(f"Good images are a folder, a list of pictures or a dict of lists, not {kind}.")
        good = {"images": good}
    *_, record = fit(good, FitSettings.parse(**settings), device=device)
    return record.model


def fit(
    pictures: Mapping[str, Sequence[Any]],
    settings: FitSettings,
    *,
    device: str = "cpu",
    folder: str | Path | None = None,
    accelerator: Any = None,
) -> Iterator[FitRecord]:
    """Fit a view and a field to the good pictures of each category, and calibrate on held-out ones.

    A closed form sees all pictures and is calibrated by cross-fitting: each picture is scored by a field that has not
    seen it. Where they are more than memory should hold, and for a trained field, some are set aside instead.

    Args:
        pictures: by category, paths or what `Picture.of` takes, at least three readable ones each.
        folder: where an unfinished training is kept, and resumed from.
        accelerator: of a training in several processes (`fmcore.training.team`).

    Raises:
        DataError: for too few pictures. SettingsError: for options that the view or the field does not have.
        ModelError: if the encoder cannot be had, or ``folder`` holds an unfinished training of other settings or data.
        TrainingError: if the loss is no longer finite.
    """
    settings, started = settings.checked(), time.perf_counter()
    if settings.field_class.trained:
        made = yield from _trained(pictures, settings, device, folder, accelerator)
    else:
        parts = {}
        for name, sources in pictures.items():
            parts[name] = yield from _closed_form(name, sources, settings, device)
        made = {"parts": parts}
    model = assemble(settings=settings, seconds=time.perf_counter() - started, **made)
    yield FitRecord("finished", 1, 1, model=model)


def _closed_form(name: str, sources: Sequence[Any], settings: FitSettings, device: str) -> Iterator[FitRecord]:
    """One category; returns `Fitted`."""
    cls, options, count = settings.field_class, settings.field_options(), len(sources)
    features, extra = Features(sources, fit_view(sources, settings).to(device)), 0

    def fit_to(tensors: Iterable[Tensor]) -> Field:
        return cls.fit(tensors, **options).to(device)

    if count <= features.most_kept:
        yield from read(features, name, settings)
        yield FitRecord("field", 0, 1)
        field, order = fit_to(features), shuffled(len(features), settings.seed)
        scored, total = _cross_fitted(features, order, fit_to), min(len(order), MOST_SCORED)
    else:
        # What memory holds is a random choice, which the field does not see; it reads all others once.
        aside = set(shuffled(count, settings.seed)[: min(MOST_SCORED, features.most_kept)])
        rest = Features([p for i, p in enumerate(sources) if i not in aside], features.view)
        features = Features([sources[i] for i in sorted(aside)], features.view)
        rest.most_kept = 0
        yield from read(features, name, settings)
        field = yield from _streamed(rest, fit_to)
        scored, total, extra = ((n, field) for n in range(len(features))), len(features), len(rest)
    found = yield from calibrated(scored, total, features, field, settings)
    return found._replace(images=found.images + extra)


def _cross_fitted(
    features: Features, order: list[int], fit_to: Callable[[Iterable[Tensor]], Field]
) -> Iterator[tuple[int, Field]]:
    """Numbers of pictures, each with a field that has not seen it; a fold's field is made when it is needed."""
    for fold in range(FOLDS):
        if scored := order[fold:MOST_SCORED:FOLDS]:
            field = fit_to(Subset(features, sorted(set(order) - set(order[fold::FOLDS]))))
            yield from ((number, field) for number in scored)


def _streamed(features: Features, fit_to: Callable[[Iterable[Tensor]], Field]) -> Iterator[FitRecord]:
    """Fit to pictures that are read as they are needed, in a thread of its own, with progress; returns the field."""
    stopped = threading.Event()
    with ThreadPoolExecutor(1) as thread:
        fitted = thread.submit(fit_to, takewhile(lambda _: not stopped.is_set(), features.read()))
        try:
            while not wait([fitted], POLL).done:
                yield reading(features)
        finally:
            stopped.set()  # where the caller gives up
    yield reading(features)
    return fitted.result()


def _trained(
    pictures: Mapping[str, Sequence[Any]],
    settings: FitSettings,
    device: str,
    folder: str | Path | None,
    accelerator: Any,
) -> Iterator[FitRecord]:
    """One network for all categories, which starts from the closed form of each; of each, some pictures are set aside
    for the threshold. Returns arguments of `assemble`."""
    view = fit_view([source for sources in pictures.values() for source in sources], settings).to(device)
    every = {name: Features(sources, view) for name, sources in pictures.items()}
    options, plan = settings.field_options(), settings.training
    held, seen, starts = {}, {}, []
    about = hashlib.sha256(str(options).encode())
    for name, features in every.items():
        yield from read(features, name, settings)
        order = shuffled(len(features), settings.seed)
        count = held_out_count(len(order), settings.false_alarm_rate)
        held[name], seen[name] = order[:count], order[count:]
        about.update(f"{view.config} {features.fingerprint} {seen[name]}".encode())
        if options.get("start") != "none":
            starts.append(FIELDS[view.closed_form].fit(Subset(features, sorted(seen[name]))).to(device))
        yield FitRecord("field", len(held), len(every))
    architecture = {k: v for k, v in options.items() if k != "start"}
    network = settings.field_class.new(starts or None, view.shape, len(every), seed=settings.seed, **architecture)
    network.to(device)
    for index, name in enumerate(every if starts else ()):
        network.measure_level(index, Subset(every[name], held[name]))
    images = ConcatDataset([Subset(every[name], numbers) for name, numbers in seen.items()])
    # Whether an unfinished training saw the same pictures, through the same view and with the same start.
    images.fingerprint = about.hexdigest()
    labels = [index for index, numbers in enumerate(seen.values()) for _ in numbers]
    state = start_training(network)
    workers = 4 if device.startswith("cuda") else 0  # beside a GPU the noise of a batch takes as long as its step
    # Closed with this generator, which is what writes the checkpoint of an interrupted run.
    with closing(train(state, images, labels, plan, folder, accelerator, workers=workers)) as records:
        for record in records:
            done, total = (record.step, plan.steps) if plan.steps else (round(PARTS * record.progress), PARTS)
            yield FitRecord("training", done, total, train=record)
    adopt_average(state)
    if not plan.steps and state.step == plan.most_steps(len(labels)):
        note = (
            f"Training ended after {plan.passes:g} passes over {len(labels)} images: more would learn so few by heart."
        )
        yield FitRecord("training", PARTS, PARTS, note=note)
    parts = {}
    for index, (name, features) in enumerate(every.items()):
        scored = ((number, network.conditioned(index)) for number in held[name])
        parts[name] = yield from calibrated(scored, len(held[name]), features, None, settings)
    return {"parts": parts, "shared": network, "steps": state.step, "seconds_of_training": round(state.seconds, 1)}
