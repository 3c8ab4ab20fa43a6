"""Integration of ``dx/dt = v(x, t)`` with a fixed number of steps, in either direction."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from fmcore.mismatch.mismatch import VelocityField

Method = Literal["euler", "heun"]


def integrate(
    field: VelocityField, x: Tensor, start: float, end: float, *, steps: int, method: Method = "heun"
) -> Tensor:
    """State at time ``end`` of the flow that is at ``x`` ``(B, *shape)`` at time ``start``.

    Heun's second evaluation is left out where it would fall on ``t = 1``, at which some exact fields (a finite set)
    have no velocity; that step is Euler's.
    """
    width = (end - start) / steps
    with torch.inference_mode():
        for step in range(steps):
            t, after = start + step * width, start + (step + 1) * width
            if step == steps - 1:
                after = end
            slope = field(x, t)
            if method == "heun" and after < 1:
                slope = (slope + field(x + (after - t) * slope, after)) / 2
            x = x + (after - t) * slope
    return x
