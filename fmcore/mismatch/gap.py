"""The gap between a field's velocity and a path's own: what everything else here is made of (Eq. 2)."""

from __future__ import annotations

from torch import Tensor

from fmcore.fields.field import VelocityField
from fmcore.path import interpolate


def gap(field: VelocityField, y: Tensor, x0: Tensor, t: float | Tensor) -> Tensor:
    """``v(x_t, t) - (y - x0)`` on the paths from noise ``x0`` to ``y``.

    Args:
        y: one image or point ``(...)``, or one per path ``(K, ...)``.
        x0: noise ``(K, ...)``.
        t: a float, or ``(K,)``.

    Returns:
        Shaped as ``x0``.
    """
    return field(interpolate(x0, y, t), t) - (y - x0)
