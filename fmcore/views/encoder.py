"""Feature maps of a pretrained encoder: the space in which unlike parts and textures have a simple law.

The maps of several depths are brought to one grid (averaged down, interpolated up) `FINER` than that of the view, every
place takes the mean of its 3 x 3 neighbourhood, and what falls on a place of the view is averaged. Each channel is
brought to mean 0 and deviation `SPREAD` over the set. Noise, paths and velocities then live in *this*
space: ``x0`` is noise in feature space, and a path from it to a picture's features is no fading picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field as Range
from torch import Tensor

from fmcore.data.picture import Picture
from fmcore.errors import ModelError
from fmcore.views.encoders import DEFAULT, load_encoder
from fmcore.views.view import VIEWS, View, sides_of

SPREAD = 2.0  # of a channel, in units of the noise
FINER = 4 / 3  # per side
MOST_ENLARGED = 2.0  # pictures are not enlarged further: it adds no detail, and moves what the encoder sees

Resolution = Annotated[int, Range(ge=64, le=1024, description="pixels: square root of the area the encoder sees")]
Places = Annotated[int, Range(ge=16, le=4096, description="cells of the grid, about")]
Name = Annotated[str, Range(description="pretrained encoder, a Hub id or folder for transformers; none: pixels")]


@VIEWS.register
class EncoderView(View):
    """Standardised feature maps on one grid; see `fit`."""

    kind = "encoder"
    closed_form = "place-gaussian"
    paths = 0

    def __init__(
        self, encoder: str, digest: str, channels: int, height: int, width: int, pixel_height: int, pixel_width: int
    ):
        """Raises `ModelError` if the encoder cannot be had, or has other weights than the stored ones."""
        super().__init__(
            encoder=encoder,
            digest=digest,
            channels=channels,
            height=height,
            width=width,
            pixel_height=pixel_height,
            pixel_width=pixel_width,
        )
        found = load_encoder(encoder).digest
        if found != digest:
            raise ModelError(
                f"The encoder '{encoder}' has other weights here than those this model was fitted with (SHA-256 "
                f"{found[:12]} instead of {digest[:12]}): install the same ones, or fit the model again."
            )
        self.encoder = encoder
        self.channels, self.height, self.width = channels, height, width
        self.pixel_height, self.pixel_width = pixel_height, pixel_width
        self.register_buffer("mean", torch.zeros(channels, 1, 1))
        self.register_buffer("scale", torch.ones(channels, 1, 1))

    @classmethod
    def fit(
        cls,
        sample: Sequence[Picture],
        height: int,
        width: int,
        gray: bool,
        *,
        encoder: Name = DEFAULT,
        resolution: Resolution = 384,
        places: Places = 576,
    ) -> EncoderView:
        """Input and grid follow the median aspect ratio; pictures are enlarged by `MOST_ENLARGED` at the most."""
        loaded = load_encoder(encoder)
        area = min(resolution**2, MOST_ENLARGED**2 * height * width)
        pixel_height, pixel_width = sides_of(area, height, width, loaded.step)
        grid = sides_of(places, pixel_height, pixel_width, 1)
        raw = [_features(loaded.maps, p, pixel_height, pixel_width, grid, torch.device("cpu")) for p in sample]
        view = cls(encoder, loaded.digest, len(raw[0]), *grid, pixel_height, pixel_width)
        values = torch.stack(raw)
        view.mean.copy_(values.mean((0, 2, 3))[:, None, None])
        view.scale.copy_(values.std((0, 2, 3))[:, None, None].clamp_min(1e-6) / SPREAD)
        return view

    def forward(self, picture: Picture) -> Tensor:
        encoder = load_encoder(self.encoder).to(self.device)
        raw = _features(encoder.maps, picture, self.pixel_height, self.pixel_width, self.shape[1:], self.device)
        return (raw - self.mean) / self.scale

    @property
    def smoothing(self) -> float:
        return 0.5

    @property
    def device(self) -> torch.device:
        return self.mean.device

    def describe(self) -> str:
        return (
            f"{self.channels} channels of {self.encoder} on {self.width} x {self.height} places, pictures at "
            f"{self.pixel_width} x {self.pixel_height}"
        )


def _features(maps, picture: Picture, height: int, width: int, grid: tuple[int, int], device: torch.device) -> Tensor:
    """Feature maps ``(C, *grid)`` of a picture shown at ``height`` x ``width`` pixels, not standardised."""
    with torch.no_grad():
        found = maps(picture.resized(height, width, 3)[None].to(device))
        fine = tuple(round(FINER * side) for side in grid)
        joined = torch.cat([_on_grid(each, fine) for each in found], 1)
        smooth = F.avg_pool2d(joined, 3, 1, 1, count_include_pad=False)
        return F.adaptive_avg_pool2d(smooth, grid)[0].contiguous()


def _on_grid(values: Tensor, grid: tuple[int, int]) -> Tensor:
    if values.shape[2] >= grid[0] and values.shape[3] >= grid[1]:
        return F.adaptive_avg_pool2d(values, grid)
    return F.interpolate(values, grid, mode="bilinear", align_corners=False)
