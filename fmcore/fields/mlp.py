"""A small velocity network for points, trained (Eq. 1) in seconds while one watches: how a learned field, which knows
nothing of the law but its points, differs from the exact one."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

from fmcore.errors import TrainingError
from fmcore.fields.field import ExactField
from fmcore.path import expand_time, interpolate

WIDTH, DEPTH = 96, 3  # hidden layers
WAVES = (0.5, 1.0, 2.0, 4.0)  # times pi: slow waves of t, from which a layer can build sharp functions of it
STEPS, BATCH = 2000, 256
RATE = 4e-3  # of learning at the start; half a cosine leads to zero
EMA = 0.99  # final decay of the moving average of weights


class PointNetwork(nn.Module):
    """Velocity field on points ``(B, D)``: a multilayer perceptron of time and of the state relative to the mean and
    root-mean-square spread of ``points`` ``(N, D)``, to be trained on them by `train_points`. The global random state
    is not touched."""

    def __init__(self, points: Tensor, seed: int = 0):
        super().__init__()
        points, dimension, generator = points.float(), points.shape[1], torch.Generator().manual_seed(seed)
        self.register_buffer("centre", points.mean(0))
        self.register_buffer("scale", (points - self.centre).square().mean().sqrt().clamp_min(1e-3))
        self.layers = nn.Sequential()
        for before, after in itertools.pairwise([dimension + len(WAVES) + 2, *[WIDTH] * DEPTH, dimension]):
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


class PointTrainRecord(NamedTuple):
    step: int
    loss: float  # mean over the batch of ``||v - u||^2``, summed over dimensions


def train_points(
    network: PointNetwork, points: Tensor, *, seed: int = 0, steps: int = STEPS
) -> Iterator[PointTrainRecord]:
    """Train on ``points`` ``(N, D)``; ``network`` becomes the moving average of the weights, to be looked at after any
    record. Raises `TrainingError` if the loss is no longer finite."""
    points, live, generator = points.float(), copy.deepcopy(network), torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(live.parameters(), lr=RATE, betas=(0.9, 0.99))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for step in range(1, steps + 1):
        x1, x0, t = draw_pairs(points, BATCH, generator)
        loss = (live(interpolate(x0, x1, t), t) - (x1 - x0)).square().sum(1).mean()
        if not math.isfinite(value := float(loss.detach())):
            raise TrainingError(f"The loss became {value}: bring the points to a scale of about one.")
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(live.parameters(), 10.0 * float(live.scale))
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            # A short run must not average over its first steps: the window grows with the step count.
            decay = min(EMA, (1 + step) / (10 + step))
            torch._foreach_lerp_(list(network.parameters()), list(live.parameters()), 1 - decay)
        yield PointTrainRecord(step, value)


def attainable_loss(field: ExactField, *, samples: int = 8192, seed: int = 0) -> float:
    """``E_t E tr Cov(u | X_t)``: the loss of Eq. 1 that no network can go below, by Monte Carlo, the inner expectation
    exact; t stays below 0.999, where that of a law without density is still finite."""
    generator = torch.Generator().manual_seed(seed)
    x1, x0, t = draw_pairs(field.sample(samples, generator), samples, generator)
    t = t.clamp_max(0.999)
    with torch.inference_mode():
        return float(field.posterior_covariance_trace(interpolate(x0, x1, t), t).mean())


def draw_pairs(points: Tensor, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """``x1`` ``(count, D)`` from the points, noise ``x0``, and ``t ~ U(0, 1)``, one draw per stratum (Eq. 1)."""
    x1 = points[torch.randint(len(points), (count,), generator=generator)]
    x0 = torch.randn(x1.shape, generator=generator)
    return x1, x0, (torch.arange(count) + torch.rand(count, generator=generator)) / count
