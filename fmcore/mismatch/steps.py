"""Velocity mismatch along paths to a test image, one record per time (Eq. 2)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from fmcore.errors import SettingsError
from fmcore.fields.field import VelocityField
from fmcore.mismatch.gap import gap
from fmcore.path import draw_noise, interior_times
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
    ``(1, H, W)``, its mean over all noise, where `PathSettings.paths` is 0."""

    index: int
    t: float
    paths: np.ndarray


def has_exact_mean(field: VelocityField) -> bool:
    """Whether `PathSettings.paths` may be 0 for this field."""
    return hasattr(field, "expected_mismatch")


def mismatch_steps(
    field: VelocityField, image: Tensor, settings: PathSettings, *, chunk: int = 16
) -> Iterator[MismatchStep]:
    """Evaluate ``|| v(x_t^k, t) - (y - x0^k) ||^2`` over channels, one time after the other.

    Args:
        field: any ``(x, t) -> v``, on the device of ``image``.
        image: one test image ``y`` ``(C, H, W)`` as a view gives it. Images are scored one by one so that a score never
            depends, to the last bit, on which other images were in the batch.
        chunk: paths per call of the field; memory is that of ``chunk`` states and the field's activations for them,
            whatever K and T.

    Yields:
        `MismatchStep` for each of the T interior times, in ascending order.

    Raises:
        SettingsError: for K = 0 with a field that has no exact mean.
    """
    if settings.paths == 0 and not has_exact_mean(field):
        raise SettingsError(
            "Setting 'paths' = 0 is not usable: this field has no exact mean over noise; set paths = 4."
        )
    # Inference mode around each call, not around the loop: a generator must not hold it while it waits.
    with torch.inference_mode():
        exact = field.expected_mismatch(image) if settings.paths == 0 else None
    starts = (
        ()
        if exact
        else draw_noise(settings.paths, tuple(image.shape), settings.noise_seed).to(image.device).split(chunk)
    )
    for index, t in enumerate(interior_times(settings.times)):
        with torch.inference_mode():
            if exact is not None:
                maps = exact(t)[None]
            else:
                maps = torch.cat([gap(field, image, x0, t).float().square().sum(1) for x0 in starts])
        yield MismatchStep(index, t, maps.float().cpu().numpy())
