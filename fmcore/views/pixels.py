"""Pixels: the space of the paper, and of everything that is easy to picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field as Range
from torch import Tensor

from fmcore.data.picture import Picture
from fmcore.views.view import VIEWS, View, sides_of

Size = Annotated[int, Range(ge=32, le=256, description="pixels: square root of the area that the model sees")]


@VIEWS.register
class PixelView(View):
    """The picture itself, resized (antialiased), gray or RGB, in [-1, 1]."""

    kind = "pixels"
    closed_form = "global-gaussian"
    paths = 4

    def __init__(self, channels: int, height: int, width: int):
        super().__init__(channels=channels, height=height, width=width)
        self.smoothing = (height * width) ** 0.5 / 32

    @classmethod
    def fit(cls, sample: Sequence[Picture], height: int, width: int, gray: bool, *, size: Size = 128) -> PixelView:
        """Sides follow the median aspect ratio at equal area."""
        return cls(1 if gray else 3, *sides_of(size**2, height, width, max(1, size // 8)))

    def forward(self, picture: Picture) -> Tensor:
        return picture.resized(self.height, self.width, self.channels).to(self.device)

    def describe(self) -> str:
        return f"{'gray' if self.channels == 1 else 'RGB'} pixels, {self.width} x {self.height}"
