"""What the closed-form fields share: `ExactField`, and the linear algebra of a low-rank `Covariance`.

A covariance ``S`` of the data and ``C_t = (1 - t)^2 I + t^2 S`` of the state have one eigenbasis, so every
matrix function needed here multiplies an eigendirection of variance ``a`` by a scalar function of a and t."""

from __future__ import annotations

import abc
import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from fmcore.errors import SettingsError
from fmcore.path import expand_time

Factor = Callable[[Tensor, Tensor], Tensor]


class ExactField(torch.nn.Module, abc.ABC):
    """Velocity field ``v(x, t) = E[u | x_t = x]``, shaped as ``x``, of a law whose ``p_t`` is known in closed form. The
    states ``x`` are ``(B, *shape)``, of the field's dtype (float32, or float64 after ``.double()``), the times ``t`` a
    float or ``(B,)``."""

    @abc.abstractmethod
    def log_density(self, x: Tensor, t: float | Tensor) -> Tensor:
        """``log p_t(x)`` in nats, ``(B,)``, with ``p_t`` the law of ``x_t = (1 - t) x0 + t x1``."""

    @abc.abstractmethod
    def posterior_variance(self, x: Tensor, t: float | Tensor) -> Tensor:
        """Diagonal of ``Cov(u | x_t = x) = Cov(x1 | x_t = x) / (1 - t)^2``, shaped as ``x``, never negative."""

    @abc.abstractmethod
    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """``count`` independent draws of the data ``x1``, ``(count, *shape)``."""

    def score(self, x: Tensor, t: float | Tensor) -> Tensor:
        """``grad log p_t(x) = (t v(x, t) - x) / (1 - t)``, shaped as ``x``; `SettingsError` for t outside [0, 1)."""
        require_before_data(t)
        time = expand_time(t, x)
        return (time * self(x, t) - x) / (1 - time)

    def denoise(self, x: Tensor, t: float | Tensor) -> Tensor:
        """Posterior mean ``E[x1 | x_t = x] = x + (1 - t) v(x, t)``."""
        return x + (1 - expand_time(t, x)) * self(x, t)

    def posterior_covariance_trace(self, x: Tensor, t: float | Tensor) -> Tensor:
        """``tr Cov(u | x_t = x)``, ``(B,)``: the squared error no field can avoid at this state."""
        return self.posterior_variance(x, t).flatten(1).sum(1)


class Covariance(NamedTuple):
    """``S = U diag(variances) U^T + rest (I - U U^T)`` or M of them, and functions ``f(S, t)`` by their eigenvalues.

    Shapes are ``(k, D)``, ``(k,)`` and ``(1,)``, or ``(M, k, D)``, ``(M, 1, k)`` and ``(M, 1, 1)``; ``time`` is
    0-d or ``(B, 1)``, and ``factor(variance, time)`` is ``f`` of one eigenvalue. Results have M in front where there
    are M."""

    components: Tensor
    variances: Tensor
    rest: Tensor

    def apply(self, centred: Tensor, time: Tensor, factor: Factor) -> Tensor:
        """``f(S, t)`` times each row of ``centred`` ``(..., B, D)``."""
        rest = factor(self.rest, time)
        along = (centred @ self.components.mT) * (factor(self.variances, time) - rest)
        return torch.addcmul(along @ self.components, rest, centred)

    def diagonal(self, time: Tensor, factor: Factor) -> Tensor:
        """Diagonal of ``f(S, t)``: ``(D,)`` or ``(B, D)``."""
        rest = factor(self.rest, time)
        return (factor(self.variances, time) - rest) @ self.components.square() + rest

    def trace(self, time: Tensor, factor: Factor) -> Tensor:
        """Trace of ``f(S, t)``: 0-d or ``(B,)``."""
        others = self.components.shape[-1] - self.components.shape[-2]
        return factor(self.variances, time).sum(-1) + others * factor(self.rest, time)[..., 0]

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """``count`` draws ``S^{1/2} z`` of one ``N(0, S)``, ``(count, D)``; z is made on the CPU."""
        like = self.components
        noise = torch.randn(count, like.shape[-1], generator=generator, dtype=like.dtype).to(like.device)
        return self.apply(noise, noise.new_zeros(()), lambda variance, time: variance.sqrt())

    def log_normal(self, centred: Tensor, time: Tensor) -> Tensor:
        """``log N(x_t; t m, C_t)`` at ``centred = x_t - t m`` ``(..., B, D)``: ``(..., B)``."""
        energy = self.apply(centred, time, whitening_gain).square().sum(-1)
        log_determinant = self.trace(time, lambda variance, time: state_variance(variance, time).log())
        return -0.5 * (energy + log_determinant + centred.shape[-1] * math.log(2 * math.pi))


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


def require_before_data(t: float | Tensor) -> None:
    """Raise `SettingsError` unless all times are in [0, 1), where the noise still has a width."""
    times = torch.as_tensor(t)
    if not bool(((times >= 0) & (times < 1)).all()):
        raise SettingsError(f"Time t = {t} is not usable: it must be in [0, 1), 0 noise and 1 data.")
