"""A fit whose field is trained: one network for all categories, which starts from the closed form of each."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fmcore.detector.calibration import held_out_count
from fmcore.detector.features import Features, shuffled
from fmcore.detector.fitting import CategoryParts, FitRecord, assemble, calibrated, fit_view, read, reduced
from fmcore.detector.settings import FitSettings
from fmcore.fields import FIELDS
from fmcore.mismatch import Mismatch
from fmcore.training.checkpoint import start_training
from fmcore.training.loop import adopt_average, train

PARTS = 1000  # of a training by the clock, for progress


def fit_trained(
    pictures: Mapping[str, Sequence[Any]],
    settings: FitSettings,
    device: str,
    folder: str | Path | None,
    accelerator: Any,
) -> Iterator[FitRecord]:
    """See `fmcore.detector.fit.fit`. Of each category some pictures are set aside for the threshold; the closed form
    and the training see the others."""
    started = time.perf_counter()
    view = fit_view(pictures, settings).to(device)
    every: dict[str, Features] = {}
    held: dict[str, list[int]] = {}
    pool = _Pool(str(options := settings.field_options()))
    starts = []
    for index, (name, sources) in enumerate(pictures.items()):
        every[name] = features = Features(sources, view)
        yield from read(features, name, settings)
        order = shuffled(len(features), settings.seed).tolist()
        count = held_out_count(len(features), settings.false_alarm_rate)
        held[name] = order[:count]
        pool.add(features, order[count:], index)
        if options.get("start") != "none":
            start = FIELDS[view.closed_form]
            starts.append(start.fit(features.chosen(sorted(order[count:]))).to(device))
        yield FitRecord("field", index + 1, len(pictures))
    architecture = {k: v for k, v in options.items() if k != "start"}
    network = settings.field_class.new(starts or None, view.shape, len(every), seed=settings.seed, **architecture)
    network.to(device)
    for index, name in enumerate(every if starts else ()):
        network.measure_level(index, every[name].chosen(held[name]))
    state, plan = start_training(network), settings.training
    workers = 4 if device.startswith("cuda") else 0  # beside a GPU the noise of a batch takes as long as its step
    # Closed with this generator, which is what writes the checkpoint of an interrupted run.
    with closing(train(state, pool, pool.labels, plan, folder, accelerator, workers=workers)) as records:
        for record in records:
            done, total = (record.step, plan.steps) if plan.steps else (round(PARTS * record.progress), PARTS)
            yield FitRecord("training", done, total, train=record)
    adopt_average(state)
    if not plan.steps and state.step == plan.most_steps(len(pool)):
        note = f"Training ended after {plan.passes:g} passes over {len(pool)} images: more would learn so few by heart."
        yield FitRecord("training", PARTS, PARTS, note=note)
    parts: dict[str, CategoryParts] = {}
    paths = settings.path_settings(exact=False)
    heat = settings.heat_settings(view, paths)
    total, done = sum(len(numbers) for numbers in held.values()), 0
    for index, (name, features) in enumerate(every.items()):
        found: dict[int, Mismatch] = {}
        for number in held[name]:
            found[number] = reduced(network.conditioned(index), features[number], paths, heat)
            yield FitRecord("calibration", done := done + 1, total)
        calibration, unlike = calibrated(found, features, heat, settings)
        parts[name] = CategoryParts(view, None, calibration, unlike, len(features))
    told = {"steps": state.step, "seconds_of_training": round(state.seconds, 1)}
    model = assemble(parts, settings, time.perf_counter() - started, shared=network, told=told)
    yield FitRecord("finished", 1, 1, model=model)


class _Pool(Sequence[Tensor]):
    """Training pictures of all categories, made by their `Features` as they are drawn. ``fingerprint`` tells whether an
    unfinished training saw the same ones, through the same view and with the same start."""

    def __init__(self, start: str):
        self._digest = hashlib.sha256(start.encode())
        self._at: list[tuple[Features, int]] = []
        self._labels: list[int] = []

    def add(self, features: Features, numbers: list[int], label: int) -> None:
        self._at += [(features, number) for number in numbers]
        self._labels += [label] * len(numbers)
        self._digest.update(f"{features.view.config} {features.fingerprint} {numbers}".encode())

    @property
    def fingerprint(self) -> str:
        return self._digest.hexdigest()

    @property
    def labels(self) -> Tensor:
        return torch.tensor(self._labels)

    def __len__(self) -> int:
        return len(self._at)

    def __getitem__(self, index: int) -> Tensor:
        features, number = self._at[index]
        return features[number]
