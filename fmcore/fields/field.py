"""What a velocity field is, what one that is saved with a model offers besides, and what one that is exact does."""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterable
from typing import Any, Self

import torch
from torch import Tensor

from fmcore.errors import SettingsError
from fmcore.path import expand_time
from fmcore.registry import Part, Registry

VelocityField = Callable[[Tensor, float | Tensor], Tensor]


class Field(Part, abc.ABC):
    """A fitted velocity field ``(x, t) -> v`` with ``x`` and ``v`` ``(B, C, H, W)``, ``t`` a float or ``(B,)``.

    ``trained`` tells `fmcore.detector.fit` that what `fit` returns is only the start of `fmcore.training`, and that one
    field serves all categories (`conditioned`)."""

    trained: bool = False

    @classmethod
    @abc.abstractmethod
    def fit(cls, tensors: Iterable[Tensor], **options: Any) -> Self:
        """From the normal images as a view gives them, ``(C, H, W)`` each, read once; `DataError` for too few."""


FIELDS: Registry[type[Field]] = Registry("field")


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

    def posterior_covariance_trace(self, x: Tensor, t: float | Tensor) -> Tensor:
        """``tr Cov(u | x_t = x)``, ``(B,)``: the squared error no field can avoid at this state."""
        return self.posterior_variance(x, t).flatten(1).sum(1)


def require_before_data(t: float | Tensor) -> None:
    """Raise `SettingsError` unless all times are in [0, 1), where the noise still has a width."""
    times = torch.as_tensor(t)
    if not bool(((times >= 0) & (times < 1)).all()):
        raise SettingsError(f"Time t = {t} is not usable: it must be in [0, 1), 0 noise and 1 data.")
