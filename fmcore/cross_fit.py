"""Cross-fitting: Gaussian fields that have not seen the image they are asked about.

A Gaussian field explains the images it was fitted to better than new ones, the more so the fewer they are: with 28
images and as many components it leaves half of what it leaves of a new one. A threshold measured on them would be too
low, and a network trained on what is left of them meets more in every new image than it has learnt. So the images are
dealt into folds, and each is explained by a field fitted to the other folds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from fmcore.fields.gaussian import GaussianField

FEWEST = 2  # images that a Gaussian field can be fitted to


@dataclass(frozen=True)
class CrossFit:
    """``fields`` and, for each of N training images, the index ``of`` ``(N,)`` of the one that has not seen it."""

    fields: list[GaussianField]
    of: Tensor

    @classmethod
    def joined(cls, parts: list[CrossFit]) -> CrossFit:
        """Those of several categories, whose images are joined in the same order."""
        fields, of = [], []
        for part in parts:
            of.append(part.of + len(fields))
            fields += part.fields
        return cls(fields, torch.cat(of))


def shuffled(count: int, seed: int) -> Tensor:
    """The indices of ``count`` images in random order."""
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed))


def deal(count: int, folds: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """For each of at most ``folds`` folds the indices of its images, and those of all others, in random order."""
    order = shuffled(count, seed)
    folds = min(folds, count)
    for fold in range(folds):
        held = order[fold::folds]
        yield held, order[~torch.isin(order, held)]


def cross_fit(images: Tensor, fit: Callable[[Tensor], GaussianField], *, folds: int, seed: int = 0) -> CrossFit:
    """A field without each of ``folds`` folds of ``images`` ``(N, C, H, W)``, by ``fit``: images -> field.

    With fewer than three images there is one field, which has seen them all.
    """
    dealt = list(deal(len(images), folds, seed))
    if any(len(rest) < FEWEST for _, rest in dealt):
        return CrossFit([fit(images)], torch.zeros(len(images), dtype=torch.long))
    of = torch.empty(len(images), dtype=torch.long)
    for fold, (held, _) in enumerate(dealt):
        of[held] = fold
    return CrossFit([fit(images[rest]) for _, rest in dealt], of)
