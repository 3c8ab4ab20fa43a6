"""A small velocity network for points, trained (Eq. 1) in seconds while one watches: how a learned field, which knows
nothing of the law but its points, differs from the exact one."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn

from fmcore.errors import DataError, TrainingError
from fmcore.fields.field import ExactField
from fmcore.path import expand_time, interpolate
from fmcore.settings import Settings

WAVES = (0.5, 1.0, 2.0, 4.0)  # times pi: slow waves of t, from which a layer can build sharp functions of it


class PointTrainSettings(Settings):
    """How a `PointNetwork` is made and trained."""

    steps: int = Field(2000, ge=1, le=100_000)
    batch: int = Field(256, ge=2, le=65_536)
    learning_rate: float = Field(4e-3, gt=0, le=1, description="at the start; half a cosine leads to zero")
    width: int = Field(96, ge=4, le=1024, description="units of each hidden layer")
    depth: int = Field(3, ge=1, le=12, description="hidden layers")
    ema: float = Field(0.99, ge=0, lt=1, description="final decay of the moving average of weights")
    seed: int = Field(0, ge=0, lt=2**31, description="of the first weights and of every draw")


class PointTrainRecord(NamedTuple):
    step: int
    loss: float  # mean over the batch of ``||v - u||^2``, summed over dimensions


class PointNetwork(nn.Module):
    """Velocity field on points ``(B, dimension)``: a multilayer perceptron of time and of the state relative to
    ``centre`` and ``scale``, mean and root-mean-square spread of the data. The global random state is not touched."""

    def __init__(self, dimension: int, settings: PointTrainSettings, *, centre: Tensor, scale: float):
        super().__init__()
        self.register_buffer("centre", centre.float())
        self.register_buffer("scale", torch.tensor(float(scale)))
        generator = torch.Generator().manual_seed(settings.seed)
        widths = [dimension + len(WAVES) + 2, *[settings.width] * settings.depth, dimension]
        self.layers = nn.Sequential()
        for before, after in itertools.pairwise(widths):
            layer = nn.utils.skip_init(nn.Linear, before, after)  # its own weights come from the global generator
            nn.init.kaiming_uniform_(layer.weight, nonlinearity="linear", generator=generator)
            nn.init.zeros_(layer.bias)
            self.layers.extend([layer, nn.SiLU()])
        del self.layers[-1]

    def forward(self, x: Tensor, t: float | Tensor) -> Tensor:
        time = expand_time(t, x).expand(len(x), 1)
        waves = time * math.pi * torch.tensor(WAVES)
        # The state's own mean and spread at t, if the data were a Gaussian: inputs of order one at every t.
        spread = ((1 - time) ** 2 + (time * self.scale) ** 2).sqrt()
        inputs = torch.cat([(x - time * self.centre) / spread, time, waves.cos(), waves[:, -1:].sin()], 1)
        return self.centre + self.layers(inputs) * self.scale.clamp_min(1.0)


class PointTraining:
    """A network in training on ``points`` ``(N, D)``: `steps` goes on from where it stopped, `network` is the average
    to be scored. Raises `DataError` for points of another shape, none, or not finite."""

    def __init__(self, points: Tensor, settings: PointTrainSettings):
        if points.ndim != 2 or not points.numel() or not bool(torch.isfinite(points).all()):
            raise DataError("Training needs at least one point (N, D) of finite numbers.")
        self.points, self.settings, self.done = points.float(), settings, 0
        centre = self.points.mean(0)
        scale = float((self.points - centre).square().mean().sqrt().clamp_min(1e-3))
        self._live = PointNetwork(points.shape[1], settings, centre=centre, scale=scale)
        self.network = copy.deepcopy(self._live).requires_grad_(False)
        self._optimizer = torch.optim.Adam(self._live.parameters(), lr=settings.learning_rate, betas=(0.9, 0.99))
        self._schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self._optimizer, settings.steps)
        self._generator = torch.Generator().manual_seed(settings.seed)

    def steps(self) -> Iterator[PointTrainRecord]:
        """Train to ``settings.steps``; the caller may stop at any record and call again later. Raises `TrainingError`
        if the loss is no longer finite."""
        settings, live = self.settings, self._live
        while self.done < settings.steps:
            x1, x0, t = draw_pairs(self.points, settings.batch, self._generator)
            loss = (live(interpolate(x0, x1, t), t) - (x1 - x0)).square().sum(1).mean()
            if not math.isfinite(value := float(loss.detach())):
                raise TrainingError(f"The loss became {value}: lower the learning rate (now {settings.learning_rate}).")
            self._optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(live.parameters(), 10.0 * float(live.scale))
            self._optimizer.step()
            self._schedule.step()
            self.done += 1
            # A short run must not average over its first steps: the window grows with the step count.
            decay = min(settings.ema, (1 + self.done) / (10 + self.done))
            with torch.no_grad():
                torch._foreach_lerp_(list(self.network.parameters()), list(live.parameters()), 1 - decay)
            yield PointTrainRecord(self.done, value)


def attainable_loss(field: ExactField, *, samples: int = 8192, seed: int = 0) -> float:
    """``E_t E tr Cov(u | X_t)``: the loss of Eq. 1 that no network can go below, by Monte Carlo, the inner expectation
    exact; t stays below 0.999, where that of a law without density is still finite."""
    generator = torch.Generator().manual_seed(seed)
    x1, x0, t = draw_pairs(field.sample(samples, generator), samples, generator)
    t = t.clamp_max(0.999)
    parts = zip(interpolate(x0, x1, t).split(1024), t.split(1024), strict=True)
    with torch.inference_mode():
        return float(torch.cat([field.posterior_covariance_trace(x, time) for x, time in parts]).mean())


def draw_pairs(points: Tensor, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """``x1`` ``(count, D)`` from the points, noise ``x0``, and ``t ~ U(0, 1)``, one draw per stratum (Eq. 1)."""
    x1 = points[torch.randint(len(points), (count,), generator=generator)]
    x0 = torch.randn(x1.shape, generator=generator)
    return x1, x0, (torch.arange(count) + torch.rand(count, generator=generator)) / count
