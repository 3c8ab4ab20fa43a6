"""Bias and variance of the path aggregators at one time, against K and t.

The mean over K paths is unbiased for the expected mismatch at t. The others are estimates of something else, and
two distances tell how far: from that expectation, and from their own limit as K grows, which is

- for the minimum the least mismatch that any noise can give. For a Gaussian field at t > 0 that is zero whatever
  the image, since some noise always lets the field agree: more paths bring the minimum closer to saying nothing.
  Curved laws keep more than zero;
- for the median and a percentile, the median and the alpha-quantile of the mismatch over the noise.

All figures are means over the pixels of one image (a point is one pixel), unsmoothed and unweighted;
`AggregatorStep.weighted` multiplies them by the time weight.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from fmcore.errors import DataError, SettingsError
from fmcore.evaluation.estimator_study import repeat_seeds
from fmcore.fields.gaussian import GaussianField
from fmcore.fields.source import source_noise
from fmcore.mismatch.expected import expected_mismatch
from fmcore.mismatch.mismatch import Aggregator, HeatSettings, VelocityField, aggregate_paths
from fmcore.mismatch.noise import NoiseKind
from fmcore.path import interpolate
from fmcore.settings import Settings


class AggregatorSettings(Settings):
    """What is compared, and how often it is repeated."""

    paths: tuple[int, ...] = Field((1, 2, 4, 8, 16, 32, 64), min_length=1, description="K to compare")
    times: tuple[float, ...] = Field((0.1, 0.3, 0.5, 0.7, 0.9), min_length=1, description="times, in (0, 1)")
    aggregators: tuple[Aggregator, ...] = Field(("mean", "median", "percentile", "min"), min_length=1)
    percentile: float = Field(0.25, gt=0, le=1, description="alpha of the percentile aggregator")
    noise: NoiseKind = Field("independent", description="how the K draws depend on each other")
    repeats: int = Field(64, ge=2, le=10_000, description="independent sets of K draws")
    reference: int = Field(1024, ge=2, le=100_000, description="draws behind limits that have no closed form")
    seed: int = Field(0, ge=0, lt=2**31)


@dataclass(frozen=True)
class AggregatorPoint:
    """One aggregator at one K: its mean over repeats with standard error, its variance over repeats, and the bias
    of that mean from the expected mismatch and from the aggregator's own limit."""

    aggregator: Aggregator
    paths: int
    mean: float
    error: float
    variance: float
    bias: float
    bias_from_limit: float


@dataclass(frozen=True)
class AggregatorStep:
    """One time: the expected mismatch (and its standard error, 0 in closed form), the limits by aggregator, and a
    point for every aggregator and K."""

    t: float
    expected: float
    expected_error: float
    limits: dict[str, float]
    points: tuple[AggregatorPoint, ...]

    def weighted(self, exponent: float) -> AggregatorStep:
        """All figures as contributions to the heat map: values times ``t^r``, variances times ``t^(2 r)``."""
        w = self.t**exponent
        points = tuple(
            AggregatorPoint(
                p.aggregator, p.paths, p.mean * w, p.error * w, p.variance * w * w, p.bias * w, p.bias_from_limit * w
            )
            for p in self.points
        )
        limits = {name: value * w for name, value in self.limits.items()}
        return replace(
            self, expected=self.expected * w, expected_error=self.expected_error * w, limits=limits, points=points
        )


def study_aggregators(field: VelocityField, image: Tensor, settings: AggregatorSettings) -> Iterator[AggregatorStep]:
    """Compare the aggregators on one image.

    The field runs ``repeats sum(paths) + reference`` times per time.

    Args:
        field: any ``(x, t) -> v``, on the device of ``image``.
        image: ``(C, H, W)``, or a point ``(d,)``.

    Yields:
        `AggregatorStep` for each time, in the order given.

    Raises:
        DataError: for an image of another shape. SettingsError: for a K below 1 or a time outside (0, 1).
    """
    if image.ndim not in (1, 3) or not bool(torch.isfinite(image).all()):
        raise DataError("An aggregator study needs one image (C, H, W) or point (d,) of finite numbers.")
    if min(settings.paths) < 1 or not all(0 < t < 1 for t in settings.times):
        raise SettingsError("An aggregator study needs at least one path, and times strictly between 0 and 1.")
    return _steps(field, image, settings)


def _steps(field: VelocityField, image: Tensor, settings: AggregatorSettings) -> Iterator[AggregatorStep]:
    heats = {
        name: HeatSettings(aggregator=name, percentile=settings.percentile, smoothing=0.0)
        for name in settings.aggregators
    }
    shape = tuple(image.shape)
    first, *seeds = repeat_seeds(settings.seed, settings.repeats + 1)
    reference = source_noise(field, "independent", settings.reference, shape, first)
    for t in settings.times:
        many = _maps(field, image, reference, t)
        expected, error = _expectation(field, image, t, many)
        limits = {name: _limit(field, name, settings.percentile, many, expected) for name in heats}
        points = []
        for count in settings.paths:
            drawn = [_maps(field, image, source_noise(field, settings.noise, count, shape, seed), t) for seed in seeds]
            for name, heat in heats.items():
                values = np.stack([aggregate_paths(maps, heat) for maps in drawn])
                mean, means = float(values.mean()), values.mean((1, 2))
                spread = float(means.std(ddof=1)) / math.sqrt(len(means))
                variance = float(values.var(0, ddof=1).mean())
                points.append(
                    AggregatorPoint(name, count, mean, spread, variance, mean - expected, mean - limits[name])
                )
        yield AggregatorStep(t, expected, error, limits, tuple(points))


def _maps(field: VelocityField, image: Tensor, noise: Tensor, t: float, chunk: int = 64) -> np.ndarray:
    """Mismatch on each path, ``(K, H, W)`` float64; ``(K, 1, 1)`` for a point."""
    parts = []
    with torch.inference_mode():
        for x0 in noise.to(image.device).split(chunk):
            squares = (field(interpolate(x0, image, t), t) - (image - x0)).double().square().sum(1)
            parts.append(squares.cpu() if image.ndim == 3 else squares.cpu()[:, None, None])
    return torch.cat(parts).numpy()


def _expectation(field: VelocityField, image: Tensor, t: float, many: np.ndarray) -> tuple[float, float]:
    if isinstance(field, GaussianField):
        return float(expected_mismatch(field, image, t).mean()), 0.0
    means = many.mean((1, 2))
    return float(means.mean()), float(means.std(ddof=1)) / math.sqrt(len(means))


def _limit(field: VelocityField, name: str, alpha: float, many: np.ndarray, expected: float) -> float:
    match name:
        case "mean":
            return expected
        case "min":
            # Elsewhere the least of many draws stands for it: too large, if anything.
            return 0.0 if isinstance(field, GaussianField) else float(many.min(0).mean())
        case "median":
            return float(np.median(many, axis=0).mean())
        case _:
            return float(np.quantile(many, alpha, axis=0, method="inverted_cdf").mean())
