"""From good images to a calibrated model: Gaussian fields in seconds, or a network trained on top of them.

A generator of small records; the last one carries the model. With a folder, an unfinished network run is
resumed from its checkpoint.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from fmcore.detector.calibration import Calibration, calibrate
from fmcore.detector.held_out import held_out_count
from fmcore.detector.model import Model, ModelInfo
from fmcore.detector.settings import FitSettings
from fmcore.detector.tiles import fit_tiles
from fmcore.errors import DataError
from fmcore.fields.gaussian import GaussianField, fit_gaussian
from fmcore.fields.source import mapped_back, whiten
from fmcore.fields.tiled import TiledField
from fmcore.fields.unet import UNetSettings, VelocityUNet
from fmcore.mismatch.mismatch import Mismatch, VelocityField, mismatch_steps
from fmcore.training.loop import TrainRecord, adopt_average, start_training, train
from fmcore.training.run_plan import fingerprint, make_or_resume_plan
from fmcore.training.team import ALONE, Team

FOLDS = 5
FEWEST = 3  # two to fit a Gaussian field, one held out


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
    fine: dict[str, Tensor] | None = None,
) -> Iterator[FitRecord]:
    """Fit fields to the good images of each category and calibrate them on held-out ones.

    Gaussian fields are fitted to all images and calibrated by cross-fitting (each image is scored by a
    field that has not seen it); a network sets some images aside.

    Args:
        images: by category ``(N, C, size, size)`` in [-1, 1], at least three each.
        folder: where an unfinished network run is kept, and resumed from.
        held_out: by category, good images to calibrate a network on, shaped alike; it then trains on all of
            ``images``. None: some of these are set aside.
        fine: the same images as the Gaussian tiles beside a network see them, best at `fmcore.detector.tiles.recommended_view`
            of their size; not together with ``held_out``. None: as the network sees them.
        team: processes that share the training and calibration of a network; all call this alike, get the
            same records and stop after the same one. Only the main process writes.

    Raises:
        DataError: for too few images, or others in ``fine``. ModelError: if ``folder`` holds a run with other
        settings or data. TrainingError: if the loss is no longer finite.
    """
    for name, batch in images.items():
        if len(batch) < FEWEST:
            raise DataError(
                f"Category '{name}' has {len(batch)} readable image(s): give at least {FEWEST}, better 50 or more."
            )
        if fine is not None and (held_out is not None or len(fine.get(name, ())) != len(batch)):
            raise DataError(f"The fine images of category '{name}' are not the {len(batch)} that the network sees.")
    if settings.field == "gaussian":
        yield from _fit_gaussians(images, settings, device)
    else:
        folder = Path(folder) if folder is not None else None
        yield from _fit_network(images, settings, device, folder, team, held_out, fine or images)


def _fit_gaussians(images: dict[str, Tensor], settings: FitSettings, device: str) -> Iterator[FitRecord]:
    started = time.perf_counter()
    fields, calibrations, done = [], {}, 0
    total = sum(min(len(batch), settings.most_calibrated) for batch in images.values())
    for index, (name, batch) in enumerate(images.items()):
        fields.append(_gaussian(batch, settings).to(device))
        yield FitRecord("gaussian", index + 1, len(images))
        reduced = []
        for held_out, field in _cross_fitted(batch, settings):
            for mismatch in _reduced(field.to(device), None, held_out, held_out, settings, device, ALONE):
                reduced.append(mismatch)
                yield FitRecord("calibration", done := done + 1, total)
        calibrations[name] = calibrate(reduced, settings.heat, settings.false_alarm_rate)
    training = _summary(images, settings, fingerprint(images), time.perf_counter() - started)
    model = _model("gaussian", images, settings, fields, [], None, calibrations, training)
    yield FitRecord("finished", 1, 1, model=model)


def _gaussian(images: Tensor, settings: FitSettings) -> GaussianField:
    whitened = whiten(settings.noise_source, images)
    return fit_gaussian(whitened, components=settings.components, least_gain=settings.least_share, seed=settings.seed)


def _cross_fitted(batch: Tensor, settings: FitSettings) -> Iterator[tuple[Tensor, GaussianField]]:
    order = _shuffled(len(batch), settings)
    wanted = order[: settings.most_calibrated]
    folds = min(FOLDS, len(batch))
    for fold in range(folds):
        held = order[fold::folds]
        rest = order[~torch.isin(order, held)]
        scored = held[torch.isin(held, wanted)]
        if len(scored):
            yield batch[scored], _gaussian(batch[rest], settings)


def _shuffled(count: int, settings: FitSettings) -> Tensor:
    """The indices of ``count`` images in random order."""
    return torch.randperm(count, generator=torch.Generator().manual_seed(settings.seed))


def _fit_network(
    images: dict[str, Tensor],
    settings: FitSettings,
    device: str,
    folder: Path | None,
    team: Team,
    held_out: dict[str, Tensor] | None,
    fine: dict[str, Tensor],
) -> Iterator[FitRecord]:
    train_parts, held_parts, gaussians, tiles = {}, {}, [], []
    for index, (name, batch) in enumerate(images.items()):
        if held_out is not None:
            held_parts[name], rest = (held_out[name], held_out[name]), slice(None)
        else:
            order = _shuffled(len(batch), settings)
            count = held_out_count(len(batch), settings.false_alarm_rate)
            few, rest = order[:count], order[count:]
            held_parts[name] = batch[few], fine[name][few]
        train_parts[name] = batch[rest]
        if settings.start == "gaussian":
            gaussians.append(_gaussian(train_parts[name], settings))
        if settings.paths.tiles:
            made = fit_tiles(fine[name][rest], components=settings.components, seed=settings.seed)
            tiles.append(made.to(device))
        yield FitRecord("gaussian", index + 1, len(images))
    network = _new_network(settings, next(iter(images.values())).shape[1], gaussians, len(images)).to(device)
    pool = torch.cat(list(train_parts.values()))
    labels = torch.repeat_interleave(torch.arange(len(images)), torch.tensor([len(p) for p in train_parts.values()]))
    del train_parts  # the pool is a copy of them
    data = fingerprint(images)
    plan = make_or_resume_plan(settings, network, pool, labels, data, folder=folder, team=team)
    state = start_training(network, plan)
    # Closed with this generator, which is what writes the checkpoint of an interrupted run.
    with closing(train(state, pool, labels, plan, folder=folder, team=team)) as records:
        for record in records:
            yield FitRecord("training", record.step, record.steps, train=record)
    adopt_average(state)

    calibrations, done = {}, 0
    scored = {name: [view[: settings.most_calibrated] for view in held] for name, held in held_parts.items()}
    total = sum(len(held[0]) for held in scored.values())
    for index, (name, held) in enumerate(scored.items()):
        reduced = []
        for mismatch in _reduced(
            network.conditioned(index), tiles[index] if tiles else None, *held, settings, device, team
        ):
            reduced.append(mismatch)
            yield FitRecord("calibration", done := done + 1, total)
        calibrations[name] = calibrate(reduced, settings.heat, settings.false_alarm_rate)
    training = _summary(images, settings, data, state.seconds) | {"train": plan.model_dump(mode="json")}
    view = next(iter(fine.values())).shape[-1] if tiles else 0
    model = _model("unet", images, settings, gaussians, tiles, network, calibrations, training, view)
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
    field: VelocityField,
    tiles: VelocityField | None,
    images: Tensor,
    fine: Tensor,
    settings: FitSettings,
    device: str,
    team: Team,
) -> Iterator[Mismatch]:
    """The mismatch of each image, already aggregated over paths, as one path: what calibration needs, a K-th of
    the memory. The images ``(n, C, H, W)``, which tiles see as ``fine``, are scored a team's size at a time, one by
    each process."""
    field = mapped_back(field, settings.noise_source)
    for first in range(0, len(images), team.size):
        mine, mine_fine = (view[min(first + team.rank, len(images) - 1)].to(device) for view in (images, fine))
        full = Mismatch.collect(mismatch_steps(field, mine, settings.paths, tiles=tiles, fine=mine_fine))
        maps = torch.from_numpy(full.per_time(settings.heat)[None, :, None]).to(device)
        for each in team.whole(maps, team.size)[: len(images) - first].cpu().numpy():
            yield Mismatch(full.times, each)


def _model(
    kind: Literal["gaussian", "unet"],
    images: dict[str, Tensor],
    settings: FitSettings,
    gaussians: list[GaussianField],
    tiles: list[TiledField],
    network: VelocityUNet | None,
    calibrations: dict[str, Calibration],
    training: dict,
    tile_view: int = 0,
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
        tile_view=tile_view,
        training=training,
    )
    ranges = {name: c.normal_range for name, c in calibrations.items()}
    return Model(info, tuple(gaussians), network, ranges, tuple(tiles))


def _summary(images: dict[str, Tensor], settings: FitSettings, data: str, seconds: float) -> dict:
    return {
        "fit": settings.model_dump(mode="json"),
        "images": {name: len(batch) for name, batch in images.items()},
        "data": data,
        "seconds": round(seconds, 1),
    }
