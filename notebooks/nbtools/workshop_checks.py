"""The workshop's checks of what learners write, one per exercise; `workshop_mistakes` has what each recognises.

Right answers come from fmcore. Usage in a notebook: ``feedback = check.path(my_path)``, then ``feedback``.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fmcore.fields import MixtureField
from fmcore.mismatch.mismatch import HeatSettings, Mismatch, aggregate_paths, image_score
from fmcore.path import draw_noise, interior_times, interpolate
from nbtools.workshop_feedback import Feedback, Function, review
from nbtools.workshop_mistakes import (
    AGGREGATE_MISTAKES,
    HEATMAP_MISTAKES,
    MISMATCH_MISTAKES,
    PATH_MISTAKES,
    SCORE_MISTAKES,
    VELOCITY_MISTAKES,
    gap,
)

__all__ = ["aggregate", "heatmap", "mismatch", "path", "score", "velocity"]


def path(learned: Function) -> Feedback:
    """Exercise 1a: ``(x0, x1, t) -> x_t``."""
    return review(
        "Exercise 1a, the path",
        learned,
        interpolate,
        _ends(),
        PATH_MISTAKES,
        praise="Your path starts in the noise at t = 0 and arrives at the data at t = 1.",
        shape="one state x_t, shaped as x0",
    )


def velocity(learned: Function) -> Feedback:
    """Exercise 1b: ``(x0, x1, t) -> u``."""
    return review(
        "Exercise 1b, its velocity",
        learned,
        lambda x0, x1, t: x1 - x0,
        _ends(),
        VELOCITY_MISTAKES,
        praise="The same velocity at all times: this is what makes the straight path so convenient.",
        shape="one velocity, shaped as x0",
    )


def mismatch(learned: Function) -> Feedback:
    """Exercise 2: ``(field, y, x0, t) -> D``, ``(K, H, W)`` from ``y`` ``(C, H, W)`` and ``x0`` ``(K, C, H, W)``."""
    return review(
        "Exercise 2, the mismatch",
        learned,
        _mismatch,
        _images(),
        MISMATCH_MISTAKES,
        praise="One map per noise draw: where it is large, the field and the straight path disagree.",
        shape="one map per path, (K, H, W)",
    )


def _mismatch(field: Function, y: Tensor, x0: Tensor, t: float) -> Tensor:
    """What `fmcore.mismatch_steps` yields at one time, for noise that is given instead of drawn there."""
    return gap(field, y, x0, t).square().sum(1)


def aggregate(learned: Function) -> Feedback:
    """Exercise 3: ``maps -> map``, ``(H, W)`` from ``(K, H, W)``."""
    return review(
        "Exercise 3, the minimum over paths",
        learned,
        lambda maps: torch.from_numpy(aggregate_paths(maps.numpy(), HeatSettings(aggregator="min"))),
        [(maps,) for maps in (_maps(5, 3, 4), _maps(1, 2, 6), _maps(8, 7, 2))],
        AGGREGATE_MISTAKES,
        praise="At each pixel the path that agrees best has the word: only what no path can explain stays bright.",
        shape="one map, (H, W)",
    )


def heatmap(learned: Function) -> Feedback:
    """Exercise 4: ``(maps, times, r) -> heat``, ``(H, W)`` from ``(T, K, H, W)`` and ``(T,)``."""
    return review(
        "Exercise 4, the weighted heat map",
        learned,
        lambda maps, times, r: torch.from_numpy(
            Mismatch(times.numpy(), maps.numpy()).heatmap(HeatSettings(exponent=r, smoothing=0.0))
        ),
        [
            (torch.stack([_maps(k, h, w, seed) for seed in range(count)]), torch.tensor(interior_times(count)), r)
            for count, k, h, w, r in ((6, 4, 3, 5, 2.0), (3, 2, 4, 7, 0.5), (5, 3, 2, 4, 3.0))
        ],
        HEATMAP_MISTAKES,
        praise="This is Eq. 4: late times count most, early ones hardly, and the number of times cancels out.",
        shape="one map, (H, W)",
    )


def score(learned: Function) -> Feedback:
    """Bonus exercise: ``heat -> score``, a number from ``(H, W)``."""
    return review(
        "Bonus exercise, the image score",
        learned,
        lambda heat: image_score(heat.numpy()),
        [(_maps(1, h, w, seed)[0],) for seed, (h, w) in enumerate(((25, 30), (9, 5), (40, 41)))],
        SCORE_MISTAKES,
        praise="Peak plus plateau: one bright pixel counts, a bright region counts more.",
        shape="one number",
    )


def _ends() -> list[tuple]:
    """Noise, data and time: a point, and a batch of noise towards one image; no time is special."""
    point, image = draw_noise(2, (2,), 1), draw_noise(4, (2, 3, 5), 2)
    return [(point[0], point[1], 0.2), (image[:3], 1 + image[3], 0.7), (point[1], 3 * point[0], 0.9)]


def _images() -> list[tuple]:
    """Fields, images, noise and times; every axis has a length of its own."""
    cases = []
    for seed, (k, channels, h, w, t) in enumerate(((4, 3, 5, 6, 0.3), (2, 2, 1, 1, 0.6), (5, 1, 3, 2, 0.8))):
        means = draw_noise(3, (channels, h, w), 10 + seed)
        field = MixtureField.isotropic(torch.ones(3), means, torch.tensor([0.05, 0.3, 1.0]))
        cases.append((field, draw_noise(1, (channels, h, w), 20 + seed)[0], draw_noise(k, (channels, h, w), seed), t))
    return cases


def _maps(k: int, h: int, w: int, seed: int = 0) -> Tensor:
    """Mismatches ``(K, H, W)`` of unit noise: positive, all different."""
    return draw_noise(k, (h, w), seed).square() + 0.01
