"""Velocity mismatch along paths to a test image, its aggregation to a heat map and a score (Eqs. 2-4).

`mismatch_steps` runs the field and yields one record per time; a `Mismatch` keeps what it yielded. All
later choices (aggregator, exponent, smoothing, subset of times) are made on that record and never run
the field again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from scipy.ndimage import gaussian_filter
from torch import Tensor

from fmcore.errors import SettingsError
from fmcore.fields.source import source_noise
from fmcore.mismatch.noise import NoiseKind
from fmcore.mismatch.structure import StructuralMismatch
from fmcore.path import interior_times, interpolate
from fmcore.settings import Settings

VelocityField = Callable[[Tensor, float | Tensor], Tensor]
Aggregator = Literal["min", "mean", "median", "percentile"]


STRUCTURE = 0.5  # recommended: the plain geometric mean of both mismatches
TILES = 0.3  # recommended beside a network, which knows more than its tiles do
LATE = 6.0  # exponent of the time weight, recommended with tiles: they explain away what late times mark falsely


class PathSettings(Settings):
    """What decides which states the field is evaluated at and how they are compared; changing one of these runs it
    again. The bare defaults are the paper's; `fmcore.detector.fit` uses `recommended`."""

    paths: int = Field(4, ge=1, le=64, description="K, noise draws per image")
    times: int = Field(12, ge=1, le=100, description="T, interior times j / (T + 1)")
    noise_seed: int = Field(0, ge=0, lt=2**31, description="seed of the noise, shared by all images")
    noise: NoiseKind = Field(
        "independent", description="how the K draws depend on each other, see `fmcore.mismatch.noise`"
    )
    structure: float = Field(
        0.0,
        ge=0,
        le=1,
        description="exponent p of the structural mismatch, see `fmcore.mismatch.structure`; the paper: 0",
    )
    tiles: float = Field(
        0.0, ge=0, le=1, description="exponent q of the mismatch of Gaussian tiles beside a network; the paper: 0"
    )

    @classmethod
    def recommended(cls, **given: Any) -> PathSettings:
        """The settings we recommend for images, some replaced: with the structural mismatch."""
        return cls.parse(**{"structure": STRUCTURE} | given)


class HeatSettings(Settings):
    """How a recorded mismatch becomes a heat map; changing these is free."""

    aggregator: Aggregator = Field("min", description="over paths, per pixel and time")
    percentile: float = Field(0.25, gt=0, le=1, description="alpha of the percentile aggregator")
    exponent: float = Field(2.0, ge=0, le=8, description="r of the time weight t^r")
    smoothing: float = Field(2.0, ge=0, le=16, description="Gaussian blur of the map, sigma in model pixels")

    @classmethod
    def for_size(cls, size: int, **given: Any) -> HeatSettings:
        """The recommended settings for maps of ``size`` pixels, some replaced: a blur of 1/32 of the width."""
        return cls.parse(**{"smoothing": size / 32} | given)


def recommended_exponent(paths: PathSettings) -> float:
    """r of the time weight that we recommend along ``paths``: the paper's, or with tiles one that lets late times count
    more."""
    return LATE if paths.tiles else HeatSettings().exponent


@dataclass(frozen=True)
class MismatchStep:
    """Mismatch at one time: ``paths`` is ``(K, H, W)``, squared velocity gap ``D`` summed over channels, or
    ``M = D^(1 - p) S^p`` with the structural mismatch ``S`` where `PathSettings.structure` is ``p > 0``, or
    ``M^(1 - q) D_tiles^q`` where `PathSettings.tiles` is ``q > 0``."""

    index: int
    t: float
    paths: np.ndarray


@dataclass(frozen=True)
class Mismatch:
    """Mismatch ``D`` at the times recorded so far: ``maps`` ``(T', K, H, W)`` float32, ``times`` ``(T',)``."""

    times: np.ndarray
    maps: np.ndarray

    @classmethod
    def collect(cls, steps: Iterable[MismatchStep]) -> Mismatch:
        """From the steps of one image, in any number."""
        steps = list(steps)
        return cls(np.array([s.t for s in steps]), np.stack([s.paths for s in steps]))

    def subset(self, indices: slice | list[int]) -> Mismatch:
        """Only some of the times; the heat map of a subset is the average over that subset."""
        return Mismatch(self.times[indices], self.maps[indices])

    def per_time(self, settings: HeatSettings) -> np.ndarray:
        """Aggregated over paths (Eq. 3): ``(T', H, W)``, unweighted."""
        return aggregate_paths(self.maps, settings)

    def weighted(self, settings: HeatSettings) -> np.ndarray:
        """``t^r D_t``, smoothed, ``(T', H, W)``: each time's contribution; their mean is the heat map."""
        weights = (self.times**settings.exponent)[:, None, None].astype(np.float32)
        return smooth(weights * self.per_time(settings), settings.smoothing)

    def running(self, settings: HeatSettings) -> np.ndarray:
        """Anytime heat maps ``(T', H, W)``: entry j averages the weighted maps up to and including j."""
        sums = np.cumsum(self.weighted(settings), axis=0, dtype=np.float64)
        return (sums / np.arange(1, len(sums) + 1)[:, None, None]).astype(np.float32)

    def heatmap(self, settings: HeatSettings) -> np.ndarray:
        """``(1 / T') sum_j t_j^r D_j``, smoothed (Eq. 4): ``(H, W)`` float32, non-negative."""
        return self.running(settings)[-1]


def mismatch_steps(
    field: VelocityField,
    image: Tensor,
    settings: PathSettings,
    *,
    tiles: VelocityField | None = None,
    fine: Tensor | None = None,
    chunk: int = 16,
) -> Iterator[MismatchStep]:
    """Evaluate ``|| v(x_t^k, t) - (y - x0^k) ||^2`` over channels, one time after the other (Eq. 2); with
    ``structure`` p above zero ``D^(1 - p) S^p`` of this and the structural mismatch (`fmcore.mismatch.structure`).

    With ``tiles`` q above zero a second field joins in, whose errors are others: what one of them takes for a
    defect of a good image the other often explains, while both disagree with a defect. Each has paths from its own
    source of noise, and the geometric mean ``M^(1 - q) D_tiles^q``, draw by draw, needs no units to be matched. Of the
    second field the squared gap alone counts: a Gaussian leaves noise on plain surfaces, which structure would take
    for a defect. It may see more pixels: its gap is then averaged over those of each pixel of ``image``.

    Args:
        field: any ``(x, t) -> v``, on the device of ``image``; paths start from its own source (`fmcore.fields.source`).
        image: one test image ``y`` ``(C, H, W)`` in [-1, 1]. Images are scored one by one so that a
            score never depends, to the last bit, on which other images were in the batch.
        tiles: the second field, used where ``settings.tiles`` is above zero.
        fine: the same image as the second field sees it ``(C, H', W')``; None: ``image``.
        chunk: paths per call of the field; memory is that of ``chunk`` states and the field's
            activations for them, whatever K and T.

    Yields:
        `MismatchStep` for each of the T interior times, in ascending order.

    Raises:
        SettingsError: for a structural mismatch of an image too small for its window, or tiles that are not there.
    """
    if settings.tiles and tiles is None:
        raise SettingsError(
            f"Setting 'tiles' = {settings.tiles} is not usable: there are no Gaussian tiles beside this field; set "
            "tiles = 0, or fit a network anew."
        )
    fine = image if fine is None else fine
    views = ((field, image, settings, 1 - settings.tiles), (tiles, fine, settings.replace(structure=0), settings.tiles))
    members = [(_Compared(*member, chunk), share) for *member, share in views if share]

    for index, t in enumerate(interior_times(settings.times)):
        parts = []
        # Around each call, not around the loop: a generator must not hold inference mode while it waits.
        with torch.inference_mode():
            for part in range(math.ceil(settings.paths / chunk)):
                shares = [_averaged(member(part, t), image).pow(share) for member, share in members]
                parts.append(math.prod(shares).cpu())
        yield MismatchStep(index, t, torch.cat(parts).numpy())


class _Compared:
    """``D``, or ``D^(1 - p) S^p``, of one field along its own paths to one image."""

    def __init__(self, field: VelocityField, image: Tensor, settings: PathSettings, chunk: int):
        self.field, self.image, self.structure = field, image, settings.structure
        self.structural = StructuralMismatch(image) if settings.structure else None
        noise = source_noise(field, settings.noise, settings.paths, tuple(image.shape), settings.noise_seed)
        self.starts = noise.to(image.device).split(chunk)

    def __call__(self, part: int, t: float) -> Tensor:
        """Of the paths of one chunk, ``(k, H, W)``."""
        x0 = self.starts[part]
        gap = (self.field(interpolate(x0, self.image, t), t) - (self.image - x0)).float()
        squared = gap.square().sum(1)
        if self.structural is None:
            return squared
        return squared.pow(1 - self.structure) * self.structural(gap, t).pow(self.structure)


def _averaged(maps: Tensor, image: Tensor) -> Tensor:
    """Maps ``(k, H', W')`` on the grid of ``image`` ``(C, H, W)``; those of a point stay as they are."""
    side = image.shape[1:]
    return maps if maps.shape[1:] == side else F.adaptive_avg_pool2d(maps, side)


def aggregate_paths(maps: np.ndarray, settings: HeatSettings) -> np.ndarray:
    """Reduce ``(..., K, H, W)`` over K. The percentile is the ceil(alpha K)-th order statistic, not
    interpolated; the median of an even K is the mean of the two middle ones."""
    match settings.aggregator:
        case "min":
            return maps.min(axis=-3)
        case "mean":
            return maps.mean(axis=-3)
        case "median":
            return np.median(maps, axis=-3).astype(maps.dtype)
        case "percentile":
            # The tiny slack keeps 0.1 * 10 from becoming 2 through rounding.
            rank = max(1, math.ceil(settings.percentile * maps.shape[-3] - 1e-9))
            return np.partition(maps, rank - 1, axis=-3).take(rank - 1, axis=-3)


def smooth(maps: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian blur of the last two axes, ``sigma`` in pixels, edges reflected; 0 leaves them as they are."""
    if not sigma:
        return maps
    return gaussian_filter(maps, sigma=(0,) * (maps.ndim - 2) + (sigma, sigma), mode="reflect")


def image_score(heatmap: np.ndarray) -> float:
    """``max(heat) + mean of the top 1 % of heat``, the top 1 % rounded up to whole pixels (Eq. 4)."""
    flat = heatmap.ravel()
    top = max(1, math.ceil(0.01 * flat.size))
    largest = np.partition(flat, flat.size - top)[-top:].astype(np.float64)
    return float(largest.max() + largest.mean())
