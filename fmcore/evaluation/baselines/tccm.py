"""TCCM-style: contraction to the origin, scored in one step.

From the paper (Time-Conditioned Contraction Matching, Li et al., NeurIPS 2025, arXiv 2510.18328, for tabular data):
a network ``f(z, t)`` is trained on normal data to give the contraction vector ``-z`` at a random ``t ~ U(0, 1)``,
with squared error; the score is the deviation at a single time, ``|| f(z, 1) + z ||``; it splits over features.

Ours: images instead of tables. The paper's small dense network becomes our convolutional `Autoencoder` with the
time as a condition (its narrow code plays the part of the narrow layers: without one, ``-z`` is no task at all),
the map is the squared deviation summed over channels, and the origin is the mean normal image.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

from fmcore.evaluation.baselines.autoencoder import Autoencoder, AutoencoderSettings
from fmcore.evaluation.baselines.detector import Detector, squared_error
from fmcore.evaluation.baselines.trainer import BudgetRecord, BudgetSettings, build_seeded, train_network


class TCCMDetector(Detector):
    """``| f(z, 1) + z |^2`` with ``z = y - mean``; one call of the network ``(z, t) -> f``."""

    def __init__(self, network: nn.Module, mean: Tensor):
        self.network, self.mean = network, mean

    def maps(self, image: Tensor) -> dict[str, np.ndarray]:
        z = (image - self.mean)[None]
        with torch.inference_mode():
            return {"t=1": squared_error(self.network(z, torch.ones(1)), -z)}

    @property
    def evaluations(self) -> int:
        return 1


def train_tccm(
    images: Tensor, budget: BudgetSettings, settings: AutoencoderSettings | None = None
) -> Iterator[BudgetRecord | TCCMDetector]:
    """Records of the training on normal images ``(N, C, H, H)``; the last item is the detector.

    Raises:
        DataError: without images. TrainingError: if the loss is no longer finite.
    """
    settings = settings or AutoencoderSettings()
    channels, size = images.shape[1], images.shape[2]
    network = build_seeded(lambda: Autoencoder(channels, size, settings, timed=True), budget.seed)
    mean = images.mean(0)

    def loss(network: nn.Module, batch: Tensor, generator: torch.Generator) -> Tensor:
        z = batch - mean
        return (network(z, torch.rand(len(batch), generator=generator)) + z).square().mean()

    yield from train_network(network, loss, images, budget)
    yield TCCMDetector(network, mean)
