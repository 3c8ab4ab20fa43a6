"""The exact velocity field of a Gaussian mixture: sums over components k, each a Gaussian, weighted by the
responsibilities ``r_k(x, t) = P(k | x_t = x)``, a softmax of ``log weight_k + log p_{k,t}(x)``:

    p_t = sum_k weight_k p_{k,t},    v = sum_k r_k v_k,
    Cov(u | x_t) = sum_k r_k (Cov_k + (v_k - v)(v_k - v)^T),

with ``v_k``, ``Cov_k`` and ``p_{k,t}`` those of one Gaussian (`fmcore.fields.gaussian`)."""

from __future__ import annotations

import torch
from torch import Tensor

from fmcore.fields.field import ExactField
from fmcore.fields.gaussian import Covariance, posterior_spread, velocity_gain
from fmcore.path import expand_time


class MixtureField(ExactField):
    """Velocity field of ``sum_k weight_k N(m_k, S_k)``, each ``S_k`` principal components plus isotropic rest: positive
    ``weights`` ``(M,)``, scaled to sum to one, ``means`` ``(M, *shape)``, ``components`` ``(M, k, D)`` orthonormal rows
    for each, k >= 0, ``variances`` ``(M, k)`` along them, and ``rest`` ``(M,)``, that of all other directions.
    A call needs memory for ``M B D`` numbers, `sample` for ``count k D``."""

    def __init__(self, weights: Tensor, means: Tensor, components: Tensor, variances: Tensor, rest: Tensor):
        super().__init__()
        shares = weights.double() / weights.double().sum()
        parts = {"weights": shares, "means": means, "components": components, "variances": variances, "rest": rest}
        for name, value in parts.items():
            self.register_buffer(name, value.float())

    @classmethod
    def isotropic(cls, weights: Tensor, means: Tensor, variances: Tensor) -> MixtureField:
        """Components ``N(m_k, variances_k I)``: weights and variances ``(M,)``, means ``(M, *shape)``."""
        none = means.new_zeros(len(means), 0, means.shape[1:].numel())
        return cls(weights, means, none, none[..., 0], variances)

    def by_component(self, x: Tensor, t: float | Tensor) -> tuple[Tensor, Tensor]:
        """``log (weight_k p_{k,t}(x))`` ``(M, B)`` and ``v_k(x, t)`` ``(M, B, D)``."""
        flat, means = x.flatten(1), self.means.flatten(1)[:, None]
        time = expand_time(t, flat)
        centred = flat - time * means
        joint = self.weights.log()[:, None] + self.covariance.log_normal(centred, time)
        return joint, means + self.covariance.apply(centred, time, velocity_gain)

    def forward(self, x: Tensor, t: float | Tensor) -> Tensor:
        joint, velocities = self.by_component(x, t)
        return (joint.softmax(0)[..., None] * velocities).sum(0).view_as(x)

    def log_density(self, x: Tensor, t: float | Tensor) -> Tensor:
        return self.by_component(x, t)[0].logsumexp(0)

    def posterior_variance(self, x: Tensor, t: float | Tensor) -> Tensor:
        joint, velocities = self.by_component(x, t)
        shares = joint.softmax(0)[..., None]
        within = self.covariance.diagonal(expand_time(t, x.flatten(1)), posterior_spread)
        between = (velocities - (shares * velocities).sum(0)).square()
        return (shares * (within + between)).sum(0).view_as(x)

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        chosen = torch.multinomial(self.weights.cpu(), count, replacement=True, generator=generator)
        means, *parts = (each[chosen.to(each.device)] for each in (self.means, *self.covariance))
        noise = torch.randn(means.shape, generator=generator, dtype=means.dtype).to(means.device)
        return means + Covariance(*parts).draw(noise.flatten(1)[:, None]).view(means.shape)

    @property
    def covariance(self) -> Covariance:
        """The M covariances ``S_k``."""
        return Covariance(self.components, self.variances[:, None], self.rest[:, None, None])
