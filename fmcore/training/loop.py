"""Flow-matching training (Eq. 1) as a generator of small records; the caller owns progress and stopping.

``x_t = (1 - t) x0 + t x1``, minimise ``|| v(x_t, t) - (x1 - x0) ||^2`` over ``t``. Eq. 1 draws
``t ~ U(0, 1)`` (``time_power = 0``). The default draws it with the density ``3 t^2`` of the score's own
weight, since that is where errors count. For a network that starts from a Gaussian field the error is
divided by that field's own expected error at t.

Every random draw of step n comes from a generator seeded by (seed, n), and a checkpoint holds weights,
moving average and optimiser state: a run that was killed continues to the same weights (on a CPU bit for bit)
as one that was not. In a run of several processes (`fmcore.training.team`) each draws the whole step and computes
its part, so the number of processes changes nothing but speed.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from fmcore.errors import SettingsError, TrainingError
from fmcore.fields.source import SourceKind, whiten
from fmcore.fields.unet import VelocityUNet
from fmcore.path import interpolate
from fmcore.settings import Settings
from fmcore.training import checkpoint
from fmcore.training.ahead import workers_for
from fmcore.training.batches import Batch, batches
from fmcore.training.team import ALONE, Team

TIME_BINS = 10
MOST_STEPS = 10_000_000


class TrainSettings(Settings):
    """How a `VelocityUNet` is trained."""

    steps: int = Field(2000, ge=1, le=MOST_STEPS)
    batch: int = Field(16, ge=1, le=4096)
    learning_rate: float = Field(1e-3, gt=0, le=1)
    warmup: int = Field(100, ge=0, description="steps of linear warm-up; a cosine to zero follows")
    weight_decay: float = Field(0.01, ge=0)
    time_power: float = Field(2.0, ge=0, le=8, description="t is drawn with density proportional to t^power")
    source: SourceKind = Field(
        "white", description="law of x0, see `fmcore.fields.source`; the network sees whitened images"
    )
    defects: float = Field(0.0, ge=0, le=1, description="share of a batch shown with a synthetic defect")
    clip: float = Field(1.0, gt=0, description="largest gradient norm")
    ema: float = Field(0.998, ge=0, lt=1, description="final decay of the moving average of weights")
    precision: Literal["float32", "bfloat16"] = "float32"
    seed: int = Field(0, ge=0, lt=2**31)
    save_every: int = Field(200, ge=1, description="steps between checkpoints")


@dataclass(frozen=True)
class TrainRecord:
    """One finished step: loss in units of the objective, ``loss_by_time`` the running mean of the loss in
    ten equal bins of t (NaN where a bin has not been visited), speed in images per second."""

    step: int
    steps: int
    loss: float
    loss_by_time: tuple[float, ...]
    images_per_second: float


@dataclass
class TrainingState:
    """Everything that `train` changes. ``seconds`` is the time spent in steps, those before a resume included."""

    network: VelocityUNet
    average: AveragedModel
    optimizer: torch.optim.Optimizer
    seconds: float = 0.0


def start_training(network: VelocityUNet, settings: TrainSettings) -> TrainingState:
    """A fresh state: the moving average starts as a copy of the network."""
    parameters = [p for p in network.core.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(
        parameters, lr=settings.learning_rate, betas=(0.9, 0.99), weight_decay=settings.weight_decay
    )

    @torch.no_grad()
    def average(averaged: list[Tensor], current: list[Tensor], count: Tensor) -> None:
        # A short run must not average over its first steps: the window grows with the step count.
        count = int(count)
        torch._foreach_lerp_(averaged, current, 1 - min(settings.ema, (1 + count) / (10 + count)))

    return TrainingState(network, AveragedModel(network.core, multi_avg_fn=average), optimizer)


def train(
    state: TrainingState,
    images: Tensor,
    labels: Tensor,
    settings: TrainSettings,
    *,
    folder: str | Path | None = None,
    team: Team = ALONE,
) -> Iterator[TrainRecord]:
    """Train to ``settings.steps``, continuing from the checkpoint in ``folder`` if there is one.

    All processes of a ``team`` call this alike, get the same records and must stop after the same one.

    Args:
        images: ``(N, C, H, W)`` normal images in [-1, 1], on any device.
        labels: ``(N,)`` category index of each. Every category is drawn equally often, however few images it has.
        folder: where checkpoints go, written atomically every ``save_every`` steps, at the end, and when the
            caller closes the generator.

    Raises:
        TrainingError: if the loss or its gradient is no longer finite; the last checkpoint stays as it was.
        SettingsError: if the batch has fewer images than the team has processes.
    """
    if settings.batch < team.size:
        raise SettingsError(
            f"Setting 'batch' = {settings.batch} is smaller than the {team.size} processes of this run."
        )
    device = next(state.network.parameters()).device
    done = checkpoint.load(folder, state, settings) if folder is not None else 0
    team.require_same(str(done), "unfinished run")
    objective, part = team.wrap(_Objective(state.network, settings.precision)), team.part(settings.batch)
    writes = folder is not None and team.main
    sums, counts = torch.zeros(TIME_BINS), torch.zeros(TIME_BINS)
    state.network.train()
    steps = range(done, settings.steps)
    made = batches(images, labels, settings, steps, part, workers=workers_for(device))
    clock = time.perf_counter()
    with closing(made):
        for step, batch in zip(steps, made, strict=True):
            every_loss = _one_step(state, objective, batch, labels, settings, step, part, team)
            value = float(every_loss.mean())
            bins = (batch.t * TIME_BINS).long().clamp_max(TIME_BINS - 1)
            sums = 0.99 * sums
            counts = 0.99 * counts
            sums.index_add_(0, bins, every_loss)
            counts.index_add_(0, bins, torch.ones(len(bins)))
            elapsed = time.perf_counter() - clock
            state.seconds += elapsed
            saved = (step + 1) % settings.save_every == 0 or step + 1 == settings.steps
            if saved and writes:
                checkpoint.save(folder, state, settings, step + 1)
            by_time = tuple((sums / counts).tolist())
            try:
                yield TrainRecord(step + 1, settings.steps, value, by_time, settings.batch / elapsed)
            except GeneratorExit:  # the caller stops here: a step is complete, so the run can be resumed from it
                if writes and not saved:
                    checkpoint.save(folder, state, settings, step + 1)
                raise
            clock = time.perf_counter()


def _one_step(
    state: TrainingState,
    objective: nn.Module,
    batch: Batch,
    labels: Tensor,
    settings: TrainSettings,
    step: int,
    part: slice,
    team: Team,
) -> Tensor:
    """Change weights and average once; the loss of every image of the batch ``(B,)``, on the CPU."""
    device = next(state.network.parameters()).device
    for group in state.optimizer.param_groups:
        group["lr"] = learning_rate(step, settings)
    x1 = seen = whiten(settings.source, batch.clean.to(device))
    if batch.seen is not batch.clean:
        seen = whiten(settings.source, batch.seen.to(device))
    mine = labels[batch.chosen[part]].to(device)
    losses = objective(batch.x0[part].to(device), x1, batch.t[part].to(device), mine, seen)
    every_loss = team.whole(losses.detach(), settings.batch).cpu()
    _require_finite("loss", float(every_loss.mean()), step, settings)
    state.optimizer.zero_grad(set_to_none=True)
    # Gradients are averaged over processes, whose parts of the batch may differ by one image.
    (losses.mean() * (len(losses) * team.size / settings.batch)).backward()
    norm = torch.nn.utils.clip_grad_norm_(state.network.core.parameters(), settings.clip)
    # A finite loss can have an infinite gradient, and the weights it leads to must not be saved.
    _require_finite("gradient", float(norm), step, settings)
    state.optimizer.step()
    state.average.update_parameters(state.network.core)
    return every_loss


def loss_per_image(
    network: VelocityUNet,
    x0: Tensor,
    x1: Tensor,
    t: Tensor,
    labels: Tensor,
    seen: Tensor | None = None,
    precision: str = "float32",
) -> Tensor:
    """Eq. 1 per image ``(B,)``: mean squared velocity error over pixels and channels, in units of ``s(t)^2``
    where the network starts from a Gaussian field.

    ``seen`` is ``x1`` (None) or a defective copy of it (`fmcore.training.defect_training`). At a defect the velocity of the
    start is off by up to ``d = (x1 - seen) / (1 - t)``, near t = 1 by so much that nothing else would count: the
    loss of such an image is divided by ``1 + |d|^2``, the mean square in the same units.
    """
    seen = x1 if seen is None else seen
    x, u, scale = interpolate(x0, seen, t), x1 - x0, torch.ones_like(t)
    with torch.autocast(x.device.type, torch.bfloat16, enabled=precision == "bfloat16"):
        if network.settings.start == "none":
            error = network.core(x, t, labels).float() - u
        else:
            with torch.no_grad(), torch.autocast(x.device.type, enabled=False):
                start, scale, inputs = network.prepare(x, t, labels)
            error = network.residual(inputs, t, labels) - (u - start) / scale[:, None, None, None]
    off = (x1 - seen).square().flatten(1).mean(1) / ((1 - t) * scale).square().clamp_min(1e-12)
    return error.square().flatten(1).mean(1) / (1 + off)


def learning_rate(step: int, settings: TrainSettings) -> float:
    """Linear warm-up, then half a cosine down to zero at the last step."""
    if step < settings.warmup:
        return settings.learning_rate * (step + 1) / settings.warmup
    progress = (step - settings.warmup) / max(1, settings.steps - settings.warmup)
    return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))


def adopt_average(state: TrainingState) -> None:
    """Put the moving average into the network: what is scored and saved is the average."""
    state.network.core.load_state_dict(state.average.module.state_dict())
    state.network.eval()


class _Objective(nn.Module):
    """`loss_per_image` as a module, which is what a team can wrap. Only the core is registered as a part of it:
    the Gaussian fields never change and need not be sent between processes."""

    def __init__(self, network: VelocityUNet, precision: str):
        super().__init__()
        self.core = network.core
        self._loss = lambda *batch: loss_per_image(network, *batch, precision)

    def forward(self, x0: Tensor, x1: Tensor, t: Tensor, labels: Tensor, seen: Tensor) -> Tensor:
        return self._loss(x0, x1, t, labels, seen)


def _require_finite(name: str, value: float, step: int, settings: TrainSettings) -> None:
    if not math.isfinite(value):
        raise TrainingError(
            f"The {name} became {value} at step {step + 1}: lower the learning rate (now {settings.learning_rate})."
        )
