"""The exact velocity field of a Gaussian whose covariance is principal components plus isotropic rest.

For data ``x1 ~ N(m, S)`` the state is ``x_t ~ N(t m, C_t)`` with ``C_t = (1 - t)^2 I + t^2 S``, and conditioning the
Gaussian pair ``(x1 - x0, x_t)`` gives a field that is affine in the state,

    v(x, t) = m + (t S - (1 - t) I) C_t^{-1} (x - t m).

With ``S = U diag(variances) U^T + rest (I - U U^T)`` all matrices share one eigenbasis (`fmcore.fields.exact`): a
direction of variance ``a`` is multiplied by ``(t a - (1 - t)) / c``, where ``c = (1 - t)^2 + t^2 a``."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from fmcore.errors import DataError
from fmcore.fields.exact import Covariance, ExactField, Factor, posterior_spread, velocity_gain, whitening_gain
from fmcore.path import expand_time

FOLDS = 5  # that held-out variances are measured on


class GaussianField(ExactField):
    """Velocity field of ``N(m, S)``: ``mean`` ``(*shape)``, any shape of D numbers, ``components`` ``(k, D)``, k >= 0
    orthonormal rows, positive ``variances`` ``(k,)`` along them, and ``rest``, that of all other directions."""

    def __init__(self, mean: Tensor, components: Tensor, variances: Tensor, rest: float | Tensor):
        super().__init__()
        parts = {"mean": mean, "components": components, "variances": variances, "rest": torch.as_tensor(rest)}
        for name, value in parts.items():
            self.register_buffer(name, value.float())

    @staticmethod
    def isotropic(mean: Tensor, variance: float) -> GaussianField:
        """``N(mean, variance I)``; a point mass with variance 0."""
        return GaussianField(mean, mean.new_zeros(0, mean.numel()), mean.new_zeros(0), variance)

    def forward(self, x: Tensor, t: float | Tensor) -> Tensor:
        return self.mean + self._scale_directions(x, t, velocity_gain)

    def whiten(self, x: Tensor, t: float | Tensor) -> Tensor:
        """``C_t^{-1/2} (x - t m)``, shaped as ``x``: unit variance in every direction where the field is right."""
        return self._scale_directions(x, t, whitening_gain)

    def expected_mismatch(self, y: Tensor) -> Callable[[float], Tensor]:
        """The mean of the mismatch (Eq. 2) over all noise, as if K were infinite: for ``y`` ``(C, H, W)`` or a point
        ``(d,)`` a function of t in (0, 1), which gives ``(H, W)``, channels summed, or a number.

        Along a direction of variance ``a`` the gap is ``v - u = (t a / c) x0 - ((1 - t) / c) (y - m)``. The mean of its
        square at a place is therefore the diagonal of ``(t S C_t^{-1})^2`` plus the square of the gap without noise."""

        def at(t: float) -> Tensor:
            spread = self.covariance.diagonal(y.new_tensor(t), lambda a, time: (time * posterior_spread(a, time)) ** 2)
            return (spread.view_as(y) + (self(t * y[None], t)[0] - y).square()).sum(0)

        return at

    def log_density(self, x: Tensor, t: float | Tensor) -> Tensor:
        return self.covariance.log_normal(*self._centred(x, t))

    def posterior_variance(self, x: Tensor, t: float | Tensor) -> Tensor:
        """Diagonal of ``S C_t^{-1}``: the same at every state of one time."""
        diagonal = self.covariance.diagonal(expand_time(t, x.flatten(1)), posterior_spread)
        return diagonal.expand(len(x), -1).reshape(x.shape)

    def residual_variance(self, t: Tensor) -> Tensor:
        """Mean over dimensions of ``Var(u | x_t)``, shaped as ``t``: the field's own expected loss at t."""
        return (self.covariance.trace(t.reshape(-1, 1), posterior_spread) / self.mean.numel()).reshape(t.shape)

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        return self.mean + self.covariance.draw(count, generator).view(-1, *self.mean.shape)

    @property
    def covariance(self) -> Covariance:
        """``S`` of the data."""
        return Covariance(self.components, self.variances, self.rest.reshape(1))

    def _centred(self, x: Tensor, t: float | Tensor) -> tuple[Tensor, Tensor]:
        """``x - t m`` ``(B, D)``, and the time to go with it."""
        centred = (x - expand_time(t, x) * self.mean).flatten(1)
        return centred, expand_time(t, centred)

    def _scale_directions(self, x: Tensor, t: float | Tensor, factor: Factor) -> Tensor:
        """``x - t m`` with each eigendirection of ``S`` multiplied by ``factor(variance, t)``."""
        return self.covariance.apply(*self._centred(x, t), factor).view_as(x)


def fit_gaussian(images: Tensor, *, components: int = 100, seed: int = 0) -> GaussianField:
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
    variances, rest = _held_out_spectrum(gram, data.shape[1], components, seed)
    values, vectors = _leading(gram, len(variances))
    basis = (vectors / values.clamp_min(1e-12).sqrt()).T.float() @ centred
    return GaussianField(mean.view(images.shape[1:]), basis, variances, rest)


def _held_out_spectrum(gram: Tensor, dimension: int, limit: int, seed: int) -> tuple[Tensor, Tensor]:
    """Held-out variance along the i-th leading component and in the rest, from the Gram matrix alone."""
    count = len(gram)
    fold_of = torch.randperm(count, generator=torch.Generator().manual_seed(seed)) % min(FOLDS, count)
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
