"""The affine path from noise to data, its time grid and its noise."""

from __future__ import annotations

import torch
from torch import Tensor

from fmcore.errors import SettingsError


def interior_times(times: int) -> list[float]:
    """The T interior times ``t_j = j / (T + 1)``, j = 1..T, strictly inside (0, 1)."""
    return [j / (times + 1) for j in range(1, times + 1)]


def expand_time(t: float | Tensor, x: Tensor) -> Tensor:
    """``t``, a float or a tensor ``(B,)``, shaped to broadcast against ``x`` ``(B, ...)``."""
    t = torch.as_tensor(t, dtype=x.dtype, device=x.device)
    return t.reshape(-1, *[1] * (x.ndim - 1)) if t.ndim else t


def interpolate(x0: Tensor, x1: Tensor, t: float | Tensor) -> Tensor:
    """State on the path, ``x_t = (1 - t) x0 + t x1``; ``x0`` and ``x1`` broadcast to ``(B, ...)``."""
    time = expand_time(t, x0)
    return (1 - time) * x0 + time * x1


def clean_guess(x: Tensor, v: Tensor, t: float | Tensor) -> Tensor:
    """Where the straight line from ``x`` at time ``t`` along ``v`` ends, ``x + (1 - t) v``: a guess of the data, their
    posterior mean ``E[x1 | x_t = x]`` for an exact field."""
    return x + (1 - expand_time(t, x)) * v


def draw_noise(count: int, shape: tuple[int, ...], seed: int) -> Tensor:
    """``count`` standard normal draws ``(count, *shape)`` on the CPU, from their own generator: every device scores the
    same paths. Draws are nested: the first k of a larger set equal the set of k. `SettingsError` for none."""
    if not count:
        raise SettingsError("Paths that start at drawn noise are needed here: set paths to at least 1.")
    generator = torch.Generator().manual_seed(seed)
    return torch.stack([torch.randn(shape, generator=generator) for _ in range(count)])
