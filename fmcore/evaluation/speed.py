"""How long one image takes, and on which stage the time goes.

Seconds depend on the machine and on what else it does; so cases are measured in turns, round after round, and the
ratios between cases and stages of one call are worth more than seconds.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from fmcore.data.picture import Picture, read_picture
from fmcore.errors import SettingsError
from fmcore.evaluation import Progress
from fmcore.fields.field import VelocityField
from fmcore.mismatch import HeatSettings, Mismatch, PathSettings, image_score, mismatch_steps

STAGES = ("decode", "view", "field", "aggregation")


class SpeedCase(NamedTuple):
    """What is timed, from an image file to its score."""

    label: str
    file: Path
    view: Callable[[Picture], Tensor]
    field: VelocityField
    paths: PathSettings
    heat: HeatSettings


class Timing(NamedTuple):
    """Seconds ``(rounds,)`` of each of `STAGES`: ``field`` holds all of Eq. 2, ``aggregation`` Eqs. 3 and 4. Show the
    median, with the least and the largest as spread."""

    label: str
    stages: dict[str, np.ndarray]

    @property
    def seconds(self) -> np.ndarray:
        """Of all stages, ``(rounds,)``."""
        return sum(self.stages.values())

    def relative_to(self, other: Timing) -> np.ndarray:
        """Ratio to another case of the same call, round by round."""
        return self.seconds / other.seconds


def measure_speed(cases: Sequence[SpeedCase], *, rounds: int = 5) -> Iterator[Progress]:
    """Score the image of every case once to warm up, then once in each round; the last record's result is a tuple of
    `Timing`. Raises `SettingsError` for no case or round, `ImageError` for a file that can't be read."""
    if not cases or rounds < 1:
        raise SettingsError("Measuring speed needs at least one case and one round: give both.")
    total, found = len(cases) * (rounds + 1), []
    for done in range(total):
        found.append(_timed(cases[done % len(cases)]))
        yield Progress(done + 1, total)
    seconds = np.array(found).reshape(rounds + 1, len(cases), len(STAGES))[1:]
    timings = (Timing(c.label, dict(zip(STAGES, seconds[:, i].T, strict=True))) for i, c in enumerate(cases))
    yield Progress(total, total, tuple(timings))


def machine() -> dict[str, str | int]:
    """What the seconds depend on."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.processor() or platform.machine()
    return {"device": device, "cores": os.cpu_count() or 1, "threads": torch.get_num_threads()}


def _timed(case: SpeedCase) -> np.ndarray:
    clock = [time.perf_counter()]
    picture = read_picture(case.file)
    clock.append(time.perf_counter())
    image = case.view(picture)
    if image.is_cuda:  # a GPU only queues work: without waiting, the field would be charged for the view
        torch.cuda.synchronize(image.device)
    clock.append(time.perf_counter())
    mismatch = Mismatch.collect(mismatch_steps(case.field, image, case.paths))
    clock.append(time.perf_counter())
    image_score(mismatch.heatmap(case.heat))
    return np.diff([*clock, time.perf_counter()])
