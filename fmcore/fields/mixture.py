"""The exact velocity field of a Gaussian mixture.

Given its component k the data are Gaussian, so everything is a sum over components weighted by the
responsibilities ``r_k(x, t) = P(k | x_t = x)``, a softmax of ``log weight_k + log p_{k,t}(x)``:

    p_t = sum_k weight_k p_{k,t},    v = sum_k r_k v_k,
    Cov(u | x_t) = sum_k r_k (Cov_k + (v_k - v)(v_k - v)^T),

with ``v_k``, ``Cov_k`` and ``p_{k,t}`` those of the component's `GaussianField`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fmcore.errors import DataError, SettingsError
from fmcore.fields.exact import Covariance, ExactField, posterior_spread, velocity_gain
from fmcore.fields.gaussian import GaussianField
from fmcore.path import expand_time


class MixtureField(ExactField):
    """Velocity field of ``sum_k weight_k N(m_k, S_k)``, each ``S_k`` principal components plus isotropic rest.

    A call needs memory for ``M B D`` numbers; split larger batches.

    Args:
        weights: ``(M,)`` positive; they are scaled to sum to one.
        means: ``(M, *shape)``, points or images.
        components: ``(M, k, D)`` orthonormal rows, ``D = prod(shape)``; k may be 0. A row of zeros is no
            component, so that mixtures can have components of different rank.
        variances: ``(M, k)`` variance along each row, positive; ``rest`` where the row is zero.
        rest: ``(M,)`` variance in every other direction, positive.

    Raises:
        DataError: for shapes that do not fit together, or means that are not finite.
        SettingsError: for weights or variances that are not positive, or rows that are not orthonormal.
    """

    def __init__(self, weights: Tensor, means: Tensor, components: Tensor, variances: Tensor, rest: Tensor):
        super().__init__()
        _check(weights, means, components, variances, rest)
        self.register_buffer("weights", (weights.double() / weights.double().sum()).float())
        self.register_buffer("means", means.float())
        self.register_buffer("components", components.float())
        self.register_buffer("variances", variances.float())
        self.register_buffer("rest", rest.float())

    @classmethod
    def isotropic(cls, weights: Tensor, means: Tensor, variances: Tensor) -> MixtureField:
        """Components ``N(m_k, variances_k I)``: weights and variances ``(M,)``, means ``(M, *shape)``."""
        count = len(means)
        none = means.new_zeros(count, 0, means.shape[1:].numel())
        return cls(weights, means, none, means.new_zeros(count, 0), variances)

    @classmethod
    def full(cls, weights: Tensor, means: Tensor, covariances: Tensor) -> MixtureField:
        """Components ``N(m_k, covariances_k)``: covariances ``(M, D, D)``, symmetric and positive definite.

        Raises:
            DataError: for covariances of another shape, or not symmetric.
        """
        dimension = means.shape[1:].numel()
        if covariances.shape != (len(means), dimension, dimension):
            raise DataError(
                f"Covariances of shape {tuple(covariances.shape)} do not fit means of shape {tuple(means.shape)}."
            )
        if not torch.allclose(covariances, covariances.mT, rtol=1e-4, atol=1e-6):
            raise DataError("Every covariance must be a symmetric matrix, but one is not.")
        values, vectors = torch.linalg.eigh(covariances.double())
        # The smallest eigenvalue, which eigh puts first, serves as the rest: only D - 1 rows are stored.
        return cls(weights, means, vectors[..., 1:].mT, values[:, 1:], values[:, 0])

    @classmethod
    def of(cls, weights: Tensor, gaussians: Sequence[GaussianField]) -> MixtureField:
        """A mixture of Gaussian fields of one shape, for instance one per category.

        Raises:
            DataError: for no field, or fields of different shapes.
        """
        if not gaussians or any(g.mean.shape != gaussians[0].mean.shape for g in gaussians):
            raise DataError("A mixture needs at least one Gaussian field, and all of one shape.")
        rank = max(len(g.variances) for g in gaussians)
        dimension = gaussians[0].mean.numel()
        components = torch.stack(
            [torch.cat([g.components, g.mean.new_zeros(rank - len(g.variances), dimension)]) for g in gaussians]
        )
        variances = torch.stack([torch.cat([g.variances, g.rest.expand(rank - len(g.variances))]) for g in gaussians])
        rest = torch.stack([g.rest.reshape(()) for g in gaussians])
        return cls(weights, torch.stack([g.mean for g in gaussians]), components, variances, rest)

    def forward(self, x: Tensor, t: float | Tensor) -> Tensor:
        """Velocity ``(B, *shape)`` at states ``x`` ``(B, *shape)`` and times ``t``, float or ``(B,)``."""
        shares, velocities, _ = self._posterior(x, t)
        return (shares * velocities).sum(0).view_as(x)

    def responsibilities(self, x: Tensor, t: float | Tensor) -> Tensor:
        """``P(component | x_t = x)``, ``(B, M)``, each row summing to one."""
        return self._posterior(x, t)[0][..., 0].T

    def log_density(self, x: Tensor, t: float | Tensor) -> Tensor:
        """``log sum_k weight_k p_{k,t}(x)``, ``(B,)``."""
        return self._log_joint(*self._centred(x, t)).logsumexp(0)

    def posterior_variance(self, x: Tensor, t: float | Tensor) -> Tensor:
        """Diagonal of ``Cov(u | x_t = x)``, shaped as ``x``: spread within the components and between them."""
        shares, velocities, time = self._posterior(x, t)
        within = self.covariance.diagonal(time, posterior_spread)
        between = (velocities - (shares * velocities).sum(0)).square()
        return (shares * (within + between)).sum(0).view_as(x)

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """Draws of the mixture, ``(count, *shape)``, in random order."""
        chosen = torch.multinomial(self.weights.cpu(), count, replacement=True, generator=generator)
        draws = self.means[chosen.to(self.means.device)].flatten(1)
        # One component at a time: gathering every draw's own rows would need count k D numbers.
        for index in chosen.unique().tolist():
            mine = (chosen == index).nonzero()[:, 0].to(draws.device)
            covariance = Covariance(self.components[index], self.variances[index], self.rest[index : index + 1])
            draws[mine] += covariance.draw(len(mine), generator)
        return draws.view(count, *self.means.shape[1:])

    @property
    def covariance(self) -> Covariance:
        """The M covariances ``S_k``."""
        return Covariance(self.components, self.variances[:, None], self.rest[:, None, None])

    def _centred(self, x: Tensor, t: float | Tensor) -> tuple[Tensor, Tensor]:
        """``x - t m_k`` as ``(M, B, D)``, and the time to broadcast against it."""
        flat = x.flatten(1)
        time = expand_time(t, flat)
        return flat - time * self.means.flatten(1)[:, None], time

    def _log_joint(self, centred: Tensor, time: Tensor) -> Tensor:
        """``log weight_k + log p_{k,t}(x)``, ``(M, B)``."""
        return self.weights.log()[:, None] + self.covariance.log_normal(centred, time)

    def _posterior(self, x: Tensor, t: float | Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Responsibilities ``(M, B, 1)``, the components' velocities ``(M, B, D)``, and the time."""
        centred, time = self._centred(x, t)
        shares = self._log_joint(centred, time).softmax(0)[..., None]
        velocities = self.means.flatten(1)[:, None] + self.covariance.apply(centred, time, velocity_gain)
        return shares, velocities, time


def _check(weights: Tensor, means: Tensor, components: Tensor, variances: Tensor, rest: Tensor) -> None:
    count, rank = len(means), components.shape[1] if components.ndim == 3 else 0
    if not count or means.ndim < 2 or not bool(torch.isfinite(means).all()):
        raise DataError("A mixture needs at least one mean, each a point or image of finite numbers.")
    expected = {
        "weights": (weights, (count,)),
        "components": (components, (count, rank, means.shape[1:].numel())),
        "variances": (variances, (count, rank)),
        "rest": (rest, (count,)),
    }
    for name, (value, shape) in expected.items():
        if tuple(value.shape) != shape:
            raise DataError(f"Mixture {name} have shape {tuple(value.shape)}, but {count} means need {shape}.")
    for name, value in {"weights": weights, "variances": variances, "rest variances": rest}.items():
        if not bool((torch.isfinite(value) & (value > 0)).all()):
            raise SettingsError(f"Mixture {name} must all be positive and finite.")
    gram = components @ components.mT
    present = (gram.diagonal(dim1=-2, dim2=-1) > 0).to(gram.dtype)
    if not torch.allclose(gram, torch.diag_embed(present), atol=1e-3):
        raise SettingsError("Mixture components must be orthonormal rows, or rows of zeros.")
