"""What a velocity field is, and what a fitted one that is saved with a model offers besides."""

from __future__ import annotations

import abc
from collections.abc import Callable, Iterable
from typing import Any, Self

from torch import Tensor

from fmcore.registry import Part, Registry

VelocityField = Callable[[Tensor, float | Tensor], Tensor]


class Field(Part, abc.ABC):
    """A fitted velocity field ``(x, t) -> v`` with ``x`` and ``v`` ``(B, C, H, W)``, ``t`` a float or ``(B,)``.

    ``trained`` tells `fmcore.detector.fit` that what `fit` returns is only the start of `fmcore.training`, and that one
    field serves all categories (`conditioned`).
    """

    trained: bool = False

    @classmethod
    @abc.abstractmethod
    def fit(cls, tensors: Iterable[Tensor], **options: Any) -> Self:
        """From the normal images as a view gives them, ``(C, H, W)`` each, read once, in order.

        Raises:
            DataError: for too few of them.
        """


FIELDS: Registry[type[Field]] = Registry("field")
