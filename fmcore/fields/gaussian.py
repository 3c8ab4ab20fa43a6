"""The exact velocity field of a Gaussian whose covariance is principal components plus isotropic rest.

For data ``x1 ~ N(m, S)`` the state is ``x_t ~ N(t m, C_t)`` with ``C_t = (1 - t)^2 I + t^2 S``, and conditioning the
Gaussian pair ``(x1 - x0, x_t)`` gives a field that is affine in the state,

    v(x, t) = m + (t S - (1 - t) I) C_t^{-1} (x - t m).

``S`` and ``C_t`` have one eigenbasis, so every matrix function needed here multiplies an eigendirection of variance
``a`` by a scalar function of a and t: the velocity by ``(t a - (1 - t)) / c``, where ``c = (1 - t)^2 + t^2 a``."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Annotated, NamedTuple

import torch
from pydantic import Field as Range
from torch import Tensor

from fmcore.errors import DataError
from fmcore.fields.field import FIELDS, ExactField, Field
from fmcore.path import expand_time

FOLDS = 5  # that held-out variances are measured on

Factor = Callable[[Tensor, Tensor], Tensor]
Components = Annotated[int, Range(ge=0, le=500, description="most principal components of the Gaussian")]


def state_variance(variance: Tensor, time: Tensor) -> Tensor:
    """``c = (1 - t)^2 + t^2 a``: variance of ``x_t`` along a direction in which the data have variance a."""
    return (1 - time) ** 2 + time**2 * variance


def velocity_gain(variance: Tensor, time: Tensor) -> Tensor:
    """``(t a - (1 - t)) / c``: velocity per unit of ``x - t m``."""
    return (time * variance - (1 - time)) / state_variance(variance, time)


def whitening_gain(variance: Tensor, time: Tensor) -> Tensor:
    """``c^{-1/2}``, which gives ``x - t m`` unit variance."""
    return state_variance(variance, time).rsqrt()


def posterior_spread(variance: Tensor, time: Tensor) -> Tensor:
    """``a / c``: variance of ``u`` given ``x_t``."""
    return variance / state_variance(variance, time)


class Covariance(NamedTuple):
    """``S = U diag(variances) U^T + rest (I - U U^T)`` or M of them, and functions ``f(S, t)`` by their eigenvalues.

    Shapes are ``(k, D)``, ``(k,)`` and ``(1,)``, or ``(M, k, D)``, ``(M, 1, k)`` and ``(M, 1, 1)``; no rest where k is
    D. ``time`` is 0-d or ``(B, 1)``, and ``factor(variance, time)`` is ``f`` of one eigenvalue. Results have M in front
    where there are M."""

    components: Tensor
    variances: Tensor
    rest: Tensor | None

    def apply(self, centred: Tensor, time: Tensor, factor: Factor) -> Tensor:
        """``f(S, t)`` times each row of ``centred`` ``(..., B, D)``."""
        along, factors = centred @ self.components.mT, factor(self.variances, time)
        if self.rest is None:
            return (along * factors) @ self.components
        rest = factor(self.rest, time)
        return torch.addcmul((along * (factors - rest)) @ self.components, rest, centred)

    def diagonal(self, time: Tensor, factor: Factor) -> Tensor:
        """Diagonal of ``f(S, t)``: ``(D,)`` or ``(B, D)``."""
        rest = 0 if self.rest is None else factor(self.rest, time)
        return (factor(self.variances, time) - rest) @ self.components.square() + rest

    def trace(self, time: Tensor, factor: Factor) -> Tensor:
        """Trace of ``f(S, t)``: 0-d or ``(B,)``."""
        others = self.components.shape[-1] - self.components.shape[-2]
        rest = 0 if self.rest is None else others * factor(self.rest, time)[..., 0]
        return factor(self.variances, time).sum(-1) + rest

    def draw(self, noise: Tensor) -> Tensor:
        """``S^{1/2} z`` of each row of ``noise`` ``(..., B, D)``."""
        return self.apply(noise, noise.new_zeros(()), lambda variance, time: variance.sqrt())

    def log_normal(self, centred: Tensor, time: Tensor) -> Tensor:
        """``log N(x_t; t m, C_t)`` at ``centred = x_t - t m`` ``(..., B, D)``: ``(..., B)``."""
        energy = self.apply(centred, time, whitening_gain).square().sum(-1)
        log_determinant = self.trace(time, lambda variance, time: state_variance(variance, time).log())
        return -0.5 * (energy + log_determinant + centred.shape[-1] * math.log(2 * math.pi))


class GaussianLaw(ExactField):
    """A Gaussian of whole states, or one per place: all follows from ``covariance``, from ``centre``, the mean shaped
    as one state, and from how states ``(B, *shape)`` are rows ``(B, D)`` or ``(M, B, D)`` of it."""

    covariance: Covariance
    centre: Tensor

    def _rows(self, states: Tensor) -> Tensor:
        return states.flatten(1)

    def _states(self, rows: Tensor) -> Tensor:
        return rows.view(-1, *self.centre.shape)

    def forward(self, x: Tensor, t: float | Tensor) -> Tensor:
        return self.centre + self._scale_directions(x, t, velocity_gain)

    def whiten(self, x: Tensor, t: float | Tensor) -> Tensor:
        """``C_t^{-1/2} (x - t m)``, shaped as ``x``: unit variance in every direction where the field is right."""
        return self._scale_directions(x, t, whitening_gain)

    def log_density(self, x: Tensor, t: float | Tensor) -> Tensor:
        return self.covariance.log_normal(*self._centred(x, t)).view(-1, len(x)).sum(0)

    def posterior_variance(self, x: Tensor, t: float | Tensor) -> Tensor:
        """Diagonal of ``S C_t^{-1}``: the same at every state of one time."""
        diagonal = self.covariance.diagonal(expand_time(t, x.flatten(1)), posterior_spread)
        return self._states(diagonal).expand(x.shape)

    def residual_variance(self, t: Tensor) -> Tensor:
        """Mean over dimensions of ``Var(u | x_t)``, shaped as ``t``: the field's own expected loss at t."""
        trace = self.covariance.trace(t.reshape(-1, 1), posterior_spread).view(-1, t.numel()).sum(0)
        return (trace / self.centre.numel()).view(t.shape)

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        like = self.centre
        noise = torch.randn(count, *like.shape, generator=generator, dtype=like.dtype).to(like.device)
        return like + self._states(self.covariance.draw(self._rows(noise)))

    def _centred(self, x: Tensor, t: float | Tensor) -> tuple[Tensor, Tensor]:
        """``x - t m`` as rows, and the time to go with it."""
        return self._rows(x - expand_time(t, x) * self.centre), expand_time(t, x.flatten(1))

    def _scale_directions(self, x: Tensor, t: float | Tensor, factor: Factor) -> Tensor:
        """``x - t m`` with each eigendirection of ``S`` multiplied by ``factor(variance, t)``."""
        return self._states(self.covariance.apply(*self._centred(x, t), factor))


class GaussianField(GaussianLaw):
    """Velocity field of ``N(m, S)``: ``mean`` ``(*shape)``, any shape of D numbers, ``components`` ``(k, D)``, k >= 0
    orthonormal rows, positive ``variances`` ``(k,)`` along them, and ``rest``, that of all other directions."""

    def __init__(self, mean: Tensor, components: Tensor, variances: Tensor, rest: float | Tensor):
        super().__init__()
        self.register_buffer("mean", mean.float())
        self.register_buffer("components", components.float())
        self.register_buffer("variances", variances.float())
        self.register_buffer("rest", torch.as_tensor(rest).float())

    @staticmethod
    def isotropic(mean: Tensor, variance: float) -> GaussianField:
        """``N(mean, variance I)``; a point mass with variance 0."""
        return GaussianField(mean, mean.new_zeros(0, mean.numel()), mean.new_zeros(0), variance)

    def expected_mismatch(self, y: Tensor) -> Callable[[float], Tensor]:
        """The mean of the mismatch (Eq. 2) over all noise, as if K were infinite: for ``y`` ``(C, H, W)`` or a point
        ``(d,)`` a function of t in (0, 1), which gives ``(H, W)``, channels summed, or a number. Along a direction of
        variance ``a`` the gap is ``v - u = (t a / c) x0 - ((1 - t) / c) (y - m)``. The mean of its square at a place is
        the diagonal of ``(t S C_t^{-1})^2`` plus the square of the gap without noise."""

        def at(t: float) -> Tensor:
            spread = self.covariance.diagonal(y.new_tensor(t), lambda a, time: (time * posterior_spread(a, time)) ** 2)
            return (spread.view_as(y) + (self(t * y[None], t)[0] - y).square()).sum(0)

        return at

    @property
    def covariance(self) -> Covariance:
        return Covariance(self.components, self.variances, self.rest.reshape(1))

    @property
    def centre(self) -> Tensor:
        return self.mean


@FIELDS.register
class ImageGaussianField(GaussianField, Field):
    """`GaussianField` of images ``(C, H, W)``, fitted and saved with a model: the closed form in pixels."""

    kind = "global-gaussian"

    def __init__(self, channels: int, height: int, width: int, components: int):
        mean = torch.zeros(channels, height, width)
        GaussianField.__init__(self, mean, torch.zeros(components, mean.numel()), torch.ones(components), 1.0)
        self.config = {"channels": channels, "height": height, "width": width, "components": components}

    @classmethod
    def fit(cls, tensors: Iterable[Tensor], *, components: Components = 100) -> ImageGaussianField:
        """By `fit_gaussian`; all images are held in memory at once."""
        images = list(tensors)
        law = fit_gaussian(torch.stack(images), components=components)
        field = cls(*images[0].shape, len(law.variances))
        field.load_state_dict(law.state_dict())
        return field


def fit_gaussian(images: Tensor, *, components: int = 100) -> GaussianField:
    """Fit a `GaussianField` to data ``(N, *shape)``, N >= 2 (else `DataError`), calibrated for data it has not seen.
    Variances measured on the data that chose the components are too large along the leading ones and too small in the
    rest. So the directions come from all data, but variances and rest from held-out folds. Of at most ``components``,
    those before the first are kept whose held-out variance does not exceed the rest."""
    if (count := len(images)) < 2:
        raise DataError(f"A Gaussian field needs at least 2 images, but {count} was given: add good images.")
    data = images.flatten(1).float()
    mean = data.mean(0)
    centred = data - mean
    gram = (centred @ centred.T).double()
    variances, rest = _held_out_spectrum(gram, data.shape[1], components)
    values, vectors = _leading(gram, len(variances))
    basis = (vectors / values.clamp_min(1e-12).sqrt()).T.float() @ centred
    return GaussianField(mean.view(images.shape[1:]), basis, variances, rest)


def _held_out_spectrum(gram: Tensor, dimension: int, limit: int) -> tuple[Tensor, Tensor]:
    """Held-out variance along the i-th leading component and in the rest, from the Gram matrix alone."""
    count = len(gram)
    fold_of = torch.randperm(count, generator=torch.Generator().manual_seed(0)) % min(FOLDS, count)
    smallest = int(count - fold_of.bincount().max())  # of the training folds
    limit = max(0, min(limit, smallest - 1, dimension - 1))
    along, total = gram.new_zeros(limit), gram.new_zeros(())
    for fold in fold_of.unique():
        train, held = fold_of != fold, fold_of == fold
        # Centred on the training fold's own mean, expressed through inner products only.
        row = gram[:, train].mean(1)
        centred = gram - row[:, None] - row + row[train].mean()
        values, vectors = _leading(centred[train][:, train], limit)
        # Components of zero variance (duplicate images) have no direction; they get no projection.
        usable = values > 1e-9 * values[:1].clamp_min(1e-30)
        projections = (centred[held][:, train] @ vectors) / values.clamp_min(1e-30).sqrt()
        along += (projections * usable).square().sum(0) / count
        total += centred.diagonal()[held].sum() / count
    # Of the directions after the first 0, 1, .. limit components.
    left = torch.cat([total[None], total - along.cumsum(0)])
    rest = (left / (dimension - torch.arange(limit + 1))).clamp_min(1e-6)
    kept = int((along > rest[1:]).cumprod(0).sum())
    return along[:kept], rest[kept]


def _leading(gram: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The ``count`` largest eigenvalues, largest first, and their eigenvectors as columns."""
    return tuple(part.flip(-1)[..., :count] for part in torch.linalg.eigh(gram))
