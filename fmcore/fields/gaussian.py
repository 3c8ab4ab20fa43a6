"""The exact velocity field of a Gaussian whose covariance is principal components plus isotropic rest.

For data ``x1 ~ N(m, S)`` and the affine path, ``x_t ~ N(t m, C_t)`` with
``C_t = (1 - t)^2 I + t^2 S``, and conditioning the Gaussian pair ``(x1 - x0, x_t)`` gives

    v(x, t) = m + (t S - (1 - t) I) C_t^{-1} (x - t m).

With ``S = U diag(lambda) U^T + s (I - U U^T)`` all matrices share one eigenbasis, so a direction of
variance ``a`` is multiplied by the scalar ``gain(a, t) = (t a - (1 - t)) / ((1 - t)^2 + t^2 a)``.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fmcore.errors import DataError
from fmcore.fields.exact import Covariance, ExactField, Factor, posterior_spread, velocity_gain, whitening_gain
from fmcore.path import expand_time


class GaussianField(ExactField):
    """Velocity field of ``N(m, U diag(variances) U^T + rest (I - U U^T))``; needs no training.

    Args:
        mean: ``(*shape)``, the mean image (or point), any shape.
        components: ``(k, D)`` orthonormal rows, ``D = prod(shape)``; k may be 0.
        variances: ``(k,)`` variance along each component, positive.
        rest: variance in every other direction, positive.
    """

    def __init__(self, mean: Tensor, components: Tensor, variances: Tensor, rest: float | Tensor):
        super().__init__()
        self.register_buffer("mean", mean.float())
        self.register_buffer("components", components.float())
        self.register_buffer("variances", variances.float())
        self.register_buffer("rest", torch.as_tensor(rest).float())

    def forward(self, x: Tensor, t: float | Tensor) -> Tensor:
        """Velocity ``(B, *shape)`` at states ``x`` ``(B, *shape)`` and times ``t``, float or ``(B,)``."""
        return self.mean + self._scale_directions(x, t, velocity_gain)

    def whiten(self, x: Tensor, t: float | Tensor) -> Tensor:
        """``C_t^{-1/2} (x - t m)``, shaped as ``x``: unit variance in every direction where the field is right."""
        return self._scale_directions(x, t, whitening_gain)

    def log_density(self, x: Tensor, t: float | Tensor) -> Tensor:
        """``log N(x; t m, C_t)``, ``(B,)``."""
        centred = (x - expand_time(t, x) * self.mean).flatten(1)
        return self.covariance.log_normal(centred, expand_time(t, centred))

    def posterior_variance(self, x: Tensor, t: float | Tensor) -> Tensor:
        """Diagonal of ``S C_t^{-1}``, shaped as ``x``: the same at every state of one time."""
        diagonal = self.covariance.diagonal(expand_time(t, x.flatten(1)), posterior_spread)
        return diagonal.expand(len(x), -1).reshape(x.shape)

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """``m + S^{1/2} z``, ``(count, *shape)``."""
        return self.mean + self.covariance.draw(count, generator).view(-1, *self.mean.shape)

    @property
    def covariance(self) -> Covariance:
        """``S`` of the data."""
        return Covariance(self.components, self.variances, self.rest.reshape(1))

    def _scale_directions(self, x: Tensor, t: float | Tensor, factor: Factor) -> Tensor:
        """``x - t m`` with each eigendirection of ``S`` multiplied by ``factor(variance, t)``."""
        time = expand_time(t, x.flatten(1))
        centred = (x - expand_time(t, x) * self.mean).flatten(1)
        return self.covariance.apply(centred, time, factor).view_as(x)

    def residual_variance(self, t: Tensor) -> Tensor:
        """Mean over dimensions of ``Var(u | x_t)``, shaped as ``t``: the field's own expected loss at t."""
        return (self.covariance.trace(t.reshape(-1, 1), posterior_spread) / self.mean.numel()).reshape(t.shape)

    def total_variance(self) -> Tensor:
        """Mean variance per dimension, ``tr(S) / D``."""
        others = self.mean.numel() - len(self.variances)
        return (self.variances.sum() + others * self.rest) / self.mean.numel()


def fit_gaussian(
    images: Tensor, *, components: int = 100, least_gain: float = 0.0, folds: int = 5, seed: int = 0
) -> GaussianField:
    """Fit a `GaussianField` to images ``(N, *shape)``, N >= 2, calibrated for images it has not seen.

    Variances measured on the images that chose the components are too large along the leading ones and
    too small in the rest, the more so the fewer images there are. So the directions come from all
    images, but their variances and the rest are measured on held-out folds, and only components whose
    held-out variance exceeds the rest are kept, at most ``components`` of them, and only up to the first one
    that lowers the variance left over by less than the share ``least_gain`` (a texture then keeps few, a part
    many: components are what makes a stored field large).

    Raises:
        DataError: for fewer than two images.
    """
    count, dimension = len(images), images[0].numel()
    if count < 2:
        raise DataError(f"A Gaussian field needs at least 2 images, but {count} was given: add good images.")
    data = images.flatten(1).float()
    mean = data.mean(0)
    centred = data - mean
    gram = (centred @ centred.T).double()
    variances, rest = _held_out_spectrum(gram, dimension, min(folds, count), components, least_gain, seed)
    values, vectors = torch.linalg.eigh(gram)
    order = values.argsort(descending=True)[: len(variances)]
    scale = values[order].clamp_min(1e-12).sqrt()
    basis = (vectors[:, order] / scale).T.float() @ centred
    return GaussianField(mean.view(images.shape[1:]), basis, variances.float(), rest.float())


def _held_out_spectrum(
    gram: Tensor, dimension: int, folds: int, limit: int, least_gain: float, seed: int
) -> tuple[Tensor, Tensor]:
    """Held-out variance along the i-th leading component and in the rest, from the Gram matrix alone."""
    count = len(gram)
    fold_of = torch.randperm(count, generator=torch.Generator().manual_seed(seed)) % folds
    smallest = int(count - fold_of.bincount().max())
    limit = max(0, min(limit, smallest - 1, dimension - 1))
    along = torch.zeros(limit, dtype=gram.dtype)
    total = torch.zeros((), dtype=gram.dtype)
    for fold in range(folds):
        train, held = fold_of != fold, fold_of == fold
        inner = gram[train][:, train]
        # Centre on the training fold's own mean, expressed through inner products only.
        row = inner.mean(1)
        grand = row.mean()
        inner = inner - row[:, None] - row[None, :] + grand
        cross_row = gram[held][:, train].mean(1)
        cross = gram[held][:, train] - cross_row[:, None] - row[None, :] + grand
        norms = gram.diagonal()[held] - 2 * cross_row + grand
        values, vectors = torch.linalg.eigh(inner)
        order = values.argsort(descending=True)[:limit]
        # Components of zero variance (duplicate images) have no direction; they get no projection.
        usable = values[order] > 1e-9 * values.max().clamp_min(1e-30)
        projections = (cross @ vectors[:, order]) / values[order].clamp_min(1e-30).sqrt()
        along += (projections * usable).square().sum(0)
        total += norms.sum()
    along, total = along / count, total / count
    rest = (total - along.cumsum(0)) / (dimension - torch.arange(1, limit + 1, dtype=gram.dtype))
    rest = torch.cat([(total / dimension)[None], rest]).clamp_min(1e-6)
    left = total - along.cumsum(0) + along  # variance not yet described when a component's turn comes
    below = ((along <= rest[1:]) | (along < least_gain * left)).nonzero()
    kept = int(below[0]) if len(below) else limit
    return along[:kept], rest[kept]
