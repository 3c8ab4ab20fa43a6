"""The mismatch split into the denoising term of the test law and its Fisher divergence from the normal one.

Let ``p`` be the normal and ``q`` the test law, ``X_t`` a state on the path from noise to ``y ~ q``, ``u`` its
geometric velocity, and ``v_p``, ``v_q`` the fields of the two laws. Writing ``v_p - u = (v_p - v_q) + (v_q - u)``,

    E ||v_p - u||^2  =  E ||v_q - u||^2  +  E ||v_p - v_q||^2  +  2 E <v_p - v_q, v_q - u>
       mismatch          denoising           Fisher                cross

- For the exact ``v_q = E_q[u | x_t]`` the cross term is zero in expectation, the denoising term is
  ``E tr Cov_q(u | X_t)``, and for exact ``v_p`` too the Fisher term is
  ``((1 - t)/t)^2 E ||grad log p_t - grad log q_t||^2``, which vanishes where q = p.
- For learned fields the cross term need not be zero. It is reported as it is, the error of the models, and
  never added to one of the other terms.
- For a single image y, ``q = EmpiricalField(y[None])`` is a point mass: ``v_q = u``, so denoising and cross
  term are zero on every path, and with exact ``v_p``

      ||v_p - u||^2 = ||E_p[x1 | x_t] - y||^2 / (1 - t)^2 :

  the mismatch of one image is a one-step denoising residual, scaled by ``1/(1 - t)^2``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from fmcore.errors import DataError, SettingsError
from fmcore.fields.exact import ExactField
from fmcore.fields.source import source_of
from fmcore.mismatch.mismatch import VelocityField
from fmcore.path import interior_times, interpolate
from fmcore.settings import Settings


class DecompositionSettings(Settings):
    """How the expectations of a decomposition are estimated."""

    samples: int = Field(1024, ge=2, le=1_000_000, description="pairs of data and noise, where data are drawn from q")
    times: int = Field(12, ge=1, le=100, description="T, interior times j / (T + 1)")
    seed: int = Field(0, ge=0, lt=2**31, description="seed of the data and noise draws")
    chunk: int = Field(256, ge=1, le=65536, description="pairs per call of the fields; bounds the memory")


@dataclass(frozen=True)
class Term:
    """Monte-Carlo estimate of one expectation.

    ``value`` sums over dimensions, ``error`` is its standard error over independent pairs of data and noise,
    ``map`` splits the value by place: ``(H, W)`` float32 for images, channels summed, else shaped as one point.
    """

    value: float
    error: float
    map: np.ndarray


@dataclass(frozen=True)
class DecompositionStep:
    """All terms at one time; ``mismatch = denoising + fisher + cross`` holds on the very same draws.

    ``posterior`` is ``E tr Cov_q(u | X_t)``, the denoising term with the inner expectation in closed form
    (Rao-Blackwellised, so of a smaller error); None where q is not an `ExactField`.
    """

    index: int
    t: float
    mismatch: Term
    denoising: Term
    fisher: Term
    cross: Term
    posterior: Term | None

    @property
    def posterior_gain(self) -> float | None:
        """How many times fewer draws ``posterior`` needs for the error of ``denoising``: the ratio of their variances,
        infinite where the closed form varies not at all (a Gaussian q); None without ``posterior``."""
        if self.posterior is None:
            return None
        return (self.denoising.error / self.posterior.error) ** 2 if self.posterior.error else math.inf

    @property
    def fisher_divergence(self) -> float:
        """``E ||grad log p_t - grad log q_t||^2 = (t / (1 - t))^2 fisher``, for exact fields."""
        return (self.t / (1 - self.t)) ** 2 * self.fisher.value


def decompose(
    p: VelocityField, q: VelocityField, settings: DecompositionSettings, *, samples: Tensor | None = None
) -> Iterator[DecompositionStep]:
    """Estimate every term of the decomposition, one time after the other, on the same pairs at all times.

    Args:
        p: field of the normal law, on the device of the samples.
        q: field of the test law; an `ExactField` for the theory, a network trained on test images otherwise.
        samples: test data ``(N, *shape)``, N >= 2, each given one noise draw, and ``settings.samples`` is
            then not used; None draws ``settings.samples`` from q. A datum that is repeated gets several
            noise draws, and the standard errors then count the noise alone.

    Yields:
        `DecompositionStep` for each of the T interior times, in ascending order.

    Raises:
        SettingsError: for no samples and a q that is no `ExactField`, which can't be drawn from; for a field of
            another source than white noise.
        DataError: for fewer than two samples, samples that are not finite floats, or a field whose velocity has
            another shape than its state.
    """
    if {source_of(p), source_of(q)} != {"white"}:
        raise SettingsError("The decomposition holds for white noise: fit the field with source 'white'.")
    # One generator for both: with one each, of the same seed, a Gaussian q would draw its data from the noise.
    generator = torch.Generator().manual_seed(settings.seed)
    data = _draw(q, settings, generator) if samples is None else samples
    if data.ndim < 2 or len(data) < 2 or not data.is_floating_point() or not bool(torch.isfinite(data).all()):
        raise DataError("A decomposition needs at least two samples (N, ...) of finite floating-point numbers.")
    noise = torch.randn(data.shape, generator=generator, dtype=data.dtype).to(data.device)
    return _steps(p, q, data, noise, settings)


def _draw(q: VelocityField, settings: DecompositionSettings, generator: torch.Generator) -> Tensor:
    if not isinstance(q, ExactField):
        raise SettingsError("Samples must be given where the test field is not exact and can't be drawn from.")
    return q.sample(settings.samples, generator)


def _steps(
    p: VelocityField, q: VelocityField, data: Tensor, noise: Tensor, settings: DecompositionSettings
) -> Iterator[DecompositionStep]:
    for index, t in enumerate(interior_times(settings.times)):
        gathered: dict[str, _Gathered] = {}
        # Around the field calls only: a generator must not hold inference mode while it waits.
        with torch.inference_mode():
            for y, x0 in zip(data.split(settings.chunk), noise.split(settings.chunk), strict=True):
                for name, values in _densities(p, q, y, x0, t).items():
                    gathered.setdefault(name, _Gathered()).add(values)
        terms = {name: one.term() for name, one in gathered.items()}
        yield DecompositionStep(index, t, **{"posterior": None, **terms})


def _densities(p: VelocityField, q: VelocityField, y: Tensor, x0: Tensor, t: float) -> dict[str, Tensor]:
    """Each term before any sum, shaped as ``y``."""
    x, u = interpolate(x0, y, t), y - x0
    from_p, from_q = p(x, t), q(x, t)
    if from_p.shape != x.shape or from_q.shape != x.shape:
        raise DataError(f"A field gave velocities of another shape than its states, which are {tuple(x.shape)}.")
    gap, rest = from_p - from_q, from_q - u
    values = {
        "mismatch": (from_p - u).square(),
        "denoising": rest.square(),
        "fisher": gap.square(),
        "cross": 2 * gap * rest,
    }
    if isinstance(q, ExactField):
        values["posterior"] = q.posterior_variance(x, t)
    return values


class _Gathered:
    """One term over the chunks: its value on each pair, and the sum of its maps, both in float64."""

    def __init__(self) -> None:
        self.pairs: list[Tensor] = []
        self.maps: Tensor | float = 0.0

    def add(self, values: Tensor) -> None:
        values = values.double()
        self.pairs.append(values.flatten(1).sum(1).cpu())
        summed = values.sum(0)
        self.maps = self.maps + (summed.sum(0) if summed.ndim == 3 else summed).cpu()

    def term(self) -> Term:
        pairs = torch.cat(self.pairs)
        error = float(pairs.std()) / math.sqrt(len(pairs))
        return Term(float(pairs.mean()), error, (self.maps / len(pairs)).float().numpy())
