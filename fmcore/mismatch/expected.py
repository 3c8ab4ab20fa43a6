"""The mismatch without its Monte-Carlo error: expected over the noise, integrated over time.

An estimate from K paths and T times with the *mean* aggregator aims at

    H(y) = integral over (0, 1) of t^r E ||v(X_t, t) - (y - x0)||^2 dt,    X_t = (1 - t) x0 + t y,  x0 ~ N(0, I).

For a `GaussianField` ``N(m, S)`` the gap is affine in the noise. Along an eigendirection of variance s, with
``c = (1 - t)^2 + t^2 s``, inserting the velocity of `fmcore.fields.gaussian` leaves

    v - u = (t s / c) x0 + ((1 - t) / c) (m - y),

so the expectation is the diagonal of ``(t S / C_t)^2`` plus the square of the second term: closed form, as if
K were infinite (Rao-Blackwell over the noise). Other fields get a plain average over many draws, with its
standard error. The time integral is a Gauss-Legendre quadrature.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from fmcore.fields.exact import Covariance, state_variance
from fmcore.fields.gaussian import GaussianField
from fmcore.fields.source import source_noise
from fmcore.mismatch.mismatch import VelocityField
from fmcore.path import interpolate
from fmcore.settings import Settings


class ExpectedSettings(Settings):
    """How finely the expectation is computed."""

    nodes: int = Field(48, ge=2, le=1000, description="Gauss-Legendre nodes in time")
    draws: int = Field(2048, ge=2, le=1_000_000, description="noise draws, for fields without a closed form")
    seed: int = Field(0, ge=0, lt=2**31, description="of these draws")
    chunk: int = Field(256, ge=1, le=65536, description="states per call of the field")


@dataclass(frozen=True)
class ExpectedMap:
    """``H`` without smoothing, ``(H, W)`` float64 ((1, 1) for a point), and its standard error, 0 if closed form."""

    values: np.ndarray
    error: np.ndarray


def expected_mismatch(field: GaussianField, image: Tensor, t: float) -> np.ndarray:
    """``E ||v(X_t, t) - u||^2`` over the noise, in closed form: ``(H, W)`` float64, ``(1, 1)`` for a point.

    Args:
        field: exact field of the normal law.
        image: test image ``(C, H, W)`` or point ``(d,)``.
        t: in (0, 1).
    """
    covariance = Covariance(*(part.double() for part in field.covariance))
    time = torch.tensor(t, dtype=torch.float64, device=image.device)
    spread = covariance.diagonal(time, lambda s, time: (time * s / state_variance(s, time)).square())
    offset = (field.mean.double() - image.double()).flatten()[None]
    pull = covariance.apply(offset, time, lambda s, time: (1 - time) / state_variance(s, time))[0]
    return _as_map((spread + pull.square()).view(image.shape)[None])[0]


def expected_maps(
    field: VelocityField, image: Tensor, exponents: Sequence[float], settings: ExpectedSettings
) -> dict[float, ExpectedMap]:
    """``H`` of one image for each exponent r: exact in the noise for a `GaussianField`, else averaged over draws."""
    nodes, weights = np.polynomial.legendre.leggauss(settings.nodes)
    nodes, weights = (nodes + 1) / 2, weights / 2
    if isinstance(field, GaussianField):
        maps = np.stack([expected_mismatch(field, image, t) for t in nodes])
        return {r: _exact(np.tensordot(weights * nodes**r, maps, 1)) for r in exponents}
    sums = {r: np.zeros((2, *_as_map(image[None])[0].shape)) for r in exponents}
    noise = source_noise(field, "independent", settings.draws, tuple(image.shape), settings.seed)
    for x0 in noise.split(settings.chunk):
        paths = _integrated(field, image, x0.to(image.device), nodes, weights, exponents)
        for r, values in paths.items():
            sums[r] += np.stack([values.sum(0), np.square(values).sum(0)])
    return {r: _averaged(total, settings.draws) for r, total in sums.items()}


def _integrated(
    field: VelocityField, image: Tensor, x0: Tensor, nodes: np.ndarray, weights: np.ndarray, exponents: Sequence[float]
) -> dict[float, np.ndarray]:
    """The time integral along each path, ``(K, H, W)``: one path's times share its noise, paths are independent."""
    sums: dict[float, np.ndarray | float] = dict.fromkeys(exponents, 0.0)
    for t, weight in zip(nodes.tolist(), weights.tolist(), strict=True):
        with torch.inference_mode():
            values = _as_map((field(interpolate(x0, image, t), t) - (image - x0)).double().square())
        for r in exponents:
            sums[r] = sums[r] + weight * t**r * values
    return sums


def _as_map(squares: Tensor) -> np.ndarray:
    """``(B, C, H, W)`` or ``(B, d)`` summed over channels or dimensions: ``(B, H, W)`` or ``(B, 1, 1)``."""
    summed = squares.sum(1)
    return (summed if squares.ndim == 4 else summed[:, None, None]).cpu().numpy()


def _exact(values: np.ndarray) -> ExpectedMap:
    return ExpectedMap(values, np.zeros_like(values))


def _averaged(total: np.ndarray, count: int) -> ExpectedMap:
    mean = total[0] / count
    variance = np.maximum(total[1] / count - np.square(mean), 0) * count / (count - 1)
    return ExpectedMap(mean, np.sqrt(variance / count))
