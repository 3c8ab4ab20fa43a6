"""The mismatch split into the denoising term of the test law and its Fisher divergence from the normal one.

Let ``p`` be the normal and ``q`` the test law, ``X_t`` a state on the path from noise to ``y``, ``u`` its geometric
velocity, and ``v_p``, ``v_q`` two fields. Writing ``v_p - u = (v_p - v_q) + (v_q - u)``,

    E ||v_p - u||^2  =  E ||v_q - u||^2  +  E ||v_p - v_q||^2  +  2 E <v_p - v_q, v_q - u>
       mismatch          denoising           Fisher                cross

is algebra. It becomes a statement about laws where ``y ~ q`` and ``v_q = E_q[u | x_t]`` are of the *same* law q:

- The cross term is then zero for any ``v_p``, and the denoising term is ``E tr Cov_q(u | X_t)``. For exact ``v_p``
  the Fisher term is ``((1 - t)/t)^2 E ||grad log p_t - grad log q_t||^2``, which vanishes where q = p.
- For paths to one group of a mix (the good images, one image) and ``v_q`` of the whole mix, the cross term need not
  vanish, even for exact fields: only its mean over the whole mix does.
- A learned ``v_q + e`` adds ``E ||e||^2`` to the denoising term and makes the cross term ``2 E <v_p - v_q - e, e>``,
  the projection of the error on the gap of the fields, which is reported as it is and never added to another term.
- For a single image y, a point mass, ``v_q = u``: denoising and cross term are zero on every path, and with exact
  ``v_p`` the mismatch is a scaled one-step denoising residual, ``||E_p[x1 | x_t] - y||^2 / (1 - t)^2``.

Fisher maps show ``F = ||v_p - v_q||^2`` over channels, aggregated and weighted as the mismatch ``D`` is (Eqs. 2-4).
With the exact empirical q the softmax finds ``y`` itself in the mix for all t but the smallest: F is D again."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from fmcore.fields.field import ExactField, VelocityField
from fmcore.mismatch import CHUNK, Mismatch, PathSettings, gap
from fmcore.path import draw_noise, interior_times, interpolate
from fmcore.settings import Settings

NAMES = ("mismatch", "denoising", "fisher", "cross")
PAIRS = 64  # per call of the fields; bounds the memory


class DecompositionSettings(Settings):
    """How the expectations of a decomposition are estimated."""

    samples: int = Field(1024, ge=2, le=1_000_000, description="pairs of data and noise, where data are drawn from q")
    times: int = Field(12, ge=1, le=100, description="T, interior times j / (T + 1)")
    seed: int = Field(0, ge=0, lt=2**31, description="seed of the data and noise draws")


class Term(NamedTuple):
    """Monte-Carlo estimate of one expectation, summed over dimensions, its standard error over the pairs of data and
    noise, and its ``map`` by place: ``(H, W)`` float32 for data ``(C, H, W)``, else shaped as one datum."""

    value: float
    error: float
    map: np.ndarray


class DecompositionStep(NamedTuple):
    """All terms at one time; ``mismatch = denoising + fisher + cross`` holds on the very same draws. ``posterior``, for
    an `ExactField`, is ``E tr Cov_q(u | X_t)``: the denoising term of draws of q, of a smaller error."""

    t: float
    mismatch: Term
    denoising: Term
    fisher: Term
    cross: Term
    posterior: Term | None = None


class Terms(NamedTuple):
    """All terms at the ``times`` ``(T,)`` recorded so far, by name: values and errors ``(T,)``, maps ``(T, H, W)``, and
    the ``posterior`` ``(T,)`` of the steps, None where it does not apply. Sums over time keep the identity."""

    times: np.ndarray
    values: dict[str, np.ndarray]
    errors: dict[str, np.ndarray]
    maps: dict[str, np.ndarray]
    posterior: np.ndarray | None

    @classmethod
    def collect(cls, steps: Iterable[DecompositionStep]) -> Terms:
        """From the steps of one decomposition, in any number but none."""
        steps = list(steps)
        parts = (
            {name: np.stack([getattr(getattr(step, name), part) for step in steps]) for name in NAMES}
            for part in Term._fields
        )
        exact = all(step.posterior for step in steps)
        posterior = np.array([step.posterior.value for step in steps]) if exact else None
        return cls(np.array([step.t for step in steps]), *parts, posterior)

    def weighted(self, exponent: float) -> dict[str, np.ndarray]:
        """``t^r`` times each map, ``(T, H, W)``: the contribution of each time."""
        weights = (self.times**exponent)[:, None, None].astype(np.float32)
        return {name: weights * maps for name, maps in self.maps.items()}

    def averaged(self, exponent: float) -> dict[str, np.ndarray]:
        """``(1/T) sum_j t_j^r`` map_j, ``(H, W)`` float32: the term's part of the heat map (mean over paths)."""
        weighted = self.weighted(exponent)
        return {name: maps.mean(0, dtype=np.float64).astype(np.float32) for name, maps in weighted.items()}

    def scale(self, exponent: float, *, least: float = 0.0) -> float:
        """Upper end, at least ``least``, of one colour scale for all terms: what 99 % of the averaged values of all
        terms and places stay below, the cross term by its size."""
        return max(least, float(np.quantile(np.abs([*self.averaged(exponent).values()]), 0.99))) or 1.0


def decompose(
    p: VelocityField, q: VelocityField, settings: DecompositionSettings, *, samples: Tensor | None = None
) -> Iterator[DecompositionStep]:
    """Estimate every term at the T interior times, one after the other, on the same pairs of data and noise.

    The paths end at ``samples`` ``(N, *shape)``, N >= 2, each with one noise draw; None: ``settings.samples`` draws
    from an exact q. The statements about laws hold where they are draws of the law of ``q``. A datum that is repeated
    gets several noise draws, and the standard errors then count the noise alone."""
    # One generator for both: with one each, of the same seed, a Gaussian q would draw its data from the noise.
    generator = torch.Generator().manual_seed(settings.seed)
    samples = q.sample(settings.samples, generator) if samples is None else samples
    noise = torch.randn(samples.shape, generator=generator, dtype=samples.dtype).to(samples.device)
    for t in interior_times(settings.times):
        pairs, maps = defaultdict(list), defaultdict(float)
        # Around the field calls only: a generator must not hold inference mode while it waits.
        with torch.inference_mode():
            for y, x0 in zip(samples.split(PAIRS), noise.split(PAIRS), strict=True):
                for name, values in _densities(p, q, y, x0, t).items():
                    values = values.double()
                    pairs[name].append(values.flatten(1).sum(1).cpu())
                    maps[name] += values.sum((0, 1) if values.ndim == 4 else 0).cpu()
        yield DecompositionStep(t, **{name: _term(torch.cat(pairs[name]), maps[name]) for name in pairs})


def _densities(p: VelocityField, q: VelocityField, y: Tensor, x0: Tensor, t: float) -> dict[str, Tensor]:
    """Each term before any sum, shaped as ``y``."""
    from_p, from_q = gap(p, y, x0, t), gap(q, y, x0, t)
    between = from_p - from_q  # v_p - v_q
    terms = (from_p.square(), from_q.square(), between.square(), 2 * between * from_q)
    posterior = {"posterior": q.posterior_variance(interpolate(x0, y, t), t)} if isinstance(q, ExactField) else {}
    return dict(zip(NAMES, terms, strict=True)) | posterior


def _term(pairs: Tensor, maps: Tensor) -> Term:
    """From the value on each pair, and the sum of the maps."""
    error = float(pairs.std()) / math.sqrt(len(pairs))
    return Term(float(pairs.mean()), error, (maps / len(pairs)).float().numpy())


class FisherMaps(NamedTuple):
    """Mismatch ``D`` and Fisher part ``F`` of one image; `Mismatch.heatmap` of either makes its heat map."""

    mismatch: Mismatch
    fisher: Mismatch


@torch.inference_mode()
def fisher_maps(p: VelocityField, q: VelocityField, image: Tensor, settings: PathSettings) -> FisherMaps:
    """Mismatch and Fisher part along the paths to ``image`` ``(C, H, W)``; the mismatch is bit for bit that of
    `fmcore.mismatch.mismatch_steps`."""
    noise, times = draw_noise(settings.paths, tuple(image.shape), settings.noise_seed), interior_times(settings.times)
    found = []
    for t in times:
        for x0 in noise.to(image.device).split(CHUNK):
            from_p, from_q = gap(p, image, x0, t), gap(q, image, x0, t)
            found.append(torch.stack([from_p, from_p - from_q]).float().square().sum(2))
    maps = torch.cat(found, 1).view(2, len(times), -1, *image.shape[1:]).cpu().numpy()
    return FisherMaps(*(Mismatch(np.array(times), part) for part in maps))
