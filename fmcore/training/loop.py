"""Flow-matching training (Eq. 1) as a generator of small records; the caller owns progress bars and stopping.

Every random draw of step n comes from a generator seeded by (seed, n). A run of so many steps that was killed therefore
continues from its checkpoint to the same weights (on a CPU bit for bit) as one that was not.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from fmcore.errors import TrainingError
from fmcore.fields.unet import VelocityUNet
from fmcore.path import interpolate
from fmcore.training import TrainSettings, checkpoint
from fmcore.training.checkpoint import Images, TrainingState

TIME_BINS = 10
CLIP = 1.0  # largest norm of the gradient
WARMUP = 100  # steps until the learning rate is at its height, or a fifth of the run


class TrainRecord(NamedTuple):
    """One finished step: ``progress`` of the run in (0, 1], ``loss`` of `flow_matching_loss`, its running mean in ten
    equal bins of t (NaN where a bin has not been visited), speed in images per second."""

    step: int
    progress: float
    loss: float
    loss_by_time: tuple[float, ...]
    images_per_second: float


class Batch(NamedTuple):
    """Noise ``x0`` and images ``x1`` ``(B, C, H, W)``, times ``t`` and categories ``labels`` ``(B,)``."""

    x0: Tensor
    x1: Tensor
    t: Tensor
    labels: Tensor


class Batches(Dataset[Batch]):
    """Item n is the batch of step n (Eq. 1), the same whichever `DataLoader` worker makes it: ``images`` ``(C, H, W)``
    are read as they are drawn. Every category is drawn equally often, however few images it has."""

    def __init__(self, images: Images, labels: Sequence[int] | Tensor, batch: int, seed: int):
        self.images, self.labels = images, torch.as_tensor(labels).cpu()
        self.batch, self.seed = batch, seed
        _, category, counts = torch.unique(self.labels, return_inverse=True, return_counts=True)
        self.shares = 1 / (len(counts) * counts[category].double())

    def __getitem__(self, step: int) -> Batch:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + step)
        chosen = torch.multinomial(self.shares, self.batch, replacement=True, generator=generator)
        # t ~ U(0, 1), one draw per stratum: the same law, with less variance between steps.
        t = (torch.arange(self.batch) + torch.rand(self.batch, generator=generator)) / self.batch
        x1 = torch.stack([self.images[index] for index in chosen.tolist()])
        return Batch(torch.randn(x1.shape, generator=generator), x1, t, self.labels[chosen])


def train(
    state: TrainingState,
    images: Images,
    labels: Sequence[int] | Tensor,
    settings: TrainSettings,
    folder: str | Path | None = None,
    data: str = "",
    workers: int = 0,
) -> Iterator[TrainRecord]:
    """Train to the end that ``settings`` give, continuing from the checkpoint in ``folder`` if there is one. After the
    last record the network has the average of its weights, which is what is scored and saved.

    Args:
        images: normal images ``(C, H, W)`` as the view gives them; a dataset may make them lazily.
        labels: ``(N,)`` category index of each.
        folder: where checkpoints go: every ``save_every`` steps, at the end, and when the caller closes the generator.
        data: of what images and labels are, any text: a checkpoint of another is refused.
        workers: processes that make batches ahead; they change nothing but speed.

    Raises `TrainingError` if the loss or its gradient is no longer finite (the last checkpoint stays as it was), and
    `ModelError` for a checkpoint that is damaged, or of other settings or images."""

    def save() -> None:
        if folder is not None:
            checkpoint.save_state(folder, state, settings, data)

    if folder is not None:
        checkpoint.load_state(folder, state, settings, data)
    state.network.train()
    batches = Batches(images, labels, settings.batch, settings.seed)
    steps = range(state.step, settings.most_steps(len(labels)))
    # A generator of its own: the loader draws a seed for its workers, and the global random state is not ours.
    made = iter(DataLoader(batches, None, sampler=steps, num_workers=workers, generator=torch.Generator()))
    sums, counts = torch.zeros(TIME_BINS), torch.zeros(TIME_BINS)
    progress = settings.progress(state.step, len(labels), state.seconds)
    while progress < 1:
        clock, batch = time.perf_counter(), next(made)
        for group in state.optimizer.param_groups:
            group["lr"] = learning_rate(state.step, progress, settings.learning_rate)
        losses = _one_step(state, batch, settings)
        bins = (batch.t * TIME_BINS).long().clamp_max(TIME_BINS - 1)
        sums = (0.99 * sums).index_add_(0, bins, losses)
        counts = (0.99 * counts).index_add_(0, bins, torch.ones(len(bins)))
        elapsed = time.perf_counter() - clock
        state.seconds += elapsed
        progress = settings.progress(state.step, len(labels), state.seconds)
        if state.step % settings.save_every == 0 or progress == 1:
            save()
        by_time = tuple((sums / counts).tolist())
        try:
            yield TrainRecord(state.step, progress, float(losses.mean()), by_time, settings.batch / elapsed)
        except GeneratorExit:  # the caller stops here: a step is complete, so the run can be resumed from it
            save()
            raise
    state.network.core.load_state_dict(state.average.module.state_dict())
    state.network.eval()


def _one_step(state: TrainingState, batch: Batch, settings: TrainSettings) -> Tensor:
    """Change weights and average once; the loss of every image of the batch ``(B,)``, on the CPU."""
    device = next(state.network.parameters()).device
    moved = (tensor.to(device) for tensor in batch)
    losses = flow_matching_loss(state.network, *moved, precision=settings.autocast_type(device))
    _require_finite("loss", float(losses.detach().mean()), state)
    state.optimizer.zero_grad()
    losses.mean().backward()
    norm = nn.utils.clip_grad_norm_(state.network.core.parameters(), CLIP)
    # A finite loss can have an infinite gradient, and the weights it leads to must not be saved.
    _require_finite("gradient", float(norm), state)
    state.optimizer.step()
    state.average.update_parameters(state.network.core)
    state.step += 1
    return losses.detach().cpu()


def flow_matching_loss(
    network: VelocityUNet, x0: Tensor, x1: Tensor, t: Tensor, labels: Tensor, precision: torch.dtype = torch.float32
) -> Tensor:
    """Eq. 1: ``|| v(x_t, t) - (x1 - x0) ||^2``, averaged over dimensions, of each image of a batch ``(B,)``; in units
    of the start's own error at t, if the network has one."""
    x, u = interpolate(x0, x1, t), x1 - x0
    if network.starts:
        start, scale, inputs = network.prepare(x, t, labels)
        u = (u - start) / scale[:, None, None, None]
    with torch.autocast(x.device.type, precision, enabled=precision != torch.float32):
        v = network.residual(inputs, t, labels) if network.starts else network.core(x, t, labels).float()
    return (v - u).square().flatten(1).mean(1)


def learning_rate(step: int, progress: float, peak: float) -> float:
    """Linear warm-up, and half a cosine down to zero at the end of the run."""
    return peak * min(1.0, max((step + 1) / WARMUP, 5 * progress)) * 0.5 * (1 + math.cos(math.pi * progress))


def _require_finite(name: str, value: float, state: TrainingState) -> None:
    if not math.isfinite(value):
        step, rate = state.step + 1, state.optimizer.param_groups[0]["lr"]
        raise TrainingError(f"The {name} became {value} at step {step}: lower the learning rate (now {rate:.2g}).")
