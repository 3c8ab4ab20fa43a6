"""A mixture per place: overlapping patches, each with the posterior mean of the training patches there, averaged.

At every patch position the law of the patch is a kernel estimate: a Gaussian of standard deviation ``width`` around
each training patch of that place and of places up to ``reach`` pixels beside it. Given the patch ``x`` of the state,
with ``c_i`` the training patches and ``s_t = (1 - t)^2 + t^2 width^2``,

    r_i  proportional to  exp(-|x - t c_i|^2 / (2 s_t)),     m = sum_i r_i c_i,
    E[patch of x1 | x] = m + (t width^2 / s_t) (x - t m).

What is exact: each of these is the posterior mean for the patch's mixture. What is not: a pixel's velocity is the
mean over the patches that hold it, each of which has seen its own patch only; there is no law of the whole image
behind it, so this is no `ExactField`. One patch that covers the image, with ``width`` near 0 and no reach, is the
`EmpiricalField` of the images. Nothing is trained, but every call compares with all training patches of a place: it
is slower than a `PatchGaussianField`, and reaches further where places have several looks.
"""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor

from fmcore.errors import DataError, SettingsError
from fmcore.path import expand_time

_PLACES = 64  # places handled at once: bounds the memory of a call


class PatchMixtureField(torch.nn.Module):
    """Velocity field of overlapping patch mixtures for images ``(B, C, H, W)``; times are below 1 for ``width`` 0.

    Args:
        images: ``(N, C, H, W)`` normal images in [-1, 1]; all their patches are kept.
        patch, stride: side and step of the patches; ``(H - patch)`` and ``(W - patch)`` are multiples of ``stride``.
        reach: patches shifted by up to this many pixels belong to a place too.
        width: standard deviation of the kernel, in units of the range [-1, 1].

    Raises:
        DataError: for an empty batch. SettingsError: for patches that do not tile the image, or a negative width.
    """

    def __init__(
        self, images: Tensor, *, patch: int = 4, stride: int | None = None, reach: int = 1, width: float = 0.05
    ):
        super().__init__()
        if not len(images):
            raise DataError("A patch mixture needs at least one image: add good images.")
        stride = stride or max(1, patch // 2)
        shape = tuple(images.shape[1:])
        fits = 1 <= stride <= patch <= min(shape[1:]) and not any((side - patch) % stride for side in shape[1:])
        if not fits:
            raise SettingsError(f"Patches of {patch} with stride {stride} do not tile {shape[1]} x {shape[2]}.")
        if reach < 0 or width < 0:
            raise SettingsError("Settings 'reach' and 'width' of a patch mixture must not be negative.")
        self.shape, self.patch, self.stride, self.width = shape, patch, stride, width
        padded = F.pad(images.float(), [reach] * 4, mode="reflect") if reach else images.float()
        shifts = itertools.product(range(2 * reach + 1), repeat=2)
        known = [self._unfold(padded[:, :, y : y + shape[1], x : x + shape[2]]) for y, x in shifts]
        self.register_buffer("known", torch.cat(known, 1))  # (L, N (2 reach + 1)^2, D)
        self.register_buffer("counts", self._fold(torch.ones(1, self.known.shape[2], len(self.known))))

    def denoise(self, x: Tensor, t: float | Tensor) -> Tensor:
        """The averaged posterior means of ``x1``, shaped as ``x``."""
        patches, time = self._unfold(x), expand_time(t, x.flatten(1))
        spread = (1 - time) ** 2 + (time * self.width) ** 2
        means = []
        for state, known in zip(patches.split(_PLACES), self.known.split(_PLACES), strict=True):
            # |x - t c|^2 without its part in x alone, which the softmax does not see.
            inner = time * (state @ known.mT) - time**2 / 2 * known.square().sum(-1)[:, None]
            mean = (inner / spread).softmax(-1) @ known
            means.append(mean + time * self.width**2 / spread * (state - time * mean))
        return self._fold(torch.cat(means).permute(1, 2, 0)) / self.counts

    def forward(self, x: Tensor, t: float | Tensor) -> Tensor:
        """Velocity ``(E[x1 | x_t] - x_t) / (1 - t)``, shaped as ``x``, at times below 1."""
        # Times so near 1 that the quotient is rounding alone are moved away from it.
        return (self.denoise(x, t) - x) / (1 - expand_time(t, x)).clamp_min(1e-3)

    def _unfold(self, x: Tensor) -> Tensor:
        return F.unfold(x, self.patch, stride=self.stride).permute(2, 0, 1)

    def _fold(self, patches: Tensor) -> Tensor:
        return F.fold(patches, self.shape[1:], self.patch, stride=self.stride)
