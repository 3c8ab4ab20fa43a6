"""A convolutional autoencoder, trained on squared error or on structural similarity.

After Bergmann et al. 2019 ("Improving unsupervised defect segmentation by applying structural similarity to
autoencoders"): what a narrow code cannot reproduce is anomalous. Depth and widths are ours: strided convolutions
down to a grid of 8 to 15 pixels per side, whatever the resolution, and back.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from fmcore.evaluation.baselines.detector import Detector, squared_error
from fmcore.evaluation.baselines.trainer import BudgetRecord, BudgetSettings, build_seeded, train_network
from fmcore.settings import Settings


class AutoencoderSettings(Settings):
    """Architecture and what it is trained on."""

    objective: Literal["mse", "ssim"] = Field("mse", description="squared error, or 1 - SSIM plus squared error")
    width: int = Field(32, ge=4, le=512, description="channels of the first level; twice as many per level, up to 4x")
    code: int = Field(16, ge=1, le=1024, description="channels of the code on its grid")


class Autoencoder(nn.Module):
    """``(B, C, H, W) -> (B, C, H, W)``; with ``timed`` it also takes a time ``(B,)``, as the flow rivals need."""

    def __init__(self, channels: int, size: int, settings: AutoencoderSettings, *, timed: bool = False):
        super().__init__()
        depth = 0
        while size % 2 ** (depth + 1) == 0 and size // 2 ** (depth + 1) >= 8:
            depth += 1
        widths = [settings.width * min(4, 2**level) for level in range(depth + 1)]
        self.first = nn.Conv2d(channels, widths[0], 3, padding=1)
        self.down = nn.ModuleList(nn.Conv2d(a, b, 4, stride=2, padding=1) for a, b in itertools.pairwise(widths))
        self.encode, self.decode = nn.Conv2d(widths[-1], settings.code, 1), nn.Conv2d(settings.code, widths[-1], 1)
        self.up = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in itertools.pairwise(widths[::-1]))
        self.last = nn.Conv2d(widths[0], channels, 3, padding=1)
        self.time = nn.Sequential(nn.Linear(3, 64), nn.SiLU(), nn.Linear(64, widths[-1])) if timed else None

    def forward(self, x: Tensor, t: Tensor | None = None) -> Tensor:
        h = F.silu(self.first(x))
        for layer in self.down:
            h = F.silu(layer(h))
        h = self.decode(self.encode(h))
        if self.time is not None:
            waves = torch.stack([t, (torch.pi * t).sin(), (torch.pi * t).cos()], 1)
            h = h + self.time(waves)[:, :, None, None]
        h = F.silu(h)
        for layer in self.up:
            h = F.silu(layer(F.interpolate(h, scale_factor=2, mode="nearest")))
        return self.last(h)


class AutoencoderDetector(Detector):
    """Two maps of a trained `Autoencoder`: squared error, and ``1 - SSIM`` (both summed or averaged over channels)."""

    def __init__(self, network: Autoencoder):
        self.network = network

    def maps(self, image: Tensor) -> dict[str, np.ndarray]:
        with torch.inference_mode():
            restored = self.network(image[None])
            dissimilar = (1 - similarity(restored, image[None])).clamp_min(0).mean(1)[0]
        return {"squared": squared_error(restored, image), "ssim": dissimilar.numpy()}

    @property
    def evaluations(self) -> int:
        return 1


def train_autoencoder(
    images: Tensor, settings: AutoencoderSettings, budget: BudgetSettings
) -> Iterator[BudgetRecord | Autoencoder]:
    """Records of the training on normal images ``(N, C, H, H)``; the last item is the trained `Autoencoder`.

    Raises:
        DataError: without images. TrainingError: if the loss is no longer finite.
    """
    channels, size = images.shape[1], images.shape[2]
    network = build_seeded(lambda: Autoencoder(channels, size, settings), budget.seed)

    def loss(network: nn.Module, batch: Tensor, generator: torch.Generator) -> Tensor:
        restored = network(batch)
        squared = F.mse_loss(restored, batch)
        if settings.objective == "mse":
            return squared
        # SSIM alone is blind to colour offsets where there is no structure.
        return (1 - similarity(restored, batch)).mean() + squared

    yield from train_network(network, loss, images, budget)
    yield network


def similarity(one: Tensor, other: Tensor) -> Tensor:
    """Structural similarity of ``(B, C, H, W)`` images in [-1, 1] at each pixel, shaped as they are, at most 1."""
    # Imported late: it takes a second, and nothing else needs it.
    from torchmetrics.functional.image import structural_similarity_index_measure

    _, full = structural_similarity_index_measure(one, other, sigma=1.5, data_range=2.0, return_full_image=True)
    return full
