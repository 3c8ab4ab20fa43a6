"""What each setting does to quality, and what it costs: K, T, aggregator, exponent and smoothing on labelled images.

The field runs once per image for all settings that one record holds: fewer paths are the first of many, and the times
``j / (T' + 1)`` are among those of T where ``T' + 1`` divides ``T + 1``; T = 23 holds 1, 2, 3, 5, 7 and 11.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from torch import Tensor

from fmcore.data.picture import resize_map
from fmcore.evaluation import Progress
from fmcore.evaluation.metrics import auroc
from fmcore.fields.field import VelocityField
from fmcore.mismatch import HeatSettings, Mismatch, PathSettings, image_score, mismatch_steps

Case = tuple[PathSettings, HeatSettings]


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
    """Score every image under every case; the last record's result is a tuple of `SweepResult`, in order of the cases.

    Args:
        images: ``(N, C, H, W)`` as the field's view gives them, on its device; one record is in memory at a time.
        masks: bool ``(H', W')`` of one size, at which maps are compared; None for good images, and for defective ones
            whose truth is not known: these don't count for pixels.
    """
    labels, runs = np.asarray(defective, dtype=bool), _runs([paths for paths, _ in cases])
    known = [i for i, mask in enumerate(masks) if mask is not None or not labels[i]]
    height, width = next((mask.shape for mask in masks if mask is not None), (1, 1))
    truth = np.stack([np.zeros((height, width), bool) if masks[i] is None else masks[i] for i in known])
    maps = [[] for _ in cases]
    for done, image in enumerate(images, start=1):
        for run, members in runs.items():
            record = Mismatch.collect(mismatch_steps(field, image, run))
            for index in members:
                paths, heat = cases[index]
                every = (run.times + 1) // (paths.times + 1)
                part = record.subset(slice(every - 1, None, every))
                maps[index].append(Mismatch(part.times, part.maps[:, : paths.paths or None]).heatmap(heat))
        yield Progress(done, len(images))
    results = []
    for (paths, heat), found in zip(cases, maps, strict=True):
        resized = np.stack([resize_map(found[i], height=height, width=width) for i in known])
        figures = auroc(np.array([image_score(heatmap) for heatmap in found]), labels), auroc(resized, truth)
        results.append(SweepResult(paths, heat, *figures, paths.paths * paths.times))
    yield Progress(len(images), len(images), tuple(results))


def _runs(wanted: list[PathSettings]) -> dict[PathSettings, list[int]]:
    """What to record, and which cases each record serves: those of its noise, with times on its grid. K = 0, the exact
    mean over all noise, is no part of a record of draws."""
    members: dict[PathSettings, list[int]] = {}
    for index, paths in sorted(enumerate(wanted), key=lambda pair: -pair[1].times):
        kin = (r for r in members if (r.noise_seed, r.paths == 0) == (paths.noise_seed, paths.paths == 0))
        run = next((r for r in kin if (r.times + 1) % (paths.times + 1) == 0), paths)
        members.setdefault(run, []).append(index)
    return {run.replace(paths=max(wanted[i].paths for i in found)): found for run, found in members.items()}
