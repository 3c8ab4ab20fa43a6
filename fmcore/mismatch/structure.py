"""The structural mismatch: how far the velocity disagrees with a path, in units of the contrast around each pixel.

The squared gap ``D = |r|^2`` of Eq. 2, ``r = v(x_t, t) - (y - x0)``, is large where an image has much contrast, and a
faint scratch on a plain surface stays below what any speck leaves. A patch smoother than it should be leaves hardly
any gap at all. Both show when the gap is compared with the contrast that is there. With ``var`` the variance under a
Gaussian window around a pixel and ``y + (1 - t) r`` the end point that the field predicts,

    S = sum over channels of  var(r) / (var(y) + var(y + (1 - t) r) + C2),

which is ``1 - cs(y, y + (1 - t) r)`` over ``(1 - t)^2``, the same step to velocities by which ``|r|^2`` follows from a
difference of images; ``cs`` is the contrast-structure part of SSIM (Wang et al. 2004), with their window and constant.

Alone it is the worse measure: it knows nothing of the size of a difference, and a gap that is constant over the
window, a flat change of colour, has ``S = 0`` but at its edges. `fmcore.mismatch.mismatch` takes ``D^(1 - p) S^p`` with ``p``
from 0, the paper's mismatch, to 1; the recommended geometric mean, 1/2, needs no weight to be tuned to the units of
either.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from fmcore.errors import SettingsError

SIGMA = 1.5  # of the window, in pixels
RADIUS = 5  # of the window, in pixels
CONSTANT = (0.03 * 2) ** 2  # SSIM's C2 for images whose values span 2


class StructuralMismatch:
    """``S`` of gaps along paths to one image ``(C, H, W)`` in [-1, 1]; its own contrast is measured once.

    Raises:
        SettingsError: if a side is not longer than the radius of the window.
    """

    def __init__(self, image: Tensor):
        if min(image.shape[-2:]) <= RADIUS:
            raise SettingsError(
                f"An image of {image.shape[-1]} x {image.shape[-2]} pixels is too small for a structural mismatch: "
                f"set structure = 0, or give at least {RADIUS + 1} pixels a side."
            )
        self.image = image.float()
        self.mean = local_mean(self.image)
        self.contrast = (local_mean(self.image.square()) - self.mean.square()).clamp_min(0)

    def __call__(self, gap: Tensor, t: float) -> Tensor:
        """Gaps ``(K, C, H, W)`` at ``t`` in (0, 1) -> ``(K, H, W)``, from 0 to ``2 / (1 - t)^2`` per channel."""
        mean = local_mean(gap)
        spread = (local_mean(gap.square()) - mean.square()).clamp_min(0)
        shared = local_mean(self.image * gap) - self.mean * mean
        predicted = (self.contrast + (1 - t) ** 2 * spread + 2 * (1 - t) * shared).clamp_min(0)
        return (spread / (self.contrast + predicted + CONSTANT)).sum(1)


def local_mean(images: Tensor) -> Tensor:
    """Mean of ``(..., H, W)`` under the window around each pixel, edges reflected."""
    rows, columns = (_window(side).to(images) for side in images.shape[-2:])
    return rows @ images @ columns.mT


@functools.lru_cache(maxsize=16)
def _window(side: int) -> Tensor:
    """The mean along one axis as a matrix ``(side, side)``: several times as fast here as a convolution."""
    offsets = torch.arange(-RADIUS, RADIUS + 1)
    weights = torch.exp(-0.5 * (offsets.double() / SIGMA).square())
    places = (torch.arange(side)[:, None] + offsets).abs()
    places = (side - 1) - (side - 1 - places).abs()
    return torch.zeros(side, side, dtype=torch.double).scatter_add_(
        1, places, (weights / weights.sum()).expand(side, -1)
    )
