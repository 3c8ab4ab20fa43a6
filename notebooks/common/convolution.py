"""What a machine can do, as a case of `fmcore.evaluation.studies.measure_speed`, and what an encoder asks of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch


def plain_convolution(channels: int = 128, side: int = 48) -> tuple[Callable, ...]:
    """What the machine can do: a case whose ``field`` is one 3 x 3 convolution."""
    layer = torch.nn.Conv2d(channels, channels, 3, padding=1).to(memory_format=torch.channels_last)
    x = torch.zeros(1, channels, side, side).contiguous(memory_format=torch.channels_last)
    return lambda _: x, torch.inference_mode()(layer), lambda _: np.zeros((1, 1))


def count_products(run: Callable[[], Any]) -> int:
    """Multiplications by weights in the convolutions and linear maps that ``run()`` calls."""
    counts = []

    def count(module: torch.nn.Module, _: Any, out: Any) -> None:
        if getattr(weight := getattr(module, "weight", None), "ndim", 0) > 1:
            counts.append(out.numel() * weight[0].numel())

    with torch.nn.modules.module.register_module_forward_hook(count):
        run()
    return sum(counts)
