"""The law of the noise at t = 0, the source of the flow: white, or with the spectrum of natural images.

Flow matching starts from any law. White noise has the same power at every spatial frequency, photographs have
about ``1 / f^2``: along the path white noise hides fine detail for long and coarse structure, a stain as large as
a coin, hardly ever (Wyatt et al. 2022, AnoDDPM, replaced it for that reason). The ``natural`` source has the power

    P(f)  proportional to  1 / (f^2 + 4^2),        f in cycles per image,

with unit variance per pixel, so that all sizes of structure appear at about the same time. It is a linear image
``x0 = A z`` of white noise z, A diagonal in the Fourier basis, and therefore nothing new has to be derived: a field
for white noise on whitened images ``A^-1 x1`` is, mapped back, a field for this source,

    v(x, t) = A v_white(A^-1 x, t).

A field says which source it belongs to by an attribute ``source``; one without it belongs to white noise.
"""

from __future__ import annotations

import functools
from typing import Literal, get_args

import torch
from torch import Tensor

from fmcore.errors import SettingsError
from fmcore.mismatch.noise import NoiseKind, path_noise

SourceKind = Literal["white", "natural"]
KNEE = 4.0  # cycles per image: below it the power no longer grows


def source_of(field: object) -> SourceKind:
    """The source that a velocity field was made for."""
    return getattr(field, "source", "white")


def colour(source: SourceKind, noise: Tensor) -> Tensor:
    """``A z``: noise of the source from white noise ``(..., H, W)``."""
    return _filtered(source, noise, inverse=False)


def whiten(source: SourceKind, images: Tensor) -> Tensor:
    """``A^-1 x``: what is seen of images ``(..., H, W)`` in units of the source's noise."""
    return _filtered(source, images, inverse=True)


def source_noise(field: object, kind: NoiseKind, count: int, shape: tuple[int, ...], seed: int) -> Tensor:
    """Noise of ``count`` paths from the source of ``field``, ``(count, *shape)``; otherwise as `path_noise`."""
    return colour(source_of(field), path_noise(kind, count, shape, seed))


class SourceField:
    """A field for white noise on whitened images, as a field ``(x, t) -> v`` on images for another source."""

    def __init__(self, field, source: SourceKind):
        self.field, self.source = field, source

    def __call__(self, x: Tensor, t: float | Tensor) -> Tensor:
        return colour(self.source, self.field(whiten(self.source, x), t))


def mapped_back(field, source: SourceKind):
    """A field for white noise on whitened images as one on images; for white noise the field itself."""
    return field if source == "white" else SourceField(field, source)


def whitened_field(field):
    """The field for white noise on whitened images behind a field; a field for white noise itself."""
    return field.field if isinstance(field, SourceField) else field


def _filtered(source: SourceKind, x: Tensor, *, inverse: bool) -> Tensor:
    if source == "white":
        return x
    if source not in get_args(SourceKind):
        raise SettingsError(f"Unknown source '{source}': choose one of {', '.join(get_args(SourceKind))}.")
    if x.ndim < 2:
        raise SettingsError(f"Source '{source}' is a law of images: a point of {x.shape[-1]} numbers has no spectrum.")
    gain = _gain(x.shape[-2], x.shape[-1]).to(x.device)
    return torch.fft.irfft2(torch.fft.rfft2(x) * (1 / gain if inverse else gain), s=x.shape[-2:])


@functools.lru_cache(maxsize=16)
def _gain(height: int, width: int) -> Tensor:
    """Square root of the power per frequency ``(H, W // 2 + 1)``, of mean square 1 over all H W frequencies."""
    rows, columns = torch.fft.fftfreq(height) * height, torch.fft.fftfreq(width) * width
    power = 1 / (rows[:, None] ** 2 + columns**2 + KNEE**2)
    return (power / power.mean()).sqrt()[:, : width // 2 + 1]
