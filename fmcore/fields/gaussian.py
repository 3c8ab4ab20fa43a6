"""The exact velocity field of a Gaussian whose covariance is principal components plus isotropic rest.

For data ``x1 ~ N(m, S)`` and the affine path, ``x_t ~ N(t m, C_t)`` with
``C_t = (1 - t)^2 I + t^2 S``, and conditioning the Gaussian pair ``(x1 - x0, x_t)`` gives

    v(x, t) = m + (t S - (1 - t) I) C_t^{-1} (x - t m).

With ``S = U diag(lambda) U^T + s (I - U U^T)`` all matrices share one eigenbasis, so a direction of
variance ``a`` is multiplied by the scalar ``gain(a, t) = (t a - (1 - t)) / ((1 - t)^2 + t^2 a)``.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from fmcore.errors import DataError
from fmcore.path import expand_time


class GaussianField(torch.nn.Module):
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
        return self.mean + self._scale_directions(x, t, _gain)

    def whiten(self, x: Tensor, t: float | Tensor) -> Tensor:
        """``C_t^{-1/2} (x - t m)``, shaped as ``x``: unit variance in every direction where the field is right."""
        return self._scale_directions(x, t, lambda variance, time: _state_variance(variance, time).rsqrt())

    def _scale_directions(self, x: Tensor, t: float | Tensor, factor: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """``x - t m`` with each eigendirection of ``S`` multiplied by ``factor(variance, t)``."""
        time = expand_time(t, x.flatten(1))
        centred = (x - expand_time(t, x) * self.mean).flatten(1)
        rest = factor(self.rest, time)
        along = (centred @ self.components.T) * (factor(self.variances, time) - rest)
        return torch.addcmul(along @ self.components, rest, centred).view_as(x)

    def denoise(self, x: Tensor, t: float | Tensor) -> Tensor:
        """Posterior mean ``E[x1 | x_t = x] = x + (1 - t) v(x, t)``, shaped as ``x``."""
        return x + (1 - expand_time(t, x)) * self(x, t)

    def residual_variance(self, t: Tensor) -> Tensor:
        """Mean over dimensions of ``Var(u | x_t)``, shaped as ``t``: the field's own expected loss at t.

        Along a direction of variance ``a`` it is ``a / ((1 - t)^2 + t^2 a)``.
        """
        time = t.reshape(-1, 1)
        spread = (1 - time) ** 2
        along = (self.variances / (spread + time**2 * self.variances)).sum(1)
        others = self.mean.numel() - len(self.variances)
        rest = self.rest / (spread[:, 0] + time[:, 0] ** 2 * self.rest)
        return ((along + others * rest) / self.mean.numel()).reshape(t.shape)

    def total_variance(self) -> Tensor:
        """Mean variance per dimension, ``tr(S) / D``."""
        others = self.mean.numel() - len(self.variances)
        return (self.variances.sum() + others * self.rest) / self.mean.numel()


def _gain(variance: Tensor, time: Tensor) -> Tensor:
    return (time * variance - (1 - time)) / _state_variance(variance, time)


def _state_variance(variance: Tensor, time: Tensor) -> Tensor:
    """Variance of ``x_t`` along a direction in which the data have ``variance``."""
    return (1 - time) ** 2 + time**2 * variance


def fit_gaussian(images: Tensor, *, components: int = 100, folds: int = 5, seed: int = 0) -> GaussianField:
    """Fit a `GaussianField` to images ``(N, *shape)``, N >= 2, calibrated for images it has not seen.

    Variances measured on the images that chose the components are too large along the leading ones and
    too small in the rest, the more so the fewer images there are. So the directions come from all
    images, but their variances and the rest are measured on held-out folds, and only components whose
    held-out variance exceeds the rest are kept, at most ``components`` of them.

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
    variances, rest = _held_out_spectrum(gram, dimension, min(folds, count), components, seed)
    values, vectors = torch.linalg.eigh(gram)
    order = values.argsort(descending=True)[: len(variances)]
    scale = values[order].clamp_min(1e-12).sqrt()
    basis = (vectors[:, order] / scale).T.float() @ centred
    return GaussianField(mean.view(images.shape[1:]), basis, variances.float(), rest.float())


def _held_out_spectrum(gram: Tensor, dimension: int, folds: int, limit: int, seed: int) -> tuple[Tensor, Tensor]:
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
    below = (along <= rest[1:]).nonzero()
    kept = int(below[0]) if len(below) else limit
    return along[:kept], rest[kept]
