"""Gaussian tiles beside a network (`PathSettings.tiles`): how large they are, what they see, and their fit."""

from __future__ import annotations

from torch import Tensor

from fmcore.fields.tiled import TiledField, fit_tiled_gaussian

FINEST = 256  # pixels per side that tiles are fitted to


def tile_side(view: int) -> int:
    """Pixels per side of the tiles of an image of ``view`` pixels: half of them, so that nine tiles overlap."""
    return view // 2


def recommended_view(size: int) -> int:
    """Pixels per side of an image as the tiles see it, beside a network that sees ``size``: twice as many, up to 256.
    A closed form costs little there, and faint, fine defects are lost at the network's size."""
    return max(size, min(2 * size, FINEST))


def view_sizes(size: int, view: int) -> tuple[int, ...]:
    """The sizes at which an image is needed, the last being what tiles see: one where they see what the network does,
    or where there are none (``view`` 0)."""
    return (size,) if view in (0, size) else (size, view)


def recommended_sizes(size: int, *, tiles: bool) -> tuple[int, ...]:
    """`view_sizes` for a fit, with or without tiles."""
    return view_sizes(size, recommended_view(size) if tiles else 0)


def fit_tiles(images: Tensor, *, components: int = 100, seed: int = 0) -> TiledField:
    """Tiles half as wide as the images ``(N, C, H, H)`` that they see, of which there are at least two.

    They keep all components, at most ``components``: nothing is trained on what they leave over. Components are
    rounded to float16, in which they are stored: of a model they are by far the largest part.
    """
    tiled = fit_tiled_gaussian(images, tile=tile_side(images.shape[-1]), components=components, seed=seed)
    for field in tiled.fields:
        field.components.copy_(field.components.half())
    return tiled
