"""What a view is: from a picture to the tensor a field lives on, and from a map of its grid back to the picture."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from fmcore.data.picture import Picture, resize_map
from fmcore.errors import DataError
from fmcore.registry import Part, Registry

MOST_ROI = 1024  # pixels per side at which a region of interest is kept


class View(Part, abc.ABC):
    """``view(picture)`` is a float32 tensor ``(C, H, W)``; `fmcore.mismatch` gives maps ``(H, W)`` of that grid.

    ``closed_form`` names the field that suits this view without training, and is a network's start; ``paths`` is the
    number of noise draws that suits that field (`PathSettings.paths`); ``smoothing`` is the blur that suits its maps,
    sigma in cells. All values of the config are attributes."""

    closed_form: str
    paths: int
    smoothing: float
    channels: int
    height: int
    width: int
    bits: int = 16  # of the values of 16-bit pictures
    roi: Tensor | None  # see `within`
    depth: str = ""  # what to add to `describe` where these are fewer, or some of a set are gray

    def __init__(self, **config: Any):
        super().__init__(**config)
        self.__dict__.update(config)
        self.register_buffer("_place", torch.empty(0), persistent=False)
        self.register_buffer("roi", None)

    def at_depth(self, bits: int) -> Self:
        """Itself, for a set whose 16-bit pictures hold so many bits, as all that it is given from now on."""
        if bits < 16:
            self.bits, self.depth = bits, f", {bits}-bit values in 16-bit files"
            self.config["bits"] = bits
        return self

    def within(self, mask: np.ndarray | None) -> Self:
        """Itself, of a set of which only a region of interest counts: ``mask`` ``(h, w)`` bool, of a picture's shape at
        any size; None: everything. Raises `DataError` if it holds no place of the grid."""
        if mask is not None:
            high, wide = (min(side, MOST_ROI) for side in mask.shape)
            small = Image.fromarray(mask).resize((wide, high), Image.Resampling.NEAREST)
            self.roi = torch.from_numpy(np.array(small)).to(self.device)
            self.config["roi"] = [high, wide]
            if not self.inside(np.ones(self.shape[1:])).any():
                raise DataError("The region of interest is smaller than a place of the model's grid: mark more.")
        return self

    def inside(self, values: np.ndarray) -> np.ndarray:
        """A map ``(h, w)`` of a whole picture, set to 0 outside the region of interest, where there is one."""
        if self.roi is None:
            return values
        mask = Image.fromarray(self.roi.cpu().numpy()).resize(values.shape[::-1], Image.Resampling.NEAREST)
        return values * np.asarray(mask)

    @property
    def roi_of_grid(self) -> np.ndarray | None:
        """``(H, W)`` bool, for `fmcore.mismatch`."""
        return None if self.roi is None else self.inside(np.ones(self.shape[1:], np.float32)) > 0

    def __call__(self, picture: Picture) -> Tensor:
        return super().__call__(picture.of_depth(self.bits))

    def remark(self, picture: Picture) -> str:
        """A sentence where a picture holds larger values than the set that the view is of; or nothing."""
        if picture.largest < 2**self.bits:
            return ""
        held = f"values up to {picture.largest}, but the good images of this model need {self.bits} bits"
        return f"This picture holds {held} (at most {2**self.bits - 1}): what is larger was cut off."

    @classmethod
    @abc.abstractmethod
    def fit(cls, sample: Sequence[Picture], height: int, width: int, gray: bool, **options: Any) -> Self:
        """The view of a set of normal images: ``sample`` is some of them, at least one, for statistics; ``height`` and
        ``width`` are the median size of all; ``gray``: all are."""

    @abc.abstractmethod
    def forward(self, picture: Picture) -> Tensor:
        """``(C, H, W)`` float32, on the view's device. One picture at a time, so that nothing depends on a batch."""

    @abc.abstractmethod
    def describe(self) -> str:
        """In a few words what this view sees, for people."""

    @property
    def device(self) -> torch.device:
        return self._place.device

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


class _Views(Registry[type[View]]):
    def build(self, kind: str, config: dict[str, Any]) -> View:
        view = super().build(kind, {name: value for name, value in config.items() if name not in ("bits", "roi")})
        if sides := config.get("roi"):  # filled from the tensors of the model
            if max(sides) > MOST_ROI:
                raise ValueError("roi")
            view.within(np.ones(sides, bool))
        return view.at_depth(config.get("bits", 16))


VIEWS = _Views("view")
