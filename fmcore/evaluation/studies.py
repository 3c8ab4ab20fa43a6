"""What notebooks 04 to 06 measure on labelled images: settings swept, Fisher part beside mismatch, and seconds.

A sweep runs the field once per image for all settings that one record holds: fewer paths are the first of many, and the
times ``j / (T' + 1)`` are among those of T where ``T' + 1`` divides ``T + 1``; T = 23 holds 1, 2, 3, 5, 7 and 11.

Seconds depend on what else the machine does; so cases are timed in turns, and the ratios between cases and stages of
one call are worth more than seconds.
"""

from __future__ import annotations

import itertools
import os
import platform
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from fmcore.data.folders import TestItem
from fmcore.data.picture import Picture, read_mask, read_picture, resize_map
from fmcore.decomposition.sampled import FisherMaps, fisher_maps
from fmcore.errors import DataError, ImageError, SettingsError
from fmcore.evaluation import Progress
from fmcore.evaluation.metrics import auroc
from fmcore.fields.field import VelocityField
from fmcore.mismatch import HeatSettings, Mismatch, PathSettings, image_score, mismatch_steps

Case = tuple[PathSettings, HeatSettings]
STAGES = ("decode", "view", "field", "aggregation")


class LabelledImages(NamedTuple):
    """Readable test images ``(N, C, H, W)``, which are ``defective`` ``(N,)``, and a bool mask of each: empty for good
    ones, None where no file marks the defect."""

    images: Tensor
    defective: np.ndarray
    masks: tuple[np.ndarray | None, ...]
    unreadable: tuple[str, ...]


def read_test_set(items: list[TestItem], view: Callable[[Picture], Tensor], *, pixel_size: int = 256) -> LabelledImages:
    """Decode test images once, as ``view`` sees them, and masks at ``pixel_size`` squared; a file that can't be read is
    left out and its reason kept. Raises `DataError` if none could be read."""
    read, unreadable = [], []
    for item in items:
        try:
            mask = np.zeros((pixel_size, pixel_size), dtype=bool) if item.is_good else None
            if item.mask is not None:
                mask = read_mask(item.mask, height=pixel_size, width=pixel_size)
            read.append((view(read_picture(item.path)), not item.is_good, mask))
        except ImageError as error:
            unreadable.append(str(error))
    if not read:
        reasons = "".join(f" The first: {reason}" for reason in unreadable[:1])
        raise DataError(f"None of the {len(items)} test images could be read.{reasons}")
    images, defective, masks = zip(*read, strict=True)
    return LabelledImages(torch.stack(images), np.array(defective), masks, tuple(unreadable))


def _aurocs(maps: list, defective: Sequence[bool], masks: Sequence[np.ndarray | None], enlarge: Callable) -> dict:
    """Image and pixel AUROC of heat maps ``(h, w)``, one per image, each None where undefined; that of pixels at the
    masks' size, where a good image without a mask has an empty one, and a defective one does not count."""
    scores, labels, pixel_auroc = np.array([image_score(m) for m in maps]), np.asarray(defective, dtype=bool), None
    if marked := [mask for mask in masks if mask is not None]:
        height, width = marked[0].shape
        known = [i for i, mask in enumerate(masks) if mask is not None or not labels[i]]
        truth = np.stack([np.zeros((height, width), bool) if masks[i] is None else masks[i] for i in known])
        pixel_auroc = auroc(np.stack([enlarge(maps[i], height=height, width=width) for i in known]), truth)
    return {"image_auroc": auroc(scores, labels), "pixel_auroc": pixel_auroc}


class SweepResult(NamedTuple):
    """One choice of settings: figures over all images (None where undefined), and field calls K T (0: exact mean)."""

    paths: PathSettings
    heat: HeatSettings
    image_auroc: float | None
    pixel_auroc: float | None
    evaluations: int


def grid(paths: PathSettings, heat: HeatSettings, /, **choices: Iterable) -> list[Case]:
    """Every combination of choices for fields of either settings, the others as given: ``grid(paths, heat,
    times=(5, 11), exponent=(0.0, 2.0))``. Raises `SettingsError` for an unknown name or a value out of range."""
    found = []
    for values in itertools.product(*choices.values()):
        given = dict(zip(choices, values, strict=True))
        of_heat = {name: given.pop(name) for name in choices if name in HeatSettings.model_fields}
        found.append((paths.replace(**given), heat.replace(**of_heat)))
    return found


def sweep(
    field: VelocityField,
    images: Tensor,
    defective: Sequence[bool],
    masks: Sequence[np.ndarray | None],
    cases: Sequence[Case],
) -> Iterator[Progress]:
    """Score every image ``(N, C, H, W)`` under every case, with masks as in `LabelledImages`; the last record's result
    is a tuple of `SweepResult`, in order of the cases. One record is in memory at a time."""
    # What to record, and which cases each record serves: those of its noise, with times on its grid. K = 0, the exact
    # mean over all noise, is no part of a record of draws.
    runs: dict[PathSettings, list[int]] = {}
    for index, (paths, _) in sorted(enumerate(cases), key=lambda case: -case[1][0].times):
        kin = (r for r in runs if (r.noise_seed, r.paths == 0) == (paths.noise_seed, paths.paths == 0))
        run = next((r for r in kin if (r.times + 1) % (paths.times + 1) == 0), paths)
        runs.setdefault(run, []).append(index)
    maps = [[] for _ in cases]
    for done, image in enumerate(images, start=1):
        for run, members in runs.items():
            most = run.replace(paths=max(cases[index][0].paths for index in members))
            record = Mismatch.collect(mismatch_steps(field, image, most))
            for index in members:
                paths, heat = cases[index]
                every = (run.times + 1) // (paths.times + 1)
                part = record.subset(slice(every - 1, None, every))
                maps[index].append(Mismatch(part.times, part.maps[:, : paths.paths or None]).heatmap(heat))
        yield Progress(done, len(images))
    results = (
        SweepResult(paths, heat, **_aurocs(found, defective, masks, resize_map), evaluations=paths.paths * paths.times)
        for (paths, heat), found in zip(cases, maps, strict=True)
    )
    yield Progress(len(images), len(images), tuple(results))


class FisherRecord(NamedTuple):
    """The ``done``-th of ``total`` images: both maps, and on the last record the AUROCs over all of them,
    ``{"mismatch": {"image_auroc", "pixel_auroc"}, "fisher": {...}}``, each None where undefined."""

    done: int
    total: int
    maps: FisherMaps
    result: dict | None


def compare_fisher(
    p: VelocityField,
    q: VelocityField,
    test: LabelledImages,
    paths: PathSettings,
    heat: HeatSettings,
    enlarge: Callable = resize_map,
) -> Iterator[FisherRecord]:
    """`fisher_maps` of every test image; ``enlarge(map (H, W), height=, width=)`` is the way of the images' view."""
    found, result = {kind: [] for kind in FisherMaps._fields}, None
    for done, image in enumerate(test.images, 1):
        maps = fisher_maps(p, q, image, paths)
        for kind, mismatch in maps._asdict().items():
            found[kind].append(mismatch.heatmap(heat))
        if done == len(test.images):
            result = {kind: _aurocs(each, test.defective, test.masks, enlarge) for kind, each in found.items()}
        yield FisherRecord(done, len(test.images), maps, result)


class SpeedCase(NamedTuple):
    """What is timed, from an image file to its score."""

    label: str
    file: Path
    view: Callable[[Picture], Tensor]
    field: VelocityField
    paths: PathSettings
    heat: HeatSettings


class Timing(NamedTuple):
    """Seconds ``(rounds,)`` of each of `STAGES`: ``field`` holds all of Eq. 2, ``aggregation`` Eqs. 3 and 4."""

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
    total, clocks = len(cases) * (rounds + 1), []
    for done in range(total):
        case = cases[done % len(cases)]
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
        clocks.append([*clock, time.perf_counter()])
        yield Progress(done + 1, total)
    seconds = np.diff(clocks).reshape(rounds + 1, len(cases), len(STAGES))[1:]
    timings = (Timing(c.label, dict(zip(STAGES, seconds[:, i].T, strict=True))) for i, c in enumerate(cases))
    yield Progress(total, total, tuple(timings))


def machine() -> dict[str, str | int]:
    """What the seconds depend on."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.processor() or platform.machine()
    return {"device": device, "cores": os.cpu_count() or 1, "threads": torch.get_num_threads()}
