"""Training of the baselines' own small networks: a generator of records with a budget of steps or minutes."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from pydantic import Field
from torch import Tensor, nn

from fmcore.errors import DataError, TrainingError
from fmcore.settings import Settings

Loss = Callable[[nn.Module, Tensor, torch.Generator], Tensor]
_TRIAL = 5  # steps from which minutes become steps


class BudgetSettings(Settings):
    """How long a network is trained, and how."""

    minutes: float = Field(3.0, gt=0, le=100_000, description="training time; measured once and turned into steps")
    steps: int | None = Field(None, ge=1, le=10_000_000, description="training steps, instead of minutes")
    batch: int = Field(16, ge=2, le=4096)
    learning_rate: float = Field(1e-3, gt=0, le=1)
    seed: int = Field(0, ge=0, lt=2**31)


@dataclass(frozen=True)
class BudgetRecord:
    """One finished step of ``steps``."""

    step: int
    steps: int
    loss: float


def build_seeded(make: Callable[[], nn.Module], seed: int) -> nn.Module:
    """A network whose initial weights depend on ``seed`` alone; the global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make()


def train_network(network: nn.Module, loss: Loss, images: Tensor, settings: BudgetSettings) -> Iterator[BudgetRecord]:
    """Minimise ``loss(network, batch, generator)`` over normal images ``(N, C, H, W)`` with AdamW and a cosine.

    Every draw of step n comes from a generator seeded by (seed, n): the same steps give the same bits. When done,
    the network is in evaluation mode.

    Raises:
        DataError: without images. TrainingError: if the loss is no longer finite.
    """
    if not len(images):
        raise DataError("Training needs at least one normal image: add good images.")
    steps = settings.steps
    if steps is None:
        trial = _train(copy.deepcopy(network), loss, images, settings, _TRIAL)
        clock, spent = time.perf_counter(), []
        for _ in trial:
            spent.append(time.perf_counter() - clock)
            clock = time.perf_counter()
        steps = max(1, round(60 * settings.minutes / sorted(spent)[len(spent) // 2]))
    yield from _train(network, loss, images, settings, steps)
    network.eval()


def _train(
    network: nn.Module, loss: Loss, images: Tensor, settings: BudgetSettings, steps: int
) -> Iterator[BudgetRecord]:
    optimizer = torch.optim.AdamW(network.parameters(), lr=settings.learning_rate, weight_decay=1e-4)
    network.train()
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate * 0.5 * (1 + math.cos(math.pi * step / steps))
        generator = torch.Generator().manual_seed(settings.seed * 1_000_003 + step)
        batch = images[torch.randint(len(images), (settings.batch,), generator=generator)]
        value = loss(network, batch, generator)
        if not math.isfinite(number := float(value.detach())):
            raise TrainingError(f"The loss became {number} at step {step + 1}: lower the learning rate.")
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        yield BudgetRecord(step + 1, steps, number)
