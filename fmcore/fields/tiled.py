"""A large image as overlapping tiles: any field of small images becomes one of large ones.

The state is cut into tiles, each tile's velocity comes from its own field or from a shared one, and where tiles
overlap the velocities are averaged with weights that fall linearly to (nearly) zero at a tile's edge,

    v(x, t) = sum_l w_l v_l(x_l, t) / sum_l w_l,

so that no seam shows: next to its edge a tile hardly counts. Noise restricted to a tile is white if the noise of the
image is, so each ``v_l`` is the velocity of its tile given that tile alone; the average is, as with patches, the field
of no law of the whole image. A shared field suits textures; fields of their own suit aligned objects.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from fmcore.errors import SettingsError
from fmcore.fields.gaussian import fit_gaussian
from fmcore.fields.source import source_of
from fmcore.mismatch.mismatch import VelocityField
from fmcore.path import expand_time


class TiledField:
    """Velocity field ``(x, t) -> v`` for images ``(B, C, H, W)`` of at least one tile.

    Args:
        fields: one field for every tile, or a sequence of one per tile, row by row.
        tile: pixels per side of a tile.
        overlap: least share of a tile that its neighbour shares, from 0 to below 1. Tiles are spread evenly.

    Raises:
        SettingsError: for sizes that are not usable, or fields whose noise is not white. When called: for a state
            smaller than a tile, or a number of tiles other than that of the fields.
    """

    def __init__(self, fields: VelocityField | Sequence[VelocityField], tile: int, *, overlap: float = 0.5):
        if tile < 1:
            raise SettingsError(f"Setting 'tile' = {tile} is not usable: it must be at least 1.")
        if not 0 <= overlap < 1:
            raise SettingsError(f"Setting 'overlap' = {overlap} is not usable: it must be from 0 to below 1.")
        self.shared = not isinstance(fields, Sequence)
        self.fields = (fields,) if self.shared else tuple(fields)
        self.tile, self.overlap = tile, overlap
        if any(source_of(field) != "white" for field in self.fields):
            raise SettingsError("Tiles need fields of white noise: fit them with the source 'white'.")

    def __call__(self, x: Tensor, t: float | Tensor) -> Tensor:
        """Velocity shaped as ``x``; ``t`` a float or ``(B,)``."""
        corners = tile_corners(*x.shape[-2:], self.tile, self.overlap)
        fields = self.fields * len(corners) if self.shared else self.fields
        if len(fields) != len(corners):
            raise SettingsError(
                f"An image of {x.shape[-1]} x {x.shape[-2]} pixels has {len(corners)} tiles, "
                f"but there are {len(fields)} fields: give one field per tile."
            )
        ramp = 1 - (2 * (torch.arange(self.tile, device=x.device) + 0.5) / self.tile - 1).abs()
        weight = ramp[:, None] * ramp
        total, weights = torch.zeros_like(x), x.new_zeros(x.shape[-2:])
        for field, (top, left) in zip(fields, corners, strict=True):
            place = (..., slice(top, top + self.tile), slice(left, left + self.tile))
            total[place] += weight * field(x[place], t)
            weights[place] += weight
        return total / weights

    def to(self, device: str | torch.device) -> TiledField:
        """Itself, its fields (modules) moved there."""
        for field in self.fields:
            field.to(device)
        return self

    def denoise(self, x: Tensor, t: float | Tensor) -> Tensor:
        """The averaged estimates of the clean image ``x + (1 - t) v(x, t)``, shaped as ``x``."""
        return x + (1 - expand_time(t, x)) * self(x, t)


def tile_corners(height: int, width: int, tile: int, overlap: float = 0.5) -> list[tuple[int, int]]:
    """Upper left corners of the tiles of an image, row by row; as few as reach the wanted overlap.

    Raises:
        SettingsError: if the image is smaller than a tile.
    """
    if min(height, width) < tile:
        raise SettingsError(
            f"An image of {width} x {height} pixels is smaller than a tile of {tile}: give smaller tiles."
        )
    rows, columns = (_starts(side, tile, overlap) for side in (height, width))
    return [(top, left) for top in rows for left in columns]


def fit_tiled_gaussian(
    images: Tensor, *, tile: int, overlap: float = 0.5, components: int = 100, seed: int = 0
) -> TiledField:
    """A `GaussianField` of its own, of at most ``components``, for every tile of images ``(N, C, H, W)`` in [-1, 1].

    Raises:
        SettingsError: for images smaller than a tile. DataError: for fewer than two images.
    """
    fields = [
        fit_gaussian(images[..., top : top + tile, left : left + tile].contiguous(), components=components, seed=seed)
        for top, left in tile_corners(*images.shape[-2:], tile, overlap)
    ]
    return TiledField(fields, tile, overlap=overlap)


def _starts(side: int, tile: int, overlap: float) -> list[int]:
    step = max(1, math.floor(tile * (1 - overlap) + 1e-9))
    count = 1 + math.ceil((side - tile) / step)
    return [round(i * (side - tile) / max(1, count - 1)) for i in range(count)]
