"""How long scoring one image takes, and on what the time goes.

Times of a machine that does other work too drift. So cases are measured in turns, round after round, and each
case is summed up by its median over rounds: ratios between cases of one call are worth more than seconds.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fmcore.data.folders import list_images
from fmcore.data.picture import read_picture
from fmcore.errors import DataError, SettingsError
from fmcore.fields.gaussian import GaussianField
from fmcore.mismatch.mismatch import HeatSettings, Mismatch, PathSettings, VelocityField, image_score, mismatch_steps
from fmcore.mismatch.noise import path_noise

STAGES = ("decode", "noise", "field", "paths", "heat map")


@dataclass(frozen=True)
class SpeedCase:
    """What is timed: an image ``(C, H, W)`` on the field's device, or a ``file`` that is decoded to its shape first."""

    label: str
    velocity: VelocityField
    image: Tensor
    paths: PathSettings = field(default_factory=PathSettings)
    heat: HeatSettings = field(default_factory=HeatSettings)
    chunk: int = 16
    file: Path | None = None


@dataclass(frozen=True)
class Timing:
    """Seconds for one image: the median over rounds of the whole and of each of `STAGES`, with the fastest and
    slowest round. ``decode`` is 0 without a file; ``paths`` is interpolation, squares and copies."""

    label: str
    seconds: float
    fastest: float
    slowest: float
    stages: dict[str, float]

    @property
    def images_per_second(self) -> float:
        return 1 / self.seconds


@dataclass(frozen=True)
class SpeedRecord:
    """Progress: ``done`` of ``total`` measurements; the last record carries a timing for each case."""

    done: int
    total: int
    timings: tuple[Timing, ...] = ()


def measure_speed(cases: Sequence[SpeedCase], *, rounds: int = 3) -> Iterator[SpeedRecord]:
    """Score the image of every case once to warm up, then once in each round.

    Raises:
        SettingsError: for no case, two of one label, or fewer than one round.
    """
    if not cases or len({case.label for case in cases}) < len(cases) or rounds < 1:
        raise SettingsError("Measuring speed needs at least one round and cases with different labels.")
    return _measure(cases, rounds)


def first_image(path: str | Path) -> Path:
    """An image file as it is, or the first one in a folder.

    Raises:
        DataError: if there is no such file or folder, or the folder holds no image.
    """
    path = Path(path)
    if not path.exists():
        raise DataError(f"There is no file or folder '{path}': give an image, or a folder that holds some.")
    found = [path] if path.is_file() else list_images(path)
    if not found:
        raise DataError(f"'{path}' holds no image: give an image, or a folder that holds some.")
    return found[0]


def stand_in(size: int, *, components: int, seed: int = 0) -> GaussianField:
    """A `GaussianField` for RGB images of ``size`` pixels that costs what a fitted one does: random directions."""
    generator = torch.Generator().manual_seed(seed)
    basis = torch.linalg.qr(torch.randn(3 * size * size, components, generator=generator))[0].T.contiguous()
    return GaussianField(torch.zeros(3, size, size), basis, torch.linspace(1.0, 0.1, components), 0.01)


def machine(device: torch.device | str = "cpu") -> dict[str, str | int]:
    """What the seconds depend on: processor, cores, threads, device, versions; load is that of the last minute."""
    device = torch.device(device)
    return {
        "processor": _processor(),
        "cores": os.cpu_count() or 1,
        "threads": torch.get_num_threads(),
        "load": f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown",
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def _measure(cases: Sequence[SpeedCase], rounds: int) -> Iterator[SpeedRecord]:
    found: dict[str, list[dict[str, float]]] = {case.label: [] for case in cases}
    total = len(cases) * (rounds + 1)
    for done in range(total):
        case = cases[done % len(cases)]
        stages = _timed(case)
        if done >= len(cases):
            found[case.label].append(stages)
        if done + 1 < total:
            yield SpeedRecord(done + 1, total)
    yield SpeedRecord(total, total, tuple(_summary(label, runs) for label, runs in found.items()))


def _timed(case: SpeedCase) -> dict[str, float]:
    clock = _Clock(case.velocity)
    image, device = case.image, case.image.device
    start = time.perf_counter()
    if case.file is not None:
        image = read_picture(case.file).tensor(image.shape[-1], image.shape[0]).to(device)
    decoded = time.perf_counter()
    mismatch = Mismatch.collect(mismatch_steps(clock, image, case.paths, chunk=case.chunk))
    scored = time.perf_counter()
    image_score(mismatch.heatmap(case.heat))
    end = time.perf_counter()
    # Drawn a second time, to know what share of the run above it was.
    path_noise(case.paths.noise, case.paths.paths, tuple(image.shape), case.paths.noise_seed)
    noise = time.perf_counter() - end
    return {
        "whole": end - start,
        "decode": decoded - start if case.file is not None else 0.0,
        "noise": noise,
        "field": clock.seconds,
        "paths": max(0.0, scored - decoded - clock.seconds - noise),
        "heat map": end - scored,
    }


class _Clock:
    """A field that adds up the time spent in it."""

    def __init__(self, field: VelocityField):
        self.field, self.seconds = field, 0.0

    def __call__(self, x: Tensor, t: float | Tensor) -> Tensor:
        _wait(x)
        start = time.perf_counter()
        velocity = self.field(x, t)
        _wait(x)
        self.seconds += time.perf_counter() - start
        return velocity


def _wait(x: Tensor) -> None:
    # A GPU only queues work: without waiting, its time would be booked on whoever copies the result.
    if x.is_cuda:
        torch.cuda.synchronize(x.device)


def _summary(label: str, runs: list[dict[str, float]]) -> Timing:
    whole = [run["whole"] for run in runs]
    stages = {name: float(np.median([run[name] for run in runs])) for name in STAGES}
    return Timing(label, float(np.median(whole)), min(whole), max(whole), stages)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
