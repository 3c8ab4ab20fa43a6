"""Mismatch along paths (Eq. 2), its aggregation, heat map and score (Eqs. 3-4).

The field runs only in `mismatch_steps`; all that follows is free to change. A new aggregator over paths is one function
under `aggregator`; settings, the command line's options and the app's controls know it from then on."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from pydantic import Field, ValidationInfo, field_validator
from scipy.ndimage import gaussian_filter
from torch import Tensor

from fmcore.errors import SettingsError
from fmcore.fields.field import VelocityField
from fmcore.path import draw_noise, interior_times, interpolate
from fmcore.settings import Settings

CHUNK = 16  # paths per call of the field; bounds the memory

Reduce = Callable[[np.ndarray, float | None], np.ndarray]


class PathSettings(Settings):
    """What decides which states the field is evaluated at; changing one of these runs it again."""

    paths: int = Field(
        4,
        ge=0,
        le=64,
        description="K, noise draws per image; 0: the exact mean over all noise, where the field has one",
    )
    times: int = Field(12, ge=1, le=100, description="T, interior times j / (T + 1)")
    noise_seed: int = Field(0, ge=0, lt=2**31, description="seed of the noise, shared by all images")


@dataclass(frozen=True)
class MismatchStep:
    """Mismatch at one time: ``paths`` is ``(K, H, W)`` float32, the squared velocity gap ``D`` summed over channels; or
    ``(1, H, W)``, its mean over all noise, where `PathSettings.paths` is 0. ``roi`` ``(H, W)`` bool is the region of
    interest, outside of which it is 0; None: everything."""

    index: int
    t: float
    paths: np.ndarray
    roi: np.ndarray | None = None


def gap(field: VelocityField, y: Tensor, x0: Tensor, t: float | Tensor) -> Tensor:
    """``v(x_t, t) - (y - x0)``, shaped as the noise ``x0`` ``(K, ...)``; ``y`` is one image or point ``(...)`` or one
    per path, ``t`` a float or ``(K,)``."""
    return field(interpolate(x0, y, t), t) - (y - x0)


def has_exact_mean(field: VelocityField) -> bool:
    """Whether `PathSettings.paths` may be 0 for this field."""
    return hasattr(field, "expected_mismatch")


def mismatch_steps(field: VelocityField, image: Tensor, settings: PathSettings) -> Iterator[MismatchStep]:
    """``|| v(x_t^k, t) - (y - x0^k) ||^2`` over channels at the T interior times, in ascending order.

    ``image`` is one test image ``y`` ``(C, H, W)`` as a view gives it: images are scored one by one so that a score
    never depends, to the last bit, on a batch. Raises `SettingsError` for K = 0 with a field that has no exact mean."""
    exact, starts = None, ()
    # Inference mode around each call, not around the loop: a generator must not hold it while it waits.
    if settings.paths:
        starts = draw_noise(settings.paths, tuple(image.shape), settings.noise_seed).to(image.device).split(CHUNK)
    elif has_exact_mean(field):
        with torch.inference_mode():
            exact = field.expected_mismatch(image)
    else:
        raise SettingsError(
            "Setting 'paths' = 0 is not usable: this field has no exact mean over noise; set paths = 4."
        )
    for index, t in enumerate(interior_times(settings.times)):
        with torch.inference_mode():
            parts = [exact(t)[None]] if exact else [gap(field, image, x0, t).float().square().sum(1) for x0 in starts]
            maps = torch.cat(parts)
        yield MismatchStep(index, t, maps.float().cpu().numpy())


def within(steps: Iterator[MismatchStep], roi: np.ndarray | None) -> Iterator[MismatchStep]:
    """The steps, with the mismatch 0 outside a region of interest ``(H, W)`` bool; None: as they are."""
    return steps if roi is None else (MismatchStep(s.index, s.t, s.paths * roi, roi) for s in steps)


@dataclass(frozen=True)
class Parameter:
    """The range (both ends allowed) and default of an aggregator's parameter, `HeatSettings.alpha`."""

    description: str
    default: float
    low: float
    high: float


@dataclass(frozen=True)
class Aggregator:
    """``reduce(maps, alpha)`` takes ``(..., K, H, W)`` to ``(..., H, W)``; alpha is None without a `Parameter`."""

    name: str
    description: str
    reduce: Reduce
    parameter: Parameter | None = None


AGGREGATORS: dict[str, Aggregator] = {}


def aggregator(name: str, description: str, parameter: Parameter | None = None) -> Callable[[Reduce], Reduce]:
    """Decorator: register a function as `Aggregator.reduce`."""

    def register(reduce: Reduce) -> Reduce:
        AGGREGATORS[name] = Aggregator(name, description, reduce, parameter)
        return reduce

    return register


aggregator("min", "the path that agrees best")(lambda maps, alpha: maps.min(axis=-3))
aggregator("mean", "the average path")(lambda maps, alpha: maps.mean(axis=-3))
aggregator("median", "the middle path; of an even number the mean of the two in the middle")(
    lambda maps, alpha: np.median(maps, axis=-3).astype(maps.dtype)
)
_SHARE = Parameter("share of paths below", default=0.25, low=0.01, high=1.0)


@aggregator("percentile", "the ceil(alpha K)-th smallest of K, not interpolated", _SHARE)
def _percentile(maps: np.ndarray, alpha: float) -> np.ndarray:
    # The tiny slack keeps 0.1 * 10 from becoming 2 through rounding.
    rank = max(1, math.ceil(alpha * maps.shape[-3] - 1e-9))
    return np.partition(maps, rank - 1, axis=-3).take(rank - 1, axis=-3)


class HeatSettings(Settings):
    """How a recorded mismatch becomes a heat map. The defaults are the paper's but for the smoothing, which a view
    chooses."""

    aggregator: str = Field("min", description="over paths, per pixel and time")
    alpha: float | None = Field(None, description="parameter of the aggregator, where it has one")
    exponent: float = Field(2.0, ge=0, le=8, description="r of the time weight t^r")
    smoothing: float = Field(0.0, ge=0, le=16, description="Gaussian blur of the map, sigma in cells of its grid")

    @field_validator("aggregator")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in AGGREGATORS:
            raise ValueError(f"It must be one of {', '.join(AGGREGATORS)}")
        return name

    @field_validator("alpha")
    @classmethod
    def _in_range(cls, alpha: float | None, info: ValidationInfo) -> float | None:
        parameter = AGGREGATORS[info.data["aggregator"]].parameter if "aggregator" in info.data else None
        if alpha is not None and (parameter is None or not parameter.low <= alpha <= parameter.high):
            takes = f"takes {parameter.low:g} to {parameter.high:g}" if parameter else "has no parameter"
            raise ValueError(f"The aggregator {info.data.get('aggregator', '')} {takes}")
        return alpha


@dataclass(frozen=True)
class Mismatch:
    """Mismatch ``D`` at the times recorded so far: ``maps`` ``(T', K, H, W)`` float32, ``times`` ``(T',)``, ``roi`` as
    in `MismatchStep`."""

    times: np.ndarray
    maps: np.ndarray
    roi: np.ndarray | None = None

    @classmethod
    def collect(cls, steps: Iterable[MismatchStep]) -> Mismatch:
        """From the steps of one image, in any number."""
        steps = list(steps)
        return cls(np.array([s.t for s in steps]), np.stack([s.paths for s in steps]), steps[0].roi)

    def subset(self, indices: slice | list[int]) -> Mismatch:
        """Only some of the times; the heat map of a subset is the average over that subset."""
        return Mismatch(self.times[indices], self.maps[indices], self.roi)

    def per_time(self, settings: HeatSettings) -> np.ndarray:
        """Aggregated over paths (Eq. 3): ``(T', H, W)``, unweighted."""
        chosen = AGGREGATORS[settings.aggregator]
        default = chosen.parameter.default if chosen.parameter else None
        return chosen.reduce(self.maps, default if settings.alpha is None else settings.alpha)

    def weighted(self, settings: HeatSettings) -> np.ndarray:
        """``t^r D_t``, smoothed, ``(T', H, W)``: each time's contribution; their mean is the heat map."""
        weights = (self.times**settings.exponent)[:, None, None].astype(np.float32)
        found = smooth(weights * self.per_time(settings), settings.smoothing)
        return found if self.roi is None else found * self.roi

    def running(self, settings: HeatSettings) -> np.ndarray:
        """Anytime heat maps ``(T', H, W)``: entry j averages the weighted maps up to and including j."""
        sums = np.cumsum(self.weighted(settings), axis=0, dtype=np.float64)
        return (sums / np.arange(1, len(sums) + 1)[:, None, None]).astype(np.float32)

    def heatmap(self, settings: HeatSettings) -> np.ndarray:
        """``(1 / T') sum_j t_j^r D_j``, smoothed (Eq. 4): ``(H, W)`` float32, non-negative."""
        return self.running(settings)[-1]


class RunningHeatmap:
    """`Mismatch.running` of an image that is still being scored, bit for bit: each time is smoothed once."""

    def __init__(self, heat: HeatSettings):
        self.heat, self.count, self._sum = heat, 0, 0.0

    def add(self, step: MismatchStep) -> np.ndarray:
        """The heat map ``(H, W)`` float32 of all steps up to and including this one."""
        self._sum = self._sum + Mismatch.collect([step]).weighted(self.heat)[0].astype(np.float64)
        self.count += 1
        return (self._sum / self.count).astype(np.float32)


def smooth(maps: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian blur of the last two axes, ``sigma`` in cells, edges reflected; 0 leaves them as they are."""
    return gaussian_filter(maps, sigma=(0,) * (maps.ndim - 2) + (sigma, sigma), mode="reflect") if sigma else maps


def image_score(heatmap: np.ndarray) -> float:
    """``max(heat) + mean of the top 1 % of heat``, the top 1 % rounded up to whole pixels (Eq. 4)."""
    top = max(1, math.ceil(0.01 * heatmap.size))
    largest = np.partition(heatmap.ravel(), heatmap.size - top)[-top:].astype(np.float64)
    return float(largest.max() + largest.mean())
