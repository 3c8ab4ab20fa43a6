"""From good images to a calibrated model: Gaussian fields in seconds, or a network trained on top of them.

A generator of small records; the last one carries the model. With a folder, an unfinished network run is
resumed from its checkpoint.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from fmcore.calibration import Calibration, calibrate
from fmcore.errors import DataError, ModelError
from fmcore.fields.gaussian import GaussianField, fit_gaussian
from fmcore.fields.unet import UNetSettings, VelocityUNet
from fmcore.mismatch import HeatSettings, Mismatch, PathSettings, VelocityField, mismatch_steps
from fmcore.model import Model, ModelInfo
from fmcore.settings import Settings
from fmcore.training import TrainRecord, TrainSettings, adopt_average, start_training, train

RUN_FILE = "run.json"
FEWEST = 3  # two to fit a Gaussian field, one held out


class FitSettings(Settings):
    """What to fit, and how long. Defaults are the recipe we recommend for unknown data."""

    field: Literal["gaussian", "unet"] = "unet"
    size: int = Field(128, ge=32, le=256, description="pixels per side that the model sees")
    minutes: float = Field(20.0, gt=0, le=100_000, description="training time of a unet")
    steps: int | None = Field(None, ge=1, description="training steps of a unet, instead of minutes")
    start: Literal["gaussian", "none"] = Field("gaussian", description="none: predict v, as the paper does")
    time_power: float = Field(2.0, ge=0, le=8, description="t is drawn with density t^power; the paper: 0")
    components: int = Field(100, ge=0, le=500, description="most principal components per Gaussian field")
    least_gain: float = Field(0.0, ge=0, lt=1, description="least share of the rest a component must explain")
    widths: tuple[int, ...] = Field((64, 128, 192), description="channels per level of the unet")
    batch: int = Field(16, ge=1, le=4096)
    learning_rate: float = Field(1e-3, gt=0, le=1)
    seed: int = Field(0, ge=0, lt=2**31)
    false_alarm_rate: float = Field(0.05, gt=0, lt=1, description="of the threshold, on new normal images")
    calibration_images: int = Field(60, ge=1, description="most held-out images scored per category")
    paths: PathSettings = PathSettings()
    heat: HeatSettings = HeatSettings()


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
    images: dict[str, Tensor], settings: FitSettings, *, device: str = "cpu", folder: str | Path | None = None
) -> Iterator[FitRecord]:
    """Fit fields to the good images of each category and calibrate them on held-out ones.

    Gaussian fields are fitted to all images and calibrated by cross-fitting (each image is scored by a
    field that has not seen it); a network sets some images aside.

    Args:
        images: by category ``(N, C, size, size)`` in [-1, 1], at least three each.
        folder: where an unfinished network run is kept, and resumed from.

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
        yield from _fit_network(images, settings, device, Path(folder) if folder is not None else None)


def held_out_count(count: int, false_alarm_rate: float) -> int:
    """How many of ``count`` good images a network does not train on: a tenth; where the folder is at least
    three times what the threshold needs, that many; never fewer than one."""
    needed = math.ceil(1 / false_alarm_rate - 1 - 1e-9)
    return max(1, round(count / 10), needed if count >= 3 * needed else 0)


def _fit_gaussians(images: dict[str, Tensor], settings: FitSettings, device: str) -> Iterator[FitRecord]:
    started = time.perf_counter()
    fields, calibrations = [], {}
    for index, (name, batch) in enumerate(images.items()):
        yield FitRecord("gaussian", index, len(images))
        fields.append(_gaussian(batch, settings).to(device))
        reduced = []
        for held_out, field in _cross_fitted(batch, settings):
            for image in held_out:
                reduced.append(_reduced(field.to(device), image.to(device), settings))
                yield FitRecord("calibration", len(reduced), min(len(batch), settings.calibration_images))
        calibrations[name] = calibrate(reduced, settings.heat, settings.false_alarm_rate)
    training = _summary(images, settings, time.perf_counter() - started)
    model = _model("gaussian", images, settings, fields, None, calibrations, training)
    yield FitRecord("finished", 1, 1, model=model)


def _gaussian(images: Tensor, settings: FitSettings) -> GaussianField:
    return fit_gaussian(images, components=settings.components, least_gain=settings.least_gain, seed=settings.seed)


def _cross_fitted(batch: Tensor, settings: FitSettings, folds: int = 5) -> Iterator[tuple[Tensor, GaussianField]]:
    order = torch.randperm(len(batch), generator=torch.Generator().manual_seed(settings.seed))
    wanted = order[: settings.calibration_images]
    folds = min(folds, len(batch))
    for fold in range(folds):
        held = order[fold::folds]
        rest = order[~torch.isin(order, held)]
        scored = held[torch.isin(held, wanted)]
        if len(scored):
            yield batch[scored], _gaussian(batch[rest], settings)


def _fit_network(
    images: dict[str, Tensor], settings: FitSettings, device: str, folder: Path | None
) -> Iterator[FitRecord]:
    train_parts, held_parts, gaussians = {}, {}, []
    for index, (name, batch) in enumerate(images.items()):
        yield FitRecord("gaussian", index, len(images))
        order = torch.randperm(len(batch), generator=torch.Generator().manual_seed(settings.seed))
        held = held_out_count(len(batch), settings.false_alarm_rate)
        held_parts[name], train_parts[name] = batch[order[:held]], batch[order[held:]]
        if settings.start == "gaussian":
            gaussians.append(_gaussian(train_parts[name], settings))
    network = _new_network(settings, next(iter(images.values())).shape[1], gaussians, len(images)).to(device)
    pool = torch.cat(list(train_parts.values()))
    labels = torch.repeat_interleave(torch.arange(len(images)), torch.tensor([len(p) for p in train_parts.values()]))
    plan = _plan(settings, network, pool, labels, folder, _fingerprint(images))
    state = start_training(network, plan)
    started = time.perf_counter()
    # Closed with this generator, which is what writes the checkpoint of an interrupted run.
    with closing(train(state, pool, labels, plan, folder=folder)) as records:
        for record in records:
            yield FitRecord("training", record.step, record.steps, train=record)
    adopt_average(state)
    spent = time.perf_counter() - started

    calibrations = {}
    for index, (name, held_out) in enumerate(held_parts.items()):
        reduced = []
        for image in held_out[: settings.calibration_images]:
            reduced.append(_reduced(network.conditioned(index), image.to(device), settings))
            yield FitRecord("calibration", len(reduced), min(len(held_out), settings.calibration_images))
        calibrations[name] = calibrate(reduced, settings.heat, settings.false_alarm_rate)
    training = _summary(images, settings, spent) | {"train": plan.model_dump(mode="json")}
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


def _plan(
    settings: FitSettings, network: VelocityUNet, pool: Tensor, labels: Tensor, folder: Path | None, fingerprint: str
) -> TrainSettings:
    """Training settings of a new run, or those of the unfinished one in ``folder``.

    Minutes become a number of steps once, at the start, so that a resumed run ends where the unbroken one
    would have.
    """
    wanted = {"settings": settings.model_dump(mode="json"), "data": fingerprint}
    if folder is not None and (folder / RUN_FILE).is_file():
        try:
            run = json.loads((folder / RUN_FILE).read_text())
            plan = TrainSettings.model_validate_json(json.dumps(run["plan"]))
        except (ValueError, KeyError, TypeError):
            raise ModelError(f"'{folder / RUN_FILE}' is damaged: give another --out, or delete the folder.") from None
        if {k: run.get(k) for k in wanted} != wanted:
            raise ModelError(
                f"'{folder}' holds a run with other settings or images: repeat those, or give another folder."
            )
        return plan
    plan = TrainSettings.parse(
        steps=settings.steps or 1,
        batch=settings.batch,
        learning_rate=settings.learning_rate,
        time_power=settings.time_power,
        seed=settings.seed,
        precision="bfloat16" if _fast_bfloat16(next(network.parameters()).device) else "float32",
    )
    if settings.steps is None:
        plan = plan.replace(steps=max(1, round(settings.minutes * 60 / _seconds_per_step(network, pool, labels, plan))))
    plan = plan.replace(warmup=min(100, plan.steps // 5))
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        temporary = folder / f".{RUN_FILE}.{os.getpid()}"
        temporary.write_text(json.dumps(wanted | {"plan": plan.model_dump(mode="json")}, indent=1))
        os.replace(temporary, folder / RUN_FILE)
    return plan


def _seconds_per_step(network: VelocityUNet, pool: Tensor, labels: Tensor, plan: TrainSettings) -> float:
    """Median of a few steps; the network's weights are put back afterwards."""
    before = {k: v.clone() for k, v in network.core.state_dict().items()}
    trial = plan.replace(steps=6)
    speeds = [r.images_per_second for r in train(start_training(network, trial), pool, labels, trial)]
    network.core.load_state_dict(before)
    return plan.batch / sorted(speeds)[len(speeds) // 2]


def _fast_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    return device.type == "cpu" and bool(torch.cpu.get_capabilities().get("avx512_bf16"))


def _reduced(field: VelocityField, image: Tensor, settings: FitSettings) -> Mismatch:
    """The mismatch already aggregated over paths, as one path: what calibration needs, a K-th of the memory."""
    full = Mismatch.collect(mismatch_steps(field, image, settings.paths))
    return Mismatch(full.times, full.per_time(settings.heat)[:, None])


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
        thresholds={name: c.threshold for name, c in calibrations.items()},
        notes={name: c.reason for name, c in calibrations.items() if c.reason},
        unet=network.settings if network is not None else None,
        training=training,
    )
    return Model(info, tuple(gaussians), network, {name: c.normal_range for name, c in calibrations.items()})


def _summary(images: dict[str, Tensor], settings: FitSettings, seconds: float) -> dict:
    return {
        "fit": settings.model_dump(mode="json"),
        "images": {name: len(batch) for name, batch in images.items()},
        "data": _fingerprint(images),
        "seconds": round(seconds, 1),
    }


def _fingerprint(images: dict[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name, batch in images.items():
        digest.update(name.encode())
        digest.update(batch.contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
