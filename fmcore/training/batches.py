"""The batches of training: each step's draws come from a generator seeded by (seed, step), whoever makes them.

Beside a GPU the processor makes the next batches in threads while a step runs: noise and synthetic defects take as
long as the step itself there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from fmcore.training.ahead import made_ahead
from fmcore.training.defect_training import spoil

if TYPE_CHECKING:
    from fmcore.training.loop import TrainSettings


@dataclass(frozen=True)
class Batch:
    """``chosen`` ``(B,)`` indices of images, times ``t`` ``(B,)``, white noise ``x0`` ``(B, C, H, W)``: of the whole
    batch, on the CPU. ``clean`` and ``seen`` ``(B', C, H, W)``, the latter with a synthetic defect in some images,
    are this process's part of it, where the images are; one tensor where no image has a defect."""

    chosen: Tensor
    t: Tensor
    x0: Tensor
    clean: Tensor
    seen: Tensor


def batches(
    images: Tensor, labels: Tensor, settings: TrainSettings, steps: range, part: slice, *, workers: int = 0
) -> Iterator[Batch]:
    """The batch of each step.

    Args:
        images: ``(N, C, H, W)`` normal images in [-1, 1], any device.
        labels: ``(N,)`` category index of each. Every category is drawn equally often, however few images it has.
        part: of each batch that this process computes.
        workers: threads that make batches ahead, see `fmcore.training.ahead`. They change nothing but speed.
    """
    shares = even_shares(labels)

    def make(step: int) -> Batch:
        chosen, t, x0 = draw(len(images), shares, tuple(images.shape[1:]), settings, step)
        clean = seen = images[chosen[part]]
        if settings.defects:
            seen = spoil(images, chosen, settings.defects, step_seed(settings, step), part)
        return Batch(chosen, t, x0, clean, seen)

    return made_ahead(make, steps, workers)


def draw(
    count: int, shares: Tensor | None, shape: tuple[int, ...], settings: TrainSettings, step: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Indices ``(B,)`` among ``count`` images, times ``(B,)`` and white noise ``(B, *shape)`` of one step."""
    generator = torch.Generator().manual_seed(step_seed(settings, step))
    if shares is None:
        chosen = torch.randint(count, (settings.batch,), generator=generator)
    else:
        chosen = torch.multinomial(shares, settings.batch, replacement=True, generator=generator)
    # One draw per stratum of (0, 1): the same law of t, with less variance between steps.
    uniform = (torch.arange(settings.batch) + torch.rand(settings.batch, generator=generator)) / settings.batch
    return chosen, uniform ** (1 / (1 + settings.time_power)), torch.randn(settings.batch, *shape, generator=generator)


def even_shares(labels: Tensor) -> Tensor | None:
    """Probability of each image such that all categories are equally likely; None where they have equally many."""
    _, category, counts = torch.unique(labels.cpu(), return_inverse=True, return_counts=True)
    return None if (counts == counts[0]).all() else 1 / (len(counts) * counts[category].double())


def step_seed(settings: TrainSettings, step: int) -> int:
    """The seed of everything random in a step."""
    return settings.seed * 1_000_003 + step
