"""The velocity gap along paths to a test image, one record of its square per time (Eq. 2)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from fmcore.errors import SettingsError
from fmcore.fields.field import VelocityField
from fmcore.path import draw_noise, interior_times, interpolate
from fmcore.settings import Settings


class PathSettings(Settings):
    """What decides which states the field is evaluated at; changing one of these runs it again."""

    paths: int = Field(
        4,
        ge=0,
        le=64,
        description="K, noise draws per image; 0: the exact mean over all noise, where the field has one",
    )
    times: int = Field(12, ge=1, le=100, description="T, interior times j / (T + 1)")
    noise_seed: int = Field(0, ge=0, lt=2**31, description="seed of the noise, shared by all images")


@dataclass(frozen=True)
class MismatchStep:
    """Mismatch at one time: ``paths`` is ``(K, H, W)`` float32, the squared velocity gap ``D`` summed over channels; or
    ``(1, H, W)``, its mean over all noise, where `PathSettings.paths` is 0. ``roi`` ``(H, W)`` bool is the region of
    interest, outside of which it is 0; None: everything."""

    index: int
    t: float
    paths: np.ndarray
    roi: np.ndarray | None = None


def gap(field: VelocityField, y: Tensor, x0: Tensor, t: float | Tensor) -> Tensor:
    """``v(x_t, t) - (y - x0)``, shaped as the noise ``x0`` ``(K, ...)``; ``y`` is one image or point ``(...)`` or one
    per path, ``t`` a float or ``(K,)``."""
    return field(interpolate(x0, y, t), t) - (y - x0)


def has_exact_mean(field: VelocityField) -> bool:
    """Whether `PathSettings.paths` may be 0 for this field."""
    return hasattr(field, "expected_mismatch")


def mismatch_steps(
    field: VelocityField, image: Tensor, settings: PathSettings, *, chunk: int = 16
) -> Iterator[MismatchStep]:
    """``|| v(x_t^k, t) - (y - x0^k) ||^2`` over channels at the T interior times, in ascending order.

    ``image`` is one test image ``y`` ``(C, H, W)`` as a view gives it: images are scored one by one so that a score
    never depends, to the last bit, on a batch. The field is called on ``chunk`` paths at once, which bounds memory.
    Raises `SettingsError` for K = 0 with a field that has no exact mean."""
    exact, starts = None, ()
    # Inference mode around each call, not around the loop: a generator must not hold it while it waits.
    if settings.paths:
        starts = draw_noise(settings.paths, tuple(image.shape), settings.noise_seed).to(image.device).split(chunk)
    elif has_exact_mean(field):
        with torch.inference_mode():
            exact = field.expected_mismatch(image)
    else:
        raise SettingsError(
            "Setting 'paths' = 0 is not usable: this field has no exact mean over noise; set paths = 4."
        )
    for index, t in enumerate(interior_times(settings.times)):
        with torch.inference_mode():
            parts = [exact(t)[None]] if exact else [gap(field, image, x0, t).float().square().sum(1) for x0 in starts]
            maps = torch.cat(parts)
        yield MismatchStep(index, t, maps.float().cpu().numpy())


def within(steps: Iterator[MismatchStep], roi: np.ndarray | None) -> Iterator[MismatchStep]:
    """The steps, with the mismatch 0 outside a region of interest ``(H, W)`` bool; None: as they are."""
    return steps if roi is None else (MismatchStep(s.index, s.t, s.paths * roi, roi) for s in steps)
