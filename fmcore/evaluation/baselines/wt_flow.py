"""WT-Flow-style: a flow from the data to noise, trained on the worst pairing, scored by where it ends.

From the paper (Li et al., "Time-reversed Flow Matching with Worst Transport", arXiv 2508.05461; its equations were
not at hand): time runs from data to noise; a vector field is regressed on ``z - y`` along straight lines
``(1 - s) y + s z``; within a batch, data and noise are paired by *worst* transport, the assignment of largest cost,
which strengthens the pull towards the centre that such a field has in high dimension; the score is a density proxy
at the end point, one step being enough.

Ours: pixels instead of features of a pretrained network; our convolutional `Autoencoder` with the time as a
condition; pairs are made apart for each patch of the image; the proxy is ``|z_hat|^2`` with
``z_hat`` the end of an Euler integration from ``y`` (minus the mean normal image).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from fmcore.evaluation.baselines.autoencoder import Autoencoder, AutoencoderSettings
from fmcore.evaluation.baselines.detector import Detector, squared_error
from fmcore.evaluation.baselines.ode import integrate
from fmcore.evaluation.baselines.trainer import BudgetRecord, BudgetSettings, build_seeded, train_network
from fmcore.settings import Settings


class WTFlowSettings(Settings):
    """The pairing, and the numbers of steps that are offered as settings."""

    patch: int = Field(8, ge=1, le=256, description="side of the patches that are paired; divides the image side")
    steps: tuple[int, ...] = Field((1, 4, 16), min_length=1, description="Euler steps from data to noise")
    network: AutoencoderSettings = AutoencoderSettings()


class WTFlowDetector(Detector):
    """``|z_hat|^2`` at the end of the flow of ``network(x, s)`` from ``y - mean``, one map per number of steps."""

    def __init__(self, network: nn.Module, mean: Tensor, settings: WTFlowSettings | None = None):
        self.network, self.mean, self.settings = network, mean, settings or WTFlowSettings()

    def maps(self, image: Tensor) -> dict[str, np.ndarray]:
        start = (image - self.mean)[None]

        def field(x: Tensor, s: float) -> Tensor:
            return self.network(x, torch.full((len(x),), float(s)))

        found = {}
        for steps in self.settings.steps:
            end = integrate(field, start, 0.0, 1.0, steps=steps, method="euler")
            found[f"steps={steps}"] = squared_error(end, end * 0)
        return found

    @property
    def evaluations(self) -> int:
        return max(self.settings.steps)


def train_wt_flow(
    images: Tensor, budget: BudgetSettings, settings: WTFlowSettings | None = None
) -> Iterator[BudgetRecord | WTFlowDetector]:
    """Records of the training on normal images ``(N, C, H, H)``; the last item is the detector.

    Raises:
        DataError: without images. TrainingError: if the loss is no longer finite.
    """
    settings = settings or WTFlowSettings()
    channels, size = images.shape[1], images.shape[2]
    network = build_seeded(lambda: Autoencoder(channels, size, settings.network, timed=True), budget.seed)
    mean = images.mean(0)

    def loss(network: nn.Module, batch: Tensor, generator: torch.Generator) -> Tensor:
        y = batch - mean
        z = pair_worst(y, torch.randn(y.shape, generator=generator), settings.patch)
        s = torch.rand(len(y), generator=generator)
        weight = s[:, None, None, None]
        return (network((1 - weight) * y + weight * z, s) - (z - y)).square().mean()

    yield from train_network(network, loss, images, budget)
    yield WTFlowDetector(network, mean, settings)


def pair_worst(data: Tensor, noise: Tensor, patch: int) -> Tensor:
    """``noise`` ``(B, C, H, W)`` rearranged over the batch, apart for each patch, so that the sum of squared
    distances to ``data`` is as large as it can be. Where patches do not tile the image, whole images are paired."""
    shape = data.shape[2:]
    side = (patch, patch) if shape[0] % patch == 0 and shape[1] % patch == 0 else tuple(shape)
    a, b = (F.unfold(x, side, stride=side).permute(2, 0, 1) for x in (data, noise))  # (L, B, D)
    # |a - b|^2 is largest where the inner product is smallest; the squares do not depend on the pairing.
    cost = (a @ b.mT).numpy()
    order = torch.stack([torch.from_numpy(linear_sum_assignment(c)[1]) for c in cost])
    chosen = b.gather(1, order[..., None].expand_as(b))
    return F.fold(chosen.permute(1, 2, 0), shape, side, stride=side)
