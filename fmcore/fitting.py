"""From good images to a calibrated model: Gaussian fields in seconds, or a network trained on top of them.

A generator of small records; the last one carries the model. With a folder, an unfinished network run is
resumed from its checkpoint.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import torch
from pydantic import Field, field_validator
from torch import Tensor

from fmcore.calibration import Calibration, calibrate
from fmcore.cross_fit import CrossFit, cross_fit, deal, shuffled
from fmcore.distributed import ALONE, Team
from fmcore.errors import DataError
from fmcore.fields.gaussian import GaussianField, fit_gaussian
from fmcore.fields.unet import UNetSettings, VelocityUNet
from fmcore.mismatch import HeatSettings, Mismatch, PathSettings, VelocityField, mismatch_steps
from fmcore.model import Model, ModelInfo
from fmcore.run_plan import fingerprint, make_or_resume_plan
from fmcore.settings import Settings
from fmcore.source import SourceKind, mapped_back, whiten
from fmcore.training import MOST_STEPS, TrainRecord, adopt_average, start_training, train

FOLDS = 5
LEAST_GAIN = 0.01  # of a network's start
FEWEST = 3  # two to fit a Gaussian field, one held out
Width = Annotated[int, Field(ge=8, le=2048)]


class FitSettings(Settings):
    """What to fit, and how long. Defaults are the recipe we recommend for unknown data."""

    field: Literal["gaussian", "unet"] = "unet"
    size: int = Field(128, ge=32, le=256, description="pixels per side that the model sees")
    minutes: float = Field(20.0, gt=0, le=100_000, description="training time of a unet")
    passes: float = Field(
        300.0, gt=0, description="most passes of a unet over its training images, however many minutes are left"
    )
    steps: int | None = Field(
        None, ge=1, le=MOST_STEPS, description="training steps of a unet, instead of minutes and passes"
    )
    start: Literal["gaussian", "none"] = Field("gaussian", description="none: predict v, as the paper does")
    start_folds: int = Field(
        1, ge=1, le=100, description="a unet trains on Gaussian fields that have not seen the image's fold; 1: off"
    )
    time_power: float = Field(2.0, ge=0, le=8, description="t is drawn with density t^power; the paper: 0")
    source: Literal["auto", "white", "natural"] = Field(
        "auto", description="noise at t = 0; auto is natural for a unet, white for a gaussian (the paper: white)"
    )
    defects: float = Field(
        0.5, ge=0, le=1, description="share of training images shown with a synthetic defect; the paper: 0"
    )
    components: int = Field(100, ge=0, le=500, description="most principal components per Gaussian field")
    least_gain: float | None = Field(
        None, ge=0, lt=1, description="least share of the rest a component must explain in held-out images"
    )
    widths: tuple[Width, ...] = Field((64, 128, 192), min_length=1, max_length=6, description="channels per unet level")
    batch: int = Field(16, ge=1, le=4096)
    learning_rate: float = Field(1e-3, gt=0, le=1)
    precision: Literal["auto", "float32", "bfloat16"] = Field("auto", description="auto: bfloat16 where it is fast")
    save_every: int = Field(200, ge=1, description="training steps between checkpoints")
    seed: int = Field(0, ge=0, lt=2**31)
    false_alarm_rate: float = Field(0.05, gt=0, lt=1, description="of the threshold, on new normal images")
    calibration_images: int = Field(60, ge=1, description="most held-out images scored per category")
    paths: PathSettings = Field(default_factory=PathSettings.recommended)
    heat: HeatSettings = Field(default_factory=lambda before: HeatSettings.for_size(before["size"]))

    @field_validator("widths")
    @classmethod
    def _split_into_heads(cls, widths: tuple[int, ...]) -> tuple[int, ...]:
        if any(width > 128 and width % 64 for width in widths):
            raise ValueError("A width above 128 must be a multiple of 64")
        return widths

    @property
    def least_share(self) -> float:
        """``least_gain``, or what is best where none is given.

        A field that is used alone profits from all components. A network is trained on what its field leaves of the
        training images, and every component takes more from those than from a new image, so it starts from the
        leading few.
        """
        return self.least_gain if self.least_gain is not None else LEAST_GAIN if self.field == "unet" else 0.0

    @property
    def noise_source(self) -> SourceKind:
        """The source meant by ``auto``."""
        return self.source if self.source != "auto" else "natural" if self.field == "unet" else "white"


@dataclass(frozen=True)
class FitRecord:
    """Progress: ``done`` of ``total`` in this ``stage``; training steps carry their `TrainRecord`, the
    last record carries the model."""

    stage: Literal["gaussian", "training", "calibration", "finished"]
    done: int
    total: int
    train: TrainRecord | None = None
    model: Model | None = None


def fit(
    images: dict[str, Tensor],
    settings: FitSettings,
    *,
    device: str = "cpu",
    folder: str | Path | None = None,
    team: Team = ALONE,
    held_out: dict[str, Tensor] | None = None,
) -> Iterator[FitRecord]:
    """Fit fields to the good images of each category and calibrate them on held-out ones.

    Gaussian fields are fitted to all images and calibrated by cross-fitting (each image is scored by a
    field that has not seen it); a network sets some images aside.

    Args:
        images: by category ``(N, C, size, size)`` in [-1, 1], at least three each.
        folder: where an unfinished network run is kept, and resumed from.
        held_out: by category, good images to calibrate a network on, shaped alike; it then trains on all of
            ``images``. None: some of these are set aside.
        team: processes that share the training and calibration of a network; all call this alike, get the
            same records and stop after the same one. Only the main process writes.

    Raises:
        DataError: for too few images. ModelError: if ``folder`` holds a run with other settings or data.
        TrainingError: if the loss is no longer finite.
    """
    for name, batch in images.items():
        if len(batch) < FEWEST:
            raise DataError(
                f"Category '{name}' has {len(batch)} readable image(s): give at least {FEWEST}, better 50 or more."
            )
    if settings.field == "gaussian":
        yield from _fit_gaussians(images, settings, device)
    else:
        yield from _fit_network(images, settings, device, Path(folder) if folder is not None else None, team, held_out)


def held_out_count(count: int, false_alarm_rate: float) -> int:
    """How many of ``count`` good images a network does not train on: a tenth; where the folder is at least
    three times what the threshold needs, that many; never fewer than one."""
    needed = math.ceil(1 / false_alarm_rate - 1 - 1e-9)
    return max(1, round(count / 10), needed if count >= 3 * needed else 0)


def _fit_gaussians(images: dict[str, Tensor], settings: FitSettings, device: str) -> Iterator[FitRecord]:
    started = time.perf_counter()
    fields, calibrations, done = [], {}, 0
    total = sum(min(len(batch), settings.calibration_images) for batch in images.values())
    for index, (name, batch) in enumerate(images.items()):
        fields.append(_gaussian(batch, settings).to(device))
        yield FitRecord("gaussian", index + 1, len(images))
        reduced = []
        for held_out, field in _cross_fitted(batch, settings):
            for mismatch in _reduced(field.to(device), held_out, settings, device, ALONE):
                reduced.append(mismatch)
                yield FitRecord("calibration", done := done + 1, total)
        calibrations[name] = calibrate(reduced, settings.heat, settings.false_alarm_rate)
    training = _summary(images, settings, fingerprint(images), time.perf_counter() - started)
    model = _model("gaussian", images, settings, fields, None, calibrations, training)
    yield FitRecord("finished", 1, 1, model=model)


def _gaussian(images: Tensor, settings: FitSettings) -> GaussianField:
    whitened = whiten(settings.noise_source, images)
    return fit_gaussian(whitened, components=settings.components, least_gain=settings.least_share, seed=settings.seed)


def _cross_fitted(batch: Tensor, settings: FitSettings) -> Iterator[tuple[Tensor, GaussianField]]:
    wanted = shuffled(len(batch), settings.seed)[: settings.calibration_images]
    for held, rest in deal(len(batch), FOLDS, settings.seed):
        scored = held[torch.isin(held, wanted)]
        if len(scored):
            yield batch[scored], _gaussian(batch[rest], settings)


def _fit_network(
    images: dict[str, Tensor],
    settings: FitSettings,
    device: str,
    folder: Path | None,
    team: Team,
    held_out: dict[str, Tensor] | None,
) -> Iterator[FitRecord]:
    train_parts, held_parts, gaussians, starts = {}, {}, [], []
    one = partial(_gaussian, settings=settings)
    for index, (name, batch) in enumerate(images.items()):
        if held_out is not None:
            held_parts[name], train_parts[name] = held_out[name], batch
        else:
            order = shuffled(len(batch), settings.seed)
            held = held_out_count(len(batch), settings.false_alarm_rate)
            held_parts[name], train_parts[name] = batch[order[:held]], batch[order[held:]]
        if settings.start == "gaussian":
            gaussians.append(one(train_parts[name]))
            if settings.start_folds > 1:
                starts.append(cross_fit(train_parts[name], one, folds=settings.start_folds, seed=settings.seed))
        yield FitRecord("gaussian", index + 1, len(images))
    network = _new_network(settings, next(iter(images.values())).shape[1], gaussians, len(images)).to(device)
    pool = torch.cat(list(train_parts.values()))
    labels = torch.repeat_interleave(torch.arange(len(images)), torch.tensor([len(p) for p in train_parts.values()]))
    del train_parts  # the pool is a copy of them
    data = fingerprint(images)
    plan = make_or_resume_plan(settings, network, pool, labels, data, folder=folder, team=team)
    state = start_training(network, plan)
    # Closed with this generator, which is what writes the checkpoint of an interrupted run.
    with closing(
        train(state, pool, labels, plan, folder=folder, team=team, starts=CrossFit.joined(starts) if starts else None)
    ) as records:
        for record in records:
            yield FitRecord("training", record.step, record.steps, train=record)
    adopt_average(state)

    calibrations, done = {}, 0
    scored = {name: held[: settings.calibration_images] for name, held in held_parts.items()}
    total = sum(map(len, scored.values()))
    for index, (name, held) in enumerate(scored.items()):
        reduced = []
        for mismatch in _reduced(network.conditioned(index), held, settings, device, team):
            reduced.append(mismatch)
            yield FitRecord("calibration", done := done + 1, total)
        calibrations[name] = calibrate(reduced, settings.heat, settings.false_alarm_rate)
    training = _summary(images, settings, data, state.seconds) | {"train": plan.model_dump(mode="json")}
    model = _model("unet", images, settings, gaussians, network, calibrations, training)
    yield FitRecord("finished", 1, 1, model=model)


def _new_network(settings: FitSettings, channels: int, gaussians: list[GaussianField], categories: int) -> VelocityUNet:
    # The patch keeps the inner grid near 32 x 32 whatever the size, and so the cost per image.
    unet = UNetSettings.parse(
        size=settings.size,
        channels=channels,
        categories=categories,
        patch=max(1, settings.size // 32),
        widths=settings.widths,
        start=settings.start,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        return VelocityUNet(unet, gaussians)


def _reduced(
    field: VelocityField, images: Tensor, settings: FitSettings, device: str, team: Team
) -> Iterator[Mismatch]:
    """The mismatch of each image, already aggregated over paths, as one path: what calibration needs, a K-th of
    the memory. The images ``(n, C, H, W)`` are scored a team's size at a time, one by each process."""
    field = mapped_back(field, settings.noise_source)
    for first in range(0, len(images), team.size):
        mine = images[min(first + team.rank, len(images) - 1)].to(device)
        full = Mismatch.collect(mismatch_steps(field, mine, settings.paths))
        maps = torch.from_numpy(full.per_time(settings.heat)[None, :, None]).to(device)
        for each in team.whole(maps, team.size)[: len(images) - first].cpu().numpy():
            yield Mismatch(full.times, each)


def _model(
    kind: Literal["gaussian", "unet"],
    images: dict[str, Tensor],
    settings: FitSettings,
    gaussians: list[GaussianField],
    network: VelocityUNet | None,
    calibrations: dict[str, Calibration],
    training: dict,
) -> Model:
    info = ModelInfo.parse(
        kind=kind,
        size=settings.size,
        channels=next(iter(images.values())).shape[1],
        categories=tuple(images),
        paths=settings.paths,
        heat=settings.heat,
        source=settings.noise_source,
        thresholds={name: c.threshold for name, c in calibrations.items()},
        notes={name: c.reason for name, c in calibrations.items() if c.reason},
        unet=network.settings if network is not None else None,
        training=training,
    )
    return Model(info, tuple(gaussians), network, {name: c.normal_range for name, c in calibrations.items()})


def _summary(images: dict[str, Tensor], settings: FitSettings, data: str, seconds: float) -> dict:
    return {
        "fit": settings.model_dump(mode="json"),
        "images": {name: len(batch) for name, batch in images.items()},
        "data": data,
        "seconds": round(seconds, 1),
    }
