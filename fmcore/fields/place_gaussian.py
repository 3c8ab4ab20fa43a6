"""The exact velocity field of a Gaussian at each place of a grid: the closed form for feature maps.

Place p of the grid has ``x1 ~ N(m_p, C_p)`` over the C channels, independent of all other places, with

    C_p = (1 - rho) S_p + rho W + FLOOR I.

``S_p`` is the covariance of the n training images at p and ``W`` its mean over places: few images cannot carry a full
covariance, so it is shrunk towards what all places share, by default with rho = PRIOR / (PRIOR + n). FLOOR is the least
variance of a direction. With ``C_p = V diag(a) V^T`` the mean over all noise of the mismatch is

    E_{x0} || v(x_t, t) - (y - x0) ||^2 = sum_i ((1 - t) z_i / c_i)^2 + (t a_i / c_i)^2,
    z = V^T (y - m_p),   c_i = (1 - t)^2 + t^2 a_i.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable
from typing import Annotated

import numpy as np
import torch
from pydantic import Field as Range
from torch import Tensor

from fmcore.errors import DataError
from fmcore.fields.field import FIELDS, Field
from fmcore.fields.gaussian import Covariance, GaussianLaw, state_variance
from fmcore.parallel import in_parallel

FLOOR = 0.01  # variance, in units of the noise's
PRIOR = 2  # images that the covariance of all places counts for
BATCH = 16  # images per update of the moments
CHUNK = 36  # places whose eigenvectors are computed together

_RHO = f"rho, share of the covariance of all places (default: {PRIOR} / ({PRIOR} + images))"
Shrinkage = Annotated[float | None, Range(ge=0, le=1, description=_RHO)]


@FIELDS.register
class PlaceGaussianField(Field, GaussianLaw):
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
        """One pass over the images; memory does not grow with their number. `DataError` for fewer than two."""
        count, total, outer, shape = moments(tensors)
        if count < 2:
            raise DataError(f"A Gaussian field needs at least 2 images, but {count} was given: add good images.")
        shrinkage = PRIOR / (PRIOR + count) if shrinkage is None else shrinkage
        mean = total / count
        covariance = outer.div_(count).baddbmm_(mean[:, :, None], mean[:, None, :], alpha=-1)
        within = covariance.mean(0) * shrinkage + FLOOR * torch.eye(shape[0])
        field = cls(*shape)
        field.mean.copy_(mean)

        def diagonalise(start: int) -> None:
            part = slice(start, start + CHUNK)
            values, vectors = torch.linalg.eigh(covariance[part].mul_(1 - shrinkage).add_(within))
            field.variances[part] = values.clamp_min(FLOOR)
            # Rounded as they are stored, so that a model scores alike before and after it is saved.
            field.vectors[part] = vectors.half().float()

        deque(in_parallel(diagonalise, range(0, len(mean), CHUNK)), maxlen=0)
        return field

    def expected_mismatch(self, y: Tensor) -> Callable[[float], Tensor]:
        """For one image ``(C, H, W)``: a function of t that gives the mean mismatch over all noise, ``(H, W)``."""
        centred = y.flatten(1).T - self.mean
        if y.device.type != "cpu" or torch.compiler.is_exporting():
            along = torch.bmm(centred[:, None, :], self.vectors)[:, 0].square()
        else:  # NumPy reads the matrices at the memory's rate, torch (one small product after the other) at half of it
            along = torch.from_numpy(np.einsum("pc,pcd->pd", centred.numpy(), self.vectors.numpy())).square()

        def at(t: float) -> Tensor:
            spread = state_variance(self.variances, t)
            terms = along * ((1 - t) / spread).square() + (t * self.variances / spread).square()
            return terms.sum(1).view(self.shape[1:])

        return at

    @property
    def covariance(self) -> Covariance:
        return Covariance(self.vectors.mT, self.variances[:, None], None)

    @property
    def centre(self) -> Tensor:
        return self.mean.T.reshape(self.shape)

    def _rows(self, states: Tensor) -> Tensor:
        return states.flatten(2).permute(2, 0, 1)

    def _states(self, rows: Tensor) -> Tensor:
        return rows.permute(1, 2, 0).reshape(-1, *self.shape)


def moments(tensors: Iterable[Tensor]) -> tuple[int, Tensor, Tensor, tuple[int, ...]]:
    """Number of images, per place the sum ``(P, C)`` and that of outer products ``(P, C, C)``, and an image's shape."""
    count, total, outer, shape = 0, torch.zeros(0), torch.zeros(0), ()
    stream = iter(tensors)
    while batch := list(itertools.islice(stream, BATCH)):
        places = torch.stack(batch).flatten(2).permute(2, 1, 0)  # (P, C, b)
        if not count:
            shape = tuple(batch[0].shape)
            total, outer = places.new_zeros(places.shape[:2]), places.new_zeros(*places.shape[:2], shape[0])
        total += places.sum(2)
        outer.baddbmm_(places, places.mT)
        count += len(batch)
    return count, total, outer, shape
