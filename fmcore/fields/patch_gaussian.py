"""A Gaussian per place: overlapping patches, each with its own closed-form posterior mean, averaged.

Every patch of ``p x p`` pixels on a grid of step ``stride`` has a Gaussian of its own, ``N(m_l, S_l)``. Given the
patch of the state alone, its velocity is exactly that of a `GaussianField`,

    v_l(x, t) = m_l + (t S_l - (1 - t) I) C_t^{-1} (x_l - t m_l),    C_t = (1 - t)^2 I + t^2 S_l,

a Wiener filter in the patch's own basis. What is exact: each ``v_l`` is ``E[u_l | x_l]`` if the patch is Gaussian.
What is not: the velocity of a pixel is the mean of the ``v_l`` of all patches that hold it, and each of these has
seen its own patch only. There is no law of the whole image behind it, so this is no `ExactField`. With one patch
that covers the image the average is over one, and the field is the Gaussian field of that covariance.

A covariance from few images is poor in dimension ``C p^2``. So patches from a neighbourhood of ``reach`` pixels
are pooled (which also forgives small shifts), and each ``S_l`` is drawn towards the mean covariance of all places,
as strongly as makes held-out images most likely.
"""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor

from fmcore.errors import DataError, SettingsError
from fmcore.fields.exact import velocity_gain
from fmcore.path import expand_time

_PRIORS = (0.5, 2.0, 8.0, 32.0)  # weight of the mean covariance, in units of the patch dimension's own
_PROBES = 64  # places on which the prior weight is chosen


class PatchGaussianField(torch.nn.Module):
    """Velocity field of overlapping patch Gaussians for images ``(B, C, H, W)``.

    Args:
        means: ``(L, D)`` patch means, ``D = C p^2``, places in the order of `torch.nn.functional.unfold`.
        bases: ``(L, D, D)`` orthonormal eigenvectors in columns.
        variances: ``(L, D)`` positive eigenvalues.
        shape: ``(C, H, W)`` of the images.
        patch, stride: side and step of the patches; ``(H - patch)`` and ``(W - patch)`` are multiples of ``stride``.

    Raises:
        SettingsError: for patches that do not tile the image, or arrays that do not fit them.
    """

    def __init__(
        self, means: Tensor, bases: Tensor, variances: Tensor, shape: tuple[int, int, int], patch: int, stride: int
    ):
        super().__init__()
        places = _grid(shape, patch, stride)
        dimension = shape[0] * patch**2
        if (means.shape, bases.shape) != ((places, dimension), (places, dimension, dimension)):
            raise SettingsError(f"Patch Gaussians of {shape} images need {places} places of dimension {dimension}.")
        self.shape, self.patch, self.stride = tuple(shape), patch, stride
        self.register_buffer("means", means.float())
        self.register_buffer("bases", bases.float())
        self.register_buffer("variances", variances.float())
        ones = torch.ones(1, dimension, places)
        self.register_buffer("counts", self._fold(ones))

    def forward(self, x: Tensor, t: float | Tensor) -> Tensor:
        """Velocity ``(B, C, H, W)`` at states ``x`` and times ``t``, float or ``(B,)``."""
        patches = self._unfold(x)  # (L, B, D)
        time = expand_time(t, x.flatten(1))  # 0-d or (B, 1)
        means = self.means[:, None]
        along = (patches - time * means) @ self.bases
        gain = velocity_gain(self.variances[:, None], time)
        velocity = torch.baddbmm(means.expand_as(patches), along * gain, self.bases.mT)
        return self._fold(velocity.permute(1, 2, 0)) / self.counts

    def denoise(self, x: Tensor, t: float | Tensor) -> Tensor:
        """The averaged posterior means ``x + (1 - t) v(x, t)``, shaped as ``x``."""
        return x + (1 - expand_time(t, x)) * self(x, t)

    def _unfold(self, x: Tensor) -> Tensor:
        return F.unfold(x, self.patch, stride=self.stride).permute(2, 0, 1)

    def _fold(self, patches: Tensor) -> Tensor:
        return F.fold(patches, self.shape[1:], self.patch, stride=self.stride)


def fit_patch_gaussian(
    images: Tensor, *, patch: int = 8, stride: int | None = None, reach: int = 1, prior: float | None = None
) -> PatchGaussianField:
    """Fit patch Gaussians to images ``(N, C, H, W)``, N >= 2; seconds to a minute, no training.

    Args:
        patch: side of a patch; memory and time grow as ``patch^4`` per place.
        stride: step between patches, by default half a patch.
        reach: patches shifted by up to this many pixels are pooled (0: only those of the place itself).
        prior: weight of the mean covariance, in units of ``D``; by default the one of a small grid under which
            patches of held-out images (every fourth) are most likely.

    Raises:
        DataError: for fewer than two images. SettingsError: for patches that do not tile the image.
    """
    if len(images) < 2:
        raise DataError(f"Patch Gaussians need at least 2 images, but {len(images)} was given: add good images.")
    stride = stride or max(1, patch // 2)
    shape = tuple(images.shape[1:])
    places = _grid(shape, patch, stride)
    if prior is None:
        prior = _choose_prior(images, patch, stride, reach) if len(images) >= 8 else 8.0
    means, covariances, weight = _moments(images, patch, stride, reach, torch.arange(places))
    variances, bases = torch.linalg.eigh(_drawn(covariances, covariances.mean(0), weight, prior))
    return PatchGaussianField(means, bases, variances, shape, patch, stride)


def _grid(shape: tuple[int, int, int], patch: int, stride: int) -> int:
    _, height, width = shape
    if patch < 1 or stride < 1 or stride > patch:
        raise SettingsError(f"Setting 'stride' = {stride} is not usable: it must be from 1 to the patch size {patch}.")
    if patch > min(height, width) or (height - patch) % stride or (width - patch) % stride:
        raise SettingsError(f"Patches of {patch} with stride {stride} do not tile {height} x {width}: choose others.")
    return ((height - patch) // stride + 1) * ((width - patch) // stride + 1)


def _moments(images: Tensor, patch: int, stride: int, reach: int, places: Tensor) -> tuple[Tensor, Tensor, int]:
    """Means ``(L, D)``, covariances ``(L, D, D)`` of the chosen places, and the number of images behind each.

    Shifted patches count once per image together: neighbours are nearly copies of each other.
    """
    padded = F.pad(images.float(), [reach] * 4, mode="reflect") if reach else images.float()
    height, width = images.shape[2:]
    shifts = list(itertools.product(range(2 * reach + 1), repeat=2))

    def shifted(top: int, left: int) -> Tensor:
        part = padded[:, :, top : top + height, left : left + width]
        return F.unfold(part, patch, stride=stride)[:, :, places].permute(2, 0, 1)  # (L, N, D)

    means = sum(shifted(*s).mean(1) for s in shifts) / len(shifts)
    total = None
    for s in shifts:
        centred = shifted(*s) - means[:, None]
        product = centred.mT @ centred
        total = product if total is None else total.add_(product)
    return means, total / (len(shifts) * len(images)), len(images)


def _drawn(covariances: Tensor, pooled: Tensor, count: int, prior: float) -> Tensor:
    """Each covariance averaged with the pooled one, weighted by image count against ``prior * D``."""
    weight = prior * len(pooled)
    mixed = (count * covariances + weight * pooled) / (count + weight)
    floor = 1e-4 * pooled.diagonal().mean() + 1e-6
    return mixed + floor * torch.eye(len(pooled))


def _choose_prior(images: Tensor, patch: int, stride: int, reach: int) -> float:
    places = _grid(tuple(images.shape[1:]), patch, stride)
    chosen = torch.linspace(0, places - 1, min(places, _PROBES)).round().long()
    held = torch.arange(len(images)) % 4 == 3
    means, covariances, count = _moments(images[~held], patch, stride, reach, chosen)
    patches = F.unfold(images[held].float(), patch, stride=stride)[:, :, chosen].permute(2, 0, 1)
    pooled, centred = covariances.mean(0), patches - means[:, None]
    best = {}
    for prior in _PRIORS:
        factor = torch.linalg.cholesky(_drawn(covariances, pooled, count, prior))
        whitened = torch.linalg.solve_triangular(factor, centred.mT, upper=False)
        spread = factor.diagonal(dim1=1, dim2=2).log().sum(1)
        best[prior] = float(-0.5 * whitened.square().sum(1).mean() - spread.mean())
    return max(best, key=best.get)
