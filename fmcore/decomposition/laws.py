"""What a test law q can be for a picture or an unlabelled mix of them, and what is exactly known of the terms.

Pictures are what a view makes of them, ``(C, H, W)`` of any size and number of channels.

In closed form, for ``p = N(m, S)`` and ``q = N(n, R)`` with ``C = (1 - t)^2 I + t^2 S`` and, likewise of R, ``Q``: the
scores are affine, ``-C^{-1} (x - t m)`` and ``-Q^{-1} (x - t n)``, so that

    E ||grad log p_t - grad log q_t||^2 = t^2 ||C^{-1} (n - m)||^2 + tr(C^{-2} Q) - 2 tr(C^{-1}) + tr(Q^{-1}).

The Fisher term is ``((1 - t)/t)^2`` times that; the denoising term is ``tr(R Q^{-1})``, at every state the same."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

from fmcore.decomposition.sampled import PAIRS, DecompositionSettings, DecompositionStep, decompose
from fmcore.errors import SettingsError
from fmcore.fields.empirical import EmpiricalField
from fmcore.fields.field import ExactField, VelocityField
from fmcore.fields.gaussian import Covariance, GaussianField, fit_gaussian, posterior_spread, state_variance
from fmcore.path import interpolate
from fmcore.training import TrainSettings
from fmcore.training.checkpoint import start_training
from fmcore.training.loop import TrainRecord, train


class Law(NamedTuple):
    """A test law q: its velocity field, and the pictures ``(N, C, H, W)`` that paths end at; None where the field
    itself is drawn from. ``exact`` says that ``field`` is ``E_q[u | x_t]`` of the law of these very pictures, so that
    the cross term over all of them is zero: neither learned, nor of a mix of which they are but one group."""

    field: VelocityField
    images: Tensor | None
    exact: bool


def image_law(image: Tensor, noise: float = 0.0) -> Law:
    """A picture ``(C, H, W)`` with independent noise of standard deviation s = ``noise`` in [0, 2] (else
    `SettingsError`): of D numbers the denoising term is ``D s^2 / ((1 - t)^2 + t^2 s^2)``. Without it, a point mass."""
    if not 0 <= noise <= 2:
        raise SettingsError(f"Noise {noise!r} is not usable: it must be at least 0 and at most 2.")
    return Law(GaussianField.isotropic(image, noise**2), None, exact=True)


def empirical_law(images: Tensor) -> Law:
    """The uniform law on a mix ``(N, C, H, W)``, N >= 1. In high dimension its softmax picks one picture for all t but
    the smallest: nearly a point mass at each."""
    return Law(EmpiricalField(images), images, exact=True)


def gaussian_law(images: Tensor, *, components: int = 100) -> Law:
    """The mix ``(N, C, H, W)`` as seen by a Gaussian field that was fitted to it; raises `DataError` for N < 2."""
    return Law(fit_gaussian(images, components=components), images, exact=False)


def network_law(images: Tensor, network: nn.Module, settings: TrainSettings) -> Iterator[tuple[TrainRecord, Law]]:
    """The mix ``(N, C, H, W)`` as seen by ``network``, which is trained on it meanwhile: each record of the training
    beside the law, whose field is finished after the last one."""
    law, labels = Law(network, images, exact=False), torch.zeros(len(images), dtype=torch.long)
    for record in train(start_training(network), images, labels, settings):
        yield record, law


def path_count(law: Law, settings: DecompositionSettings, *, image: Tensor | None = None) -> int:
    """How many paths `decompose_law` draws: ``settings.samples``, for a mix rounded up to as many for every picture."""
    if image is not None or law.images is None:
        return settings.samples
    return len(law.images) * math.ceil(settings.samples / len(law.images))


def decompose_law(
    p: VelocityField, law: Law, settings: DecompositionSettings, *, image: Tensor | None = None
) -> Iterator[DecompositionStep]:
    """`decompose` under a law, for paths to the picture ``image`` ``(C, H, W)``; None: to the data of q.

    The standard errors count the noise draws and, for a noisy law, its data draws. ``posterior`` is None where it isn't
    the denoising term's expectation: for laws that are not exact, and for paths to one picture."""
    ends = law.images if image is None else image[None]
    if ends is not None:
        ends = ends.repeat_interleave(path_count(law, settings, image=image) // len(ends), dim=0)
    for step in decompose(p, law.field, settings, samples=ends):
        yield step if law.exact and image is None else step._replace(posterior=None)


class GaussianTerms(NamedTuple):
    """Exact expectations at one time; ``mismatch = denoising + fisher``, and the cross term is zero."""

    mismatch: float
    denoising: float
    fisher: float
    fisher_divergence: float


def exact_terms(p: VelocityField, law: Law, times: Iterable[float]) -> list[GaussianTerms] | None:
    """`gaussian_terms` at these times for a Gaussian ``p`` and the law of a picture, alone or with noise; else None."""
    if not isinstance(p, GaussianField) or law.images is not None:
        return None
    return [gaussian_terms(p, law.field, t) for t in times]


def gaussian_terms(p: GaussianField, q: GaussianField, t: float) -> GaussianTerms:
    """All terms at time ``t`` in (0, 1), summed over dimensions, computed in float64."""
    normal, test = (Covariance(*(part.double() for part in field.covariance)) for field in (p, q))
    time, shift = torch.tensor(t, dtype=torch.float64), (q.mean - p.mean).double().reshape(1, -1)

    def precision(variance: Tensor, time: Tensor) -> Tensor:
        return 1 / state_variance(variance, time)

    # tr(C^{-2} Q): Q is its rest times I, plus what its components u have beyond the rest, each times u^T C^{-2} u.
    rest, along = state_variance(test.rest, time), normal.apply(test.components, time, precision).square().sum(-1)
    states = rest * normal.trace(time, lambda variance, t: precision(variance, t) ** 2)
    states = states + ((state_variance(test.variances, time) - rest) * along).sum()
    shifted = time**2 * normal.apply(shift, time, precision).square().sum()
    divergence = float(shifted + states - 2 * normal.trace(time, precision) + test.trace(time, precision))
    denoising, fisher = float(test.trace(time, posterior_spread)), ((1 - t) / t) ** 2 * divergence
    return GaussianTerms(denoising + fisher, denoising, fisher, divergence)


class IdentityCheck(NamedTuple):
    """Both sides of one identity at one time, and the standard error of their difference."""

    t: float
    name: str
    left: float
    right: float
    error: float

    @property
    def deviation(self) -> float:
        """Left less right, in standard errors; 0 where both agree to rounding."""
        gap = self.left - self.right
        return 0.0 if abs(gap) <= 1e-5 * abs(self.left) else gap / max(self.error, 1e-300)


def check_identities(
    p: ExactField, q: ExactField, settings: DecompositionSettings, *, power: float = 2.0
) -> Iterator[IdentityCheck]:
    """At each of the T times what `fmcore.decomposition.sampled` says of each term, left from `decompose`, right from
    as many other draws and differentiated densities; the mismatch is the sum of denoising and Fisher term. A ``power``
    of the factor ``(1 - t)/t`` other than 2 is wrong, and shows how a check fails."""
    draws = torch.Generator().manual_seed((settings.seed + 2**20) % 2**31)  # not those of `decompose`
    for step in decompose(p, q, settings):
        x1 = q.sample(settings.samples, draws)
        x0 = torch.randn(x1.shape, generator=draws, dtype=x1.dtype)
        divergences, traces = [], []
        for x in interpolate(x0, x1, step.t).split(PAIRS):
            difference = differentiated_score(p, x, step.t) - differentiated_score(q, x, step.t)
            divergences.append(difference.double().square().flatten(1).sum(1))
            traces.append(q.posterior_covariance_trace(x, step.t).double())
        fisher, trace = ((1 - step.t) / step.t) ** power * torch.cat(divergences), torch.cat(traces)
        yield IdentityCheck(step.t, "cross", step.cross.value, 0.0, step.cross.error)
        for name, values in (("denoising", trace), ("fisher", fisher), ("mismatch", trace + fisher)):
            term, error = getattr(step, name), float(values.std()) / math.sqrt(len(values))
            yield IdentityCheck(step.t, name, term.value, float(values.mean()), math.hypot(term.error, error))


def differentiated_score(field: ExactField, x: Tensor, t: float) -> Tensor:
    """``grad log p_t(x)`` by automatic differentiation of `ExactField.log_density`, shaped as ``x``."""
    with torch.inference_mode(False), torch.enable_grad():
        state = x.detach().clone().requires_grad_()
        return torch.autograd.grad(field.log_density(state, t).sum(), state)[0]


def score_from_velocity_gap(field: ExactField, x: Tensor, t: float) -> float:
    """Largest difference, relative to the largest score, between ``(t v(x, t) - x) / (1 - t)`` and the differentiated
    score at states ``x``: zero to rounding where the velocity is right."""
    expected = differentiated_score(field, x, t)
    return float((field.score(x, t) - expected).abs().max() / expected.abs().max())
