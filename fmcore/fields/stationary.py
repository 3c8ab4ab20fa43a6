"""The exact field of a stationary Gaussian: a texture without places, diagonal in the Fourier basis.

The mean is one colour, and the covariance of two pixels depends on their offset alone, with the image closed to a
torus. Then the discrete Fourier transform splits the law into independent frequencies, each with a Hermitian
``C x C`` matrix between channels, and `GaussianField`'s formula holds per frequency and eigen-channel:

    v = m + F^{-1} [ V gain(lambda, t) V^H F (x - t m) ],    gain(a, t) = (t a - (1 - t)) / ((1 - t)^2 + t^2 a).

What is exact: everything here, for that law. What is not: photographs are no tori, so edges that do not meet leak
into the horizontal and vertical frequencies, and a Gaussian knows nothing of edges and shapes.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from fmcore.errors import DataError
from fmcore.fields.exact import ExactField, Factor, posterior_spread, state_variance, velocity_gain, whitening_gain
from fmcore.path import expand_time


class StationaryField(ExactField):
    """Velocity field of a stationary Gaussian on images ``(B, C, H, W)``.

    Args:
        mean: ``(C,)``, the mean colour.
        variances: ``(H, W, C)`` positive eigenvalues at each frequency of the orthonormal 2-D transform.
        bases: ``(H, W, C, C)`` complex, unitary, eigenvectors in columns; the matrices at opposite frequencies are
            complex conjugates, so that fields of real images are real.
    """

    def __init__(self, mean: Tensor, variances: Tensor, bases: Tensor):
        super().__init__()
        self.register_buffer("mean", mean.float())
        self.register_buffer("variances", variances.float())
        # As real numbers, so that the buffer survives a change of dtype and a safetensors file.
        self.register_buffer("bases", torch.view_as_real(bases.to(torch.complex64)))

    def forward(self, x: Tensor, t: float | Tensor) -> Tensor:
        """Velocity ``(B, C, H, W)`` at states ``x`` and times ``t``, float or ``(B,)``."""
        return self._colour() + self._scale(self._centred(x, t), t, velocity_gain)

    def whiten(self, x: Tensor, t: float | Tensor) -> Tensor:
        """``C_t^{-1/2} (x - t m)``, shaped as ``x``."""
        return self._scale(self._centred(x, t), t, whitening_gain)

    def log_density(self, x: Tensor, t: float | Tensor) -> Tensor:
        """``log N(x; t m, C_t)`` in nats, ``(B,)``."""
        time = torch.as_tensor(t, dtype=x.dtype, device=x.device).reshape(-1, 1, 1, 1)
        determinant = state_variance(self.variances, time).log().flatten(1).sum(1)
        energy = self.whiten(x, t).square().flatten(1).sum(1)
        return -0.5 * (energy + determinant + x[0].numel() * math.log(2 * math.pi))

    def posterior_variance(self, x: Tensor, t: float | Tensor) -> Tensor:
        """Diagonal of ``Cov(u | x_t)``, shaped as ``x``: one number per channel, the same at every pixel."""
        time = torch.as_tensor(t, dtype=x.dtype, device=x.device).reshape(-1, 1, 1, 1)
        spread = posterior_spread(self.variances, time)  # (B or 1, H, W, C)
        weights = self.bases.square().sum(-1)  # |V|^2: rows channels, columns eigen-channels
        per_channel = torch.einsum("hwck,bhwk->bc", weights, spread) / self.variances[..., 0].numel()
        return per_channel[:, :, None, None].expand_as(x)

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """``m + S^{1/2} z``, ``(count, C, H, W)``."""
        height, width, channels = self.variances.shape
        noise = torch.randn(count, channels, height, width, generator=generator, dtype=self.mean.dtype)
        return self._colour() + self._scale(noise.to(self.mean.device), 0.0, lambda variance, time: variance.sqrt())

    def _colour(self) -> Tensor:
        return self.mean[:, None, None]

    def _centred(self, x: Tensor, t: float | Tensor) -> Tensor:
        return x - expand_time(t, x) * self._colour()

    def _scale(self, centred: Tensor, t: float | Tensor, factor: Factor) -> Tensor:
        time = torch.as_tensor(t, dtype=centred.dtype, device=centred.device).reshape(-1, 1, 1, 1)
        bases = torch.view_as_complex(self.bases)
        waves = torch.fft.fft2(centred, norm="ortho").permute(0, 2, 3, 1)[..., None]  # (B, H, W, C, 1)
        along = bases.mH @ waves * factor(self.variances, time)[..., None]
        return torch.fft.ifft2((bases @ along)[..., 0].permute(0, 3, 1, 2), norm="ortho").real


def fit_stationary(images: Tensor, *, blur: float = 1.0) -> StationaryField:
    """Fit a `StationaryField` to images ``(N, C, H, W)``: the mean periodogram, blurred over frequencies.

    Args:
        blur: sigma in frequencies; one image gives a periodogram with an error of 100 %, and neighbouring
            frequencies share the estimate.

    Raises:
        DataError: for an empty batch.
    """
    if not len(images):
        raise DataError("A stationary field needs at least one image: add good images.")
    mean = images.float().mean((0, 2, 3))
    waves = torch.fft.fft2(images.float() - mean[:, None, None], norm="ortho").permute(2, 3, 1, 0)  # (H, W, C, N)
    spectrum = waves @ waves.mH / len(images)
    if blur:
        spectrum = _blurred(spectrum, blur)
    floor = 1e-6 + 1e-4 * spectrum.diagonal(dim1=2, dim2=3).real.mean()
    spectrum = spectrum + floor * torch.eye(images.shape[1])
    variances, bases = torch.linalg.eigh(spectrum)
    return StationaryField(mean, variances.clamp_min(float(floor) / 2), bases)


def _blurred(spectrum: Tensor, sigma: float) -> Tensor:
    """Gaussian blur of the first two axes, which are periodic."""
    for axis in (0, 1):
        size = spectrum.shape[axis]
        offsets = torch.arange(size)
        distance = torch.minimum(offsets, size - offsets)
        kernel = torch.exp(-0.5 * (distance / sigma) ** 2)
        kernel = torch.fft.fft(kernel / kernel.sum())
        shape = [1] * spectrum.ndim
        shape[axis] = size
        spectrum = torch.fft.ifft(torch.fft.fft(spectrum, dim=axis) * kernel.view(shape), dim=axis)
    return (spectrum + spectrum.mH) / 2
