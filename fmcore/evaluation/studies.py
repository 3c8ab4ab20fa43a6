"""What notebooks 04 to 06 measure on labelled images: settings swept, Fisher part beside mismatch, and seconds.

A sweep runs the field once per image for all settings that one record holds: fewer paths are the first of many, and the
times ``j / (T' + 1)`` are among those of T where ``T' + 1`` divides ``T + 1``; T = 23 holds 1, 2, 3, 5, 7 and 11.
"""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from fmcore.data import Progress
from fmcore.data.folders import TestItem
from fmcore.data.picture import Picture, read_mask, read_picture, resize_map
from fmcore.decomposition.sampled import FisherMaps, fisher_maps
from fmcore.errors import DataError, ImageError, SettingsError
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

    def aurocs(self, maps: Sequence[np.ndarray]) -> dict[str, float | None]:
        """Image and pixel AUROC of a heat map ``(h, w)`` of each, None where undefined; that of pixels at the size of
        the masks, without defective images that have none."""
        of_images, of_pixels = auroc(np.array([image_score(m) for m in maps]), self.defective), None
        if known := [i for i, mask in enumerate(self.masks) if mask is not None]:
            height, width = self.masks[known[0]].shape
            large = np.stack([resize_map(maps[i], height=height, width=width) for i in known])
            of_pixels = auroc(large, np.stack([self.masks[i] for i in known]))
        return {"image_auroc": of_images, "pixel_auroc": of_pixels}


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


def sweep(field: VelocityField, test: LabelledImages, cases: Sequence[Case]) -> Iterator[Progress]:
    """Score every image under every case; the result is a tuple of `SweepResult`, in order of the cases. One record is
    in memory at a time."""
    # What to record, and which cases each record serves: those of its noise, with times on its grid. K = 0, the exact
    # mean over all noise, is no part of a record of draws.
    runs: dict[PathSettings, list[int]] = {}
    for index, (paths, _) in sorted(enumerate(cases), key=lambda case: -case[1][0].times):
        kin = (r for r in runs if (r.noise_seed, r.paths == 0) == (paths.noise_seed, paths.paths == 0))
        run = next((r for r in kin if (r.times + 1) % (paths.times + 1) == 0), paths)
        runs.setdefault(run, []).append(index)
    maps = [[] for _ in cases]
    for done, image in enumerate(test.images, start=1):
        for run, members in runs.items():
            most = run.replace(paths=max(cases[index][0].paths for index in members))
            record = Mismatch.collect(mismatch_steps(field, image, most))
            for index in members:
                paths, heat = cases[index]
                every = (run.times + 1) // (paths.times + 1)
                part = record.subset(slice(every - 1, None, every))
                maps[index].append(Mismatch(part.times, part.maps[:, : paths.paths or None]).heatmap(heat))
        yield Progress(done, len(test.images))
    results = (
        SweepResult(paths, heat, **test.aurocs(found), evaluations=paths.paths * paths.times)
        for (paths, heat), found in zip(cases, maps, strict=True)
    )
    yield Progress(done, done, result=tuple(results))


def compare_fisher(
    p: VelocityField, q: VelocityField, test: LabelledImages, paths: PathSettings, heat: HeatSettings
) -> Iterator[Progress]:
    """`fisher_maps` of every test image; the result is their AUROCs, ``{"mismatch": {"image_auroc", "pixel_auroc"},
    "fisher": {...}}``, each None where undefined, and a list of all maps."""
    found: list[FisherMaps] = []
    for image in test.images:
        found.append(fisher_maps(p, q, image, paths))
        yield Progress(len(found), len(test.images))
    heats = {kind: [getattr(maps, kind).heatmap(heat) for maps in found] for kind in FisherMaps._fields}
    yield Progress(len(found), len(found), result=({kind: test.aurocs(heats[kind]) for kind in heats}, found))


def measure_speed(cases: Mapping[str, Sequence[Callable]], items: Sequence[TestItem], *, rounds: int = 5):
    """Score every image by every case, in turns, in each round, after one image to warm up; yields `Progress`. A case
    has a function for each of `STAGES` after the first, from a `Picture` to a map ``(h, w)``.

    The last record's result has of each case, for one image, ``seconds`` and ``processor`` (time of all threads, which
    other processes disturb less) ``(rounds, stages)``, and ``image_auroc``: faster must not be worse. Raises
    `SettingsError` for no case, image or round, `ImageError` for a file that can't be read."""
    if not cases or not items or rounds < 1:
        raise SettingsError("Measuring speed needs at least one case, one image and one round: give all.")
    turns = [*itertools.product(items[:1], cases), *itertools.product([*items] * rounds, cases)]
    clocks, scores = [], []
    for item, label in turns:
        value, clock = item.path, [_now()]
        for step in (read_picture, *cases[label], image_score):
            value = step(value)
            clock.append(_now())
        clocks.append([*clock[:-2], clock[-1]])  # map and score are one stage
        scores.append(value)
        yield Progress(len(scores), len(turns))
    shape = rounds, len(items), len(cases)
    spent = np.diff(clocks, axis=1)[len(cases) :].reshape(*shape, len(STAGES), 2).mean(1)
    found, defective = np.reshape(scores[len(cases) :], shape)[0], np.array([not item.is_good for item in items])
    result = {}
    for index, label in enumerate(cases):
        seconds, processor = np.moveaxis(spent[:, index], 2, 0)
        result[label] = {"seconds": seconds, "processor": processor, "image_auroc": auroc(found[:, index], defective)}
    yield Progress(len(turns), len(turns), result=result)


def _now() -> tuple[float, float]:
    if torch.cuda.is_available():  # a GPU only queues work: without waiting, a stage would be charged for another
        torch.cuda.synchronize()
    return time.perf_counter(), time.process_time()


def plain_convolution(channels: int = 128, side: int = 48) -> tuple[Callable, ...]:
    """What the machine can do, as a case of `measure_speed` whose field is one 3 x 3 convolution."""
    layer = torch.nn.Conv2d(channels, channels, 3, padding=1).to(memory_format=torch.channels_last)
    x = torch.zeros(1, channels, side, side).contiguous(memory_format=torch.channels_last)
    return lambda _: x, torch.inference_mode()(layer), lambda _: np.zeros((1, 1))


def count_products(run: Callable[[], Any]) -> int:
    """Multiplications by weights in the convolutions and linear maps that ``run()`` calls."""
    counts = []

    def count(module: torch.nn.Module, _: Any, out: Any) -> None:
        if getattr(weight := getattr(module, "weight", None), "ndim", 0) > 1:
            counts.append(out.numel() * weight[0].numel())

    with torch.nn.modules.module.register_module_forward_hook(count):
        run()
    return sum(counts)


def measure_scaling(run: Callable[[int], Any], sizes: Sequence[int], *, most_seconds: float = 60) -> Iterator[Progress]:
    """``run(size)`` of ascending sizes, none begun after ``most_seconds``. The last record's result has ``sizes`` and,
    of each, ``seconds`` of processor time and ``megabytes``, memory at the peak above that before (on Linux); and the
    ``exponent`` of seconds in size, the slope of a line through logarithms."""
    started, rows = time.perf_counter(), []
    for size in itertools.takewhile(lambda _: time.perf_counter() - started < most_seconds, sizes):
        before, begun = _memory(reset=True), time.process_time()
        run(size)
        rows.append((size, time.process_time() - begun, _memory() - before))
        yield Progress(len(rows), len(sizes))
    sizes, seconds, megabytes = map(list, zip(*rows, strict=True))
    slope = float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0]) if len(rows) > 1 else None
    found = {"sizes": sizes, "seconds": seconds, "megabytes": megabytes, "exponent": slope}
    yield Progress(len(rows), len(rows), result=found)


def _memory(reset: bool = False) -> float:
    """Megabytes of the process at the peak since the last reset; 0 where the system does not tell."""
    if not (process := Path("/proc/self")).is_dir():
        return 0.0
    if reset:
        (process / "clear_refs").write_text("5")
    return int(re.search(r"VmHWM:\s+(\d+)", (process / "status").read_text())[1]) / 1024
