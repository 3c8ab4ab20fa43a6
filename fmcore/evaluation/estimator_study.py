"""How good an estimate K paths at T times are, and what dependent noise buys.

`study` repeats the scoring of a few images with fresh noise and compares with the exact value of the mean
aggregator, `fmcore.mismatch.expected`: K and T to infinity. Other aggregators are compared with the same value,
since theirs is of no use: as K grows the minimum tends to the smallest mismatch any noise can give, which is
zero for a Gaussian field whatever the image. Their bias is therefore by design; what they are judged by is the
separation of labelled images.

Errors are relative: of a score, to the exact score of the same image; of a map, to the mean square of its exact
map. So every image counts alike.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from fmcore.errors import DataError, SettingsError
from fmcore.evaluation.metrics import auroc
from fmcore.mismatch.expected import ExpectedMap, ExpectedSettings, expected_maps
from fmcore.mismatch.mismatch import (
    HeatSettings,
    Mismatch,
    PathSettings,
    VelocityField,
    image_score,
    mismatch_steps,
    smooth,
)
from fmcore.mismatch.noise import NoiseKind
from fmcore.settings import Settings

MOST_PATHS, MOST_TIMES = 64, 100  # what PathSettings allows
NESTED = ("independent", "antithetic", "orthogonal", "sobol")  # few paths are the first of many


class StudySettings(Settings):
    """How often an estimate is repeated, and how its target is computed."""

    repeats: int = Field(16, ge=3, le=10_000, description="independent sets of noise, each shared by all images")
    seed: int = Field(0, ge=0, lt=2**31, description="seed of all of them")
    expected: ExpectedSettings = ExpectedSettings()


@dataclass(frozen=True)
class Gain:
    """A ratio of two variances and its standard error (jackknife over repeats); above 1 is a gain."""

    ratio: float
    error: float


@dataclass(frozen=True)
class Estimate:
    """What one choice of paths, times and aggregation gave for N images in R repeats.

    ``scores`` ``(R, N)``; ``exact`` ``(N,)`` and ``exact_error``, the score of the exact map and of its standard
    error; ``map_deviation`` ``(R,)``, the relative squared distance of each repeat's maps from their mean over
    repeats; ``map_bias`` the relative squared distance of that mean from the exact map, freed of the noise
    that is left in the mean (so it may come out slightly negative).
    """

    paths: PathSettings
    heat: HeatSettings
    scores: np.ndarray
    exact: np.ndarray
    exact_error: np.ndarray
    map_deviation: np.ndarray
    map_bias: float

    @property
    def evaluations(self) -> int:
        """Calls of the field per image, K T."""
        return self.paths.paths * self.paths.times

    @property
    def map_variance(self) -> float:
        return float(self.map_deviation.sum() / (len(self.map_deviation) - 1))

    @property
    def map_mse(self) -> float:
        """Relative mean squared error of the heat map: variance plus squared bias."""
        return self.map_variance + self.map_bias

    @property
    def score_bias(self) -> float:
        """Mean relative bias of the score, signed. The largest value of a noisy map is biased even where each
        pixel is not."""
        return float((self.scores / self.exact).mean() - 1)

    @property
    def score_deviation(self) -> np.ndarray:
        """``(R,)``, the relative squared distance of each repeat's scores from their mean, mean over images."""
        return np.square((self.scores - self.scores.mean(0)) / self.exact).mean(1)

    @property
    def score_variance(self) -> float:
        return float(self.score_deviation.sum() / (len(self.scores) - 1))

    @property
    def score_mse(self) -> float:
        """Relative mean squared error of the score."""
        return float(np.square(self.scores / self.exact - 1).mean())

    @property
    def score_scatter(self) -> float:
        """What is left of `score_mse` when all scores are divided by one common factor. A factor (for instance
        the 1/T error of the time grid) changes no ranking and moves the threshold along; the rest may."""
        ratio = self.scores / self.exact
        return float(np.square(ratio / ratio.mean() - 1).mean())

    def auroc(self, labels: np.ndarray) -> tuple[float | None, float | None]:
        """Image AUROC for bool ``labels`` ``(N,)``, mean over repeats, and its standard error with respect to the
        noise (not to the choice of images); None without both classes."""
        values = [auroc(scores, labels) for scores in self.scores]
        if values[0] is None:
            return None, None
        return float(np.mean(values)), float(np.std(values, ddof=1) / math.sqrt(len(values)))


@dataclass(frozen=True)
class StudyRecord:
    """Progress: ``done`` of ``total`` images and settings; ``estimates`` are those finished by this record."""

    done: int
    total: int
    estimates: tuple[Estimate, ...] = ()


def budget_paths(
    budgets: Iterable[int], *, noise: NoiseKind = "independent", times: Iterable[int] | None = None
) -> list[PathSettings]:
    """Every way to spend each budget ``K T``, within what `PathSettings` allows; ``times`` narrows down T.

    Raises:
        SettingsError: for a budget that can't be spent so.
    """
    allowed = range(1, MOST_TIMES + 1) if times is None else sorted(set(times))
    found = []
    for budget in budgets:
        pairs = [(budget // t, t) for t in allowed if t > 0 and budget % t == 0 and budget // t <= MOST_PATHS]
        if budget < 1 or not pairs:
            raise SettingsError(f"Budget {budget} is not usable: no K and T allowed have it as their product.")
        found += [PathSettings.parse(paths=k, times=t, noise=noise) for k, t in pairs]
    return found


def study(
    field: VelocityField,
    images: Tensor,
    paths: Sequence[PathSettings],
    heats: Sequence[HeatSettings],
    settings: StudySettings,
) -> Iterator[StudyRecord]:
    """Repeat every estimate and compare it with the exact value.

    The field runs ``repeats N K T`` times for each T and kind of noise (K the largest where smaller sets of
    noise are its beginnings), and on top for the exact value unless the field is Gaussian; ``heats`` are free.

    Args:
        field: any ``(x, t) -> v``, on the device of ``images``.
        images: ``(N, C, H, W)``, or points ``(N, d)``.
        paths: the choices of K, T and noise; their ``noise_seed`` is not used.
        heats: the choices of aggregator, exponent and smoothing.

    Yields:
        `StudyRecord` after every image; together they carry ``len(paths) len(heats)`` estimates.

    Raises:
        DataError: for images of another shape, none, or not finite. SettingsError: for no paths or no heats.
    """
    if images.ndim not in (2, 4) or not len(images) or not bool(torch.isfinite(images).all()):
        raise DataError("A study needs images (N, C, H, W) or points (N, d), at least one, of finite numbers.")
    if not paths or not heats:
        raise SettingsError("A study needs at least one choice of paths and of aggregation.")
    return _study(field, images, _grouped(paths), heats, settings)


def best_per_budget(estimates: Iterable[Estimate], error: Callable[[Estimate], float]) -> dict[int, Estimate]:
    """For each number of evaluations K T the estimate of least ``error``, for instance ``lambda e: e.map_mse``."""
    best: dict[int, Estimate] = {}
    for estimate in sorted(estimates, key=lambda e: e.evaluations):
        known = best.setdefault(estimate.evaluations, estimate)
        if error(estimate) < error(known):
            best[estimate.evaluations] = estimate
    return best


def variance_gain(base: Estimate, other: Estimate, *, score: bool = False) -> Gain:
    """Variance of ``base`` over variance of ``other``, of maps or of scores, both with the same repeats.

    Raises:
        DataError: for another number of repeats.
    """
    first, second = (e.score_deviation if score else e.map_deviation for e in (base, other))
    if len(first) != len(second):
        raise DataError("A gain needs two estimates with the same number of repeats.")
    # Leaving repeat r out lowers a sum of squares about its own mean by R / (R - 1) of r's squared distance.
    factor = len(first) / (len(first) - 1)
    left_out = (first.sum() - factor * first) / (second.sum() - factor * second)
    return Gain(float(first.sum() / second.sum()), jackknife(left_out))


def jackknife(left_out: np.ndarray) -> float:
    """Standard error of a statistic from its values with one repeat left out each, ``(R,)``."""
    count = len(left_out)
    return float(np.sqrt((count - 1) / count * np.square(left_out - left_out.mean()).sum()))


def _grouped(paths: Sequence[PathSettings]) -> list[list[PathSettings]]:
    """Choices that one run of the field serves: nested noise of one kind at the same times, most paths first."""
    groups: dict[tuple, list[PathSettings]] = {}
    for each in paths:
        own = 0 if each.noise in NESTED else each.paths
        groups.setdefault((each.times, each.noise, own), []).append(each)
    return [sorted(group, key=lambda p: -p.paths) for group in groups.values()]


def _study(
    field: VelocityField,
    images: Tensor,
    groups: list[list[PathSettings]],
    heats: Sequence[HeatSettings],
    settings: StudySettings,
) -> Iterator[StudyRecord]:
    total, done = len(images) * (1 + len(groups)), 0
    targets = []
    exponents = sorted({heat.exponent for heat in heats})
    for image in images:
        targets.append(expected_maps(field, image, exponents, settings.expected))
        yield StudyRecord(done := done + 1, total)
    seeds = repeat_seeds(settings.seed, settings.repeats)
    for group in groups:
        gathered = {(p, heat): _Gathered() for p in group for heat in heats}
        for number, (image, target) in enumerate(zip(images, targets, strict=True), start=1):
            maps: dict[tuple, list[np.ndarray]] = {key: [] for key in gathered}
            for seed in seeds:
                record = record_mismatch(field, image, group[0].replace(noise_seed=seed))
                for p, heat in gathered:
                    maps[p, heat].append(Mismatch(record.times, record.maps[:, : p.paths]).heatmap(heat))
            for (p, heat), found in maps.items():
                gathered[p, heat].add(np.stack(found).astype(np.float64), target[heat.exponent], heat)
            finished = number == len(images)
            estimates = tuple(g.estimate(p, heat) for (p, heat), g in gathered.items()) if finished else ()
            yield StudyRecord(done := done + 1, total, estimates)


def repeat_seeds(seed: int, repeats: int) -> list[int]:
    """Seeds of independent repeats: those of two different ``seed`` do not overlap as seed, seed + 1, ... would."""
    return [int(s) for s in np.random.SeedSequence(seed).generate_state(repeats) >> 1]


def record_mismatch(field: VelocityField, image: Tensor, paths: PathSettings) -> Mismatch:
    """`mismatch_steps` to the end; a point ``(d,)`` counts as an image of one pixel with d channels."""
    record = Mismatch.collect(mismatch_steps(field, image, paths, chunk=MOST_PATHS))
    return record if image.ndim == 3 else Mismatch(record.times, record.maps[..., None, None])


class _Gathered:
    """One estimate over the images seen so far."""

    def __init__(self) -> None:
        self.scores: list[np.ndarray] = []
        self.exact: list[tuple[float, float]] = []
        self.deviations: list[np.ndarray] = []
        self.biases: list[float] = []

    def add(self, maps: np.ndarray, target: ExpectedMap, heat: HeatSettings) -> None:
        """``maps`` ``(R, H, W)`` of one image."""
        exact = smooth(target.values, heat.smoothing)
        scale = np.square(exact).mean()
        deviation = np.square(maps - maps.mean(0)).mean((1, 2)) / scale
        left = deviation.sum() / (len(maps) * (len(maps) - 1))  # variance of the mean over repeats
        self.scores.append(np.array([image_score(m) for m in maps]))
        self.exact.append((image_score(exact), image_score(target.error)))
        self.deviations.append(deviation)
        self.biases.append(float(np.square(maps.mean(0) - exact).mean() / scale - left))

    def estimate(self, paths: PathSettings, heat: HeatSettings) -> Estimate:
        exact, error = np.array(self.exact).T
        deviation = np.mean(self.deviations, axis=0)
        return Estimate(paths, heat, np.stack(self.scores, 1), exact, error, deviation, float(np.mean(self.biases)))
