"""What a view is: from a picture to the tensor a field lives on, and from a map of its grid back to the picture."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from fmcore.data.picture import Picture, resize_map
from fmcore.registry import Part, Registry


class View(Part, abc.ABC):
    """``view(picture)`` is a float32 tensor ``(C, H, W)``; `fmcore.mismatch` gives maps ``(H, W)`` of that grid.

    ``closed_form`` names the field that suits this view without training, and is a network's start; ``paths`` is the
    number of noise draws that suits that field (`PathSettings.paths`).
    """

    closed_form: str
    paths: int
    channels: int
    height: int
    width: int

    @classmethod
    @abc.abstractmethod
    def fit(cls, sample: Sequence[Picture], height: int, width: int, gray: bool, **options: Any) -> Self:
        """The view of a set of normal images.

        Args:
            sample: some of them, at least one, for statistics.
            height, width: median size of all.
            gray: whether all are gray.
        """

    @abc.abstractmethod
    def forward(self, picture: Picture) -> Tensor:
        """``(C, H, W)`` float32, on the view's device. One picture at a time, so that nothing depends on a batch."""

    @property
    @abc.abstractmethod
    def smoothing(self) -> float:
        """Blur that suits maps of this view, sigma in cells."""

    @property
    @abc.abstractmethod
    def device(self) -> torch.device: ...

    @abc.abstractmethod
    def describe(self) -> str:
        """In a few words what this view sees, for people."""

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.channels, self.height, self.width

    @staticmethod
    def enlarge(values: np.ndarray, height: int, width: int) -> np.ndarray:
        """A map ``(h, w)`` of the grid at a picture's own size, ``(height, width)`` float32."""
        return resize_map(values, height=height, width=width)


def sides_of(area: float, height: int, width: int, step: int) -> tuple[int, int]:
    """Height and width of about ``area``, of the aspect ratio ``height : width``, both multiples of ``step``."""
    ratio = (height / width) ** 0.5
    high, wide = (max(step, round(area**0.5 * part / step) * step) for part in (ratio, 1 / ratio))
    return high, wide


VIEWS: Registry[type[View]] = Registry("view")
