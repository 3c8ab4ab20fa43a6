"""The exact velocity field of a Gaussian at each place of a grid: the closed form for feature maps.

Place p of the grid has ``x1 ~ N(m_p, C_p)`` over the C channels, independent of all other places, with

    C_p = (1 - rho) S_p + rho W + FLOOR I.

``S_p`` is the covariance of the training images at p and ``W`` its mean over places. Few images cannot carry a full
covariance, so it is shrunk towards what all places share, by rho = PRIOR / (PRIOR + n) for n images unless told
otherwise, as if PRIOR images had been seen at every place at once; FLOOR is the least variance of a direction. With
``C_p = V diag(a) V^T`` every quantity is a function of the eigenvalues, as in `fmcore.fields.gaussian`; the mean over
all noise of the mismatch is

    E_{x0} || v(x_t, t) - (y - x0) ||^2 = sum_i ((1 - t) z_i / c_i)^2 + (t a_i / c_i)^2,
    z = V^T (y - m_p),   c_i = (1 - t)^2 + t^2 a_i.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Annotated

import torch
from pydantic import Field as Range
from torch import Tensor

from fmcore.errors import DataError
from fmcore.fields.exact import ExactField, Factor, posterior_spread, state_variance, velocity_gain, whitening_gain
from fmcore.fields.field import FIELDS, Field
from fmcore.path import expand_time

FLOOR = 0.01  # variance, in units of the noise's
PRIOR = 2  # images that the covariance of all places counts for
BATCH = 16  # images per update of the moments
CHUNK = 128  # places whose eigenvectors are computed together

Shrinkage = Annotated[
    float | None,
    Range(
        ge=0, le=1, description=f"rho, share of the covariance of all places (default: {PRIOR} / ({PRIOR} + images))"
    ),
]


@FIELDS.register
class PlaceGaussianField(Field, ExactField):
    """Velocity field of an independent Gaussian per place of a grid ``(C, H, W)``; see `fit`."""

    kind = "place-gaussian"
    stored_as_half = ("vectors",)

    def __init__(self, channels: int, height: int, width: int):
        super().__init__(channels=channels, height=height, width=width)
        places = height * width
        self.shape = (channels, height, width)
        self.register_buffer("mean", torch.zeros(places, channels))
        self.register_buffer("variances", torch.ones(places, channels))
        self.register_buffer("vectors", torch.eye(channels).repeat(places, 1, 1))

    @classmethod
    def fit(cls, tensors: Iterable[Tensor], *, shrinkage: Shrinkage = None) -> PlaceGaussianField:
        """One pass over the images; memory does not grow with their number.

        Raises:
            DataError: for fewer than two images.
        """
        count, total, outer, shape = moments(tensors)
        if count < 2:
            raise DataError(f"A Gaussian field needs at least 2 images, but {count} was given: add good images.")
        shrinkage = PRIOR / (PRIOR + count) if shrinkage is None else shrinkage
        mean = total / count
        covariance = outer.div_(count).baddbmm_(mean[:, :, None], mean[:, None, :], alpha=-1)
        within = covariance.mean(0) * shrinkage + FLOOR * torch.eye(shape[0])
        field = cls(*shape)
        field.mean.copy_(mean)
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # small matrices: threads that wait for each other make it five times slower
        try:
            for start in range(0, len(mean), CHUNK):
                part = slice(start, start + CHUNK)
                values, vectors = torch.linalg.eigh(covariance[part].mul_(1 - shrinkage).add_(within))
                field.variances[part] = values.clamp_min(FLOOR)
                # Rounded as they are stored, so that a model scores alike before and after it is saved.
                field.vectors[part] = vectors.half().float()
        finally:
            torch.set_num_threads(threads)
        return field

    def forward(self, x: Tensor, t: float | Tensor) -> Tensor:
        """Velocity, shaped as ``x`` ``(B, C, H, W)``; ``t`` a float or ``(B,)``."""
        return self._mean_image() + self._scale(x, t, velocity_gain)

    def whiten(self, x: Tensor, t: float | Tensor) -> Tensor:
        """``C_t^{-1/2} (x - t m)``, shaped as ``x``: unit variance in every direction where the field is right."""
        return self._scale(x, t, whitening_gain)

    def expected_mismatch(self, y: Tensor) -> Callable[[float], Tensor]:
        """For one image ``(C, H, W)``: a function of t that gives the mean mismatch over all noise, ``(H, W)``."""
        centred = y.flatten(1).T - self.mean
        # A row times the matrix: twice as fast as the transposed matrix times a column.
        along = torch.bmm(centred[:, None, :], self.vectors)[:, 0].square()

        def at(t: float) -> Tensor:
            spread = state_variance(self.variances, t)
            terms = along * ((1 - t) / spread).square() + (t * self.variances / spread).square()
            return terms.sum(1).view(self.shape[1:])

        return at

    def log_density(self, x: Tensor, t: float | Tensor) -> Tensor:
        """``log p_t(x)``, ``(B,)``: the sum over places."""
        time = torch.as_tensor(t, dtype=x.dtype, device=x.device).reshape(-1, 1, 1)
        log_determinant = state_variance(self.variances, time).log().sum((1, 2))
        energy = self.whiten(x, t).square().flatten(1).sum(1)
        return -0.5 * (energy + log_determinant + x[0].numel() * math.log(2 * math.pi))

    def posterior_variance(self, x: Tensor, t: float | Tensor) -> Tensor:
        """Diagonal of ``Cov(u | x_t)``, shaped as ``x``: the same at every state of one time."""
        time = torch.as_tensor(t, dtype=x.dtype, device=x.device).reshape(-1, 1, 1)
        spread = posterior_spread(self.variances, time)  # (1 or B, P, C)
        diagonal = torch.einsum("pci,bpi->bcp", self.vectors.square(), spread)
        return diagonal.reshape(-1, *self.shape).expand(x.shape)

    def residual_variance(self, t: Tensor) -> Tensor:
        """Mean over dimensions of ``Var(u | x_t)``, shaped as ``t``: the field's own expected loss at t."""
        return torch.stack([posterior_spread(self.variances, time).mean() for time in t.flatten()]).view(t.shape)

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """``m + C^{1/2} z``, ``(count, C, H, W)``."""
        noise = torch.randn(count, *self.shape, generator=generator)
        drawn = torch.bmm(self.vectors, self._places(noise) * self.variances.sqrt()[:, :, None])
        return self._mean_image() + self._image(drawn)

    def _scale(self, x: Tensor, t: float | Tensor, factor: Factor) -> Tensor:
        """``x - t m`` with each eigendirection of its place multiplied by ``factor(variance, t)``."""
        along = torch.bmm(self.vectors.mT, self._places(x - expand_time(t, x) * self._mean_image()))
        time = torch.as_tensor(t, dtype=x.dtype, device=x.device).reshape(1, 1, -1)
        return self._image(torch.bmm(self.vectors, along * factor(self.variances[:, :, None], time)))

    def _mean_image(self) -> Tensor:
        return self.mean.T.reshape(self.shape)

    def _places(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` as ``(P, C, B)``."""
        return x.flatten(2).permute(2, 1, 0)

    def _image(self, places: Tensor) -> Tensor:
        """``(P, C, B)`` as ``(B, C, H, W)``."""
        return places.permute(2, 1, 0).reshape(-1, *self.shape)


def moments(tensors: Iterable[Tensor]) -> tuple[int, Tensor, Tensor, tuple[int, ...]]:
    """Number of images, and per place the sum ``(P, C)`` and the sum of outer products ``(P, C, C)``; their shape."""
    count, total, outer, shape, waiting = 0, torch.zeros(0), torch.zeros(0), (), []

    def add(batch: list[Tensor]) -> None:
        places = torch.stack(batch).flatten(2).permute(2, 1, 0)  # (P, C, b)
        total.add_(places.sum(2))
        outer.baddbmm_(places, places.mT)

    for tensor in tensors:
        if not count:
            shape, places = tuple(tensor.shape), tensor[0].numel()
            total, outer = torch.zeros(places, shape[0]), torch.zeros(places, shape[0], shape[0])
        count += 1
        waiting.append(tensor)
        if len(waiting) == BATCH:
            add(waiting)
            waiting.clear()
    if waiting:
        add(waiting)
    return count, total, outer, shape
