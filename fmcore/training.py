"""Flow-matching training (Eq. 1) as a generator of small records; the caller owns progress and stopping.

``x_t = (1 - t) x0 + t x1``, minimise ``|| v(x_t, t) - (x1 - x0) ||^2`` over ``t``. Eq. 1 draws
``t ~ U(0, 1)`` (``time_power = 0``). The default draws it with the density ``3 t^2`` of the score's own
weight, since that is where errors count. For a network that starts from a Gaussian field the error is
divided by that field's own expected error at t.

Every random draw of step n comes from a generator seeded by (seed, n), and a checkpoint holds weights,
moving average and optimiser state: a run that was killed continues to the same weights, bit for bit on one
machine, as one that was not.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from fmcore import checkpoint
from fmcore.errors import TrainingError
from fmcore.fields.unet import VelocityUNet
from fmcore.path import interpolate
from fmcore.settings import Settings

TIME_BINS = 10


class TrainSettings(Settings):
    """How a `VelocityUNet` is trained."""

    steps: int = Field(2000, ge=1, le=10_000_000)
    batch: int = Field(16, ge=1, le=4096)
    learning_rate: float = Field(1e-3, gt=0, le=1)
    warmup: int = Field(100, ge=0, description="steps of linear warm-up; a cosine to zero follows")
    weight_decay: float = Field(0.01, ge=0)
    time_power: float = Field(2.0, ge=0, le=8, description="t is drawn with density proportional to t^power")
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


@dataclass(frozen=True)
class TrainingState:
    """Everything that `train` changes; pass the same object again to continue in memory."""

    network: VelocityUNet
    average: AveragedModel
    optimizer: torch.optim.Optimizer


def start_training(network: VelocityUNet, settings: TrainSettings) -> TrainingState:
    """A fresh state: the moving average starts as a copy of the network."""
    parameters = [p for p in network.core.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(
        parameters, lr=settings.learning_rate, betas=(0.9, 0.99), weight_decay=settings.weight_decay
    )

    def decay(averaged: Tensor, current: Tensor, count: Tensor) -> Tensor:
        # A short run must not average over its first steps: the window grows with the step count.
        return averaged.lerp(current.detach(), 1 - min(settings.ema, (1 + int(count)) / (10 + int(count))))

    return TrainingState(network, AveragedModel(network.core, avg_fn=decay), optimizer)


def train(
    state: TrainingState,
    images: Tensor,
    labels: Tensor,
    settings: TrainSettings,
    *,
    folder: str | Path | None = None,
) -> Iterator[TrainRecord]:
    """Train to ``settings.steps``, continuing from the checkpoint in ``folder`` if there is one.

    Args:
        images: ``(N, C, H, W)`` normal images in [-1, 1], on any device.
        labels: ``(N,)`` category index of each.
        folder: where checkpoints go, written atomically every ``save_every`` steps, at the end, and when the
            caller closes the generator.

    Raises:
        TrainingError: if the loss is no longer finite; the last checkpoint stays as it was.
    """
    device = next(state.network.parameters()).device
    done = checkpoint.load(folder, state, settings) if folder is not None else 0
    sums, counts = torch.zeros(TIME_BINS), torch.zeros(TIME_BINS)
    state.network.train()
    clock = time.perf_counter()
    for step in range(done, settings.steps):
        for group in state.optimizer.param_groups:
            group["lr"] = learning_rate(step, settings)
        chosen, t, x0 = _draw(len(images), tuple(images.shape[1:]), settings, step)
        x1, label, t, x0 = images[chosen].to(device), labels[chosen].to(device), t.to(device), x0.to(device)
        losses = loss_per_image(state.network, x0, x1, t, label, settings.precision)
        loss = losses.mean()
        if not math.isfinite(value := float(loss.detach())):
            raise TrainingError(
                f"The loss became {value} at step {step + 1}: lower the learning rate (now {settings.learning_rate})."
            )
        state.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(state.network.core.parameters(), settings.clip)
        state.optimizer.step()
        state.average.update_parameters(state.network.core)

        bins = (t.cpu() * TIME_BINS).long().clamp_max(TIME_BINS - 1)
        sums = 0.99 * sums
        counts = 0.99 * counts
        sums.index_add_(0, bins, losses.detach().cpu())
        counts.index_add_(0, bins, torch.ones(len(bins)))
        if folder is not None and ((step + 1) % settings.save_every == 0 or step + 1 == settings.steps):
            checkpoint.save(folder, state, settings, step + 1)
        now = time.perf_counter()
        record = TrainRecord(
            step + 1, settings.steps, value, tuple((sums / counts).tolist()), settings.batch / (now - clock)
        )
        try:
            yield record
        except GeneratorExit:  # the caller stops here: a step is complete, so the run can be resumed from it
            if folder is not None:
                checkpoint.save(folder, state, settings, step + 1)
            raise
        clock = time.perf_counter()


def loss_per_image(
    network: VelocityUNet, x0: Tensor, x1: Tensor, t: Tensor, labels: Tensor, precision: str = "float32"
) -> Tensor:
    """Eq. 1 per image ``(B,)``: mean squared velocity error over pixels and channels, in units of ``s(t)^2``
    where the network starts from a Gaussian field."""
    x, u = interpolate(x0, x1, t), x1 - x0
    with torch.autocast(x.device.type, torch.bfloat16, enabled=precision == "bfloat16"):
        if network.settings.start == "none":
            error = network.core(x, t, labels).float() - u
        else:
            with torch.no_grad(), torch.autocast(x.device.type, enabled=False):
                start, scale, inputs = network.prepare(x, t, labels)
            error = network.residual(inputs, t, labels) - (u - start) / scale[:, None, None, None]
    return error.square().flatten(1).mean(1)


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


def _draw(count: int, shape: tuple[int, ...], settings: TrainSettings, step: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(settings.seed * 1_000_003 + step)
    chosen = torch.randint(count, (settings.batch,), generator=generator)
    # One draw per stratum of (0, 1): the same law of t, with less variance between steps.
    uniform = (torch.arange(settings.batch) + torch.rand(settings.batch, generator=generator)) / settings.batch
    return chosen, uniform ** (1 / (1 + settings.time_power)), torch.randn(settings.batch, *shape, generator=generator)
