"""The mistakes that the workshop's checks recognise: each a function that is wrong in a known way, and its hint.

A hint says where to look and asks a question; it never says what to write.
"""

from __future__ import annotations

import math

from torch import Tensor

from fmcore.path import interpolate
from nbtools.workshop_feedback import Function, Mistake

PATH_MISTAKES = [
    Mistake(
        lambda x0, x1, t: t * x0 + (1 - t) * x1,
        "Your path runs the wrong way in time. Put in t = 0: where are you, and where should you be?",
    ),
    Mistake(
        lambda x0, x1, t: x1 - x0,
        "This is the velocity, how fast and which way one moves. Asked is the place where one is at time t.",
    ),
    Mistake(
        lambda x0, x1, t: t * (x1 - x0),
        "This is how far one has come by time t. From where did one start?",
    ),
    Mistake(
        lambda x0, x1, t: x0 + t * x1,
        "At t = 1 your path is at x0 + x1, which is not the data. What must become of the noise as t grows?",
    ),
    Mistake(
        lambda x0, x1, t: (1 - t) * x0 + x1,
        "At t = 0 the data are in it already. How much of x1 should there be at the start?",
    ),
    Mistake(
        lambda x0, x1, t: x0 + t * (x0 - x1),
        "Your path walks away from the data: which end is subtracted from which?",
    ),
    Mistake(
        lambda x0, x1, t: math.sqrt(1 - t) * x0 + math.sqrt(t) * x1,
        "This is a curved path, as diffusion models use it. Ours is a straight line: no roots.",
    ),
    Mistake(
        lambda x0, x1, t: math.sqrt(1 - t * t) * x0 + t * x1,
        "This is a curved path, as diffusion models use it. Ours is a straight line: no roots.",
    ),
]

VELOCITY_MISTAKES = [
    Mistake(
        lambda x0, x1, t: x0 - x1,
        "Your arrow points from the data to the noise. Which way does time run?",
    ),
    Mistake(
        lambda x0, x1, t: interpolate(x0, x1, t),
        "This is the place at time t. The velocity is its derivative with respect to t.",
    ),
    Mistake(
        lambda x0, x1, t: t * (x1 - x0),
        "This is how far one has come by time t. Differentiate it with respect to t.",
    ),
    Mistake(
        lambda x0, x1, t: (1 - t) * (x1 - x0),
        "This is the way that is still to go from x_t to the data. The velocity is the way per unit of time.",
    ),
    Mistake(
        lambda x0, x1, t: x1 - 0 * x0,
        "Only the end counts here. With the start moved, would the arrow not change?",
    ),
    Mistake(
        lambda x0, x1, t: (x1 - x0).norm(),
        "This is the speed, one number. The velocity also has a direction: keep all the components.",
    ),
]


def gap(field: Function, y: Tensor, x0: Tensor, t: float) -> Tensor:
    """Difference of the two velocities, ``(K, C, H, W)``."""
    return field(interpolate(x0, y, t), t) - (y - x0)


MISMATCH_MISTAKES = [
    Mistake(
        lambda f, y, x0, t: gap(f, y, x0, t).square(),
        "Almost: the colour channels are still apart. Which axis of (K, C, H, W) holds them, and what sums it away?",
    ),
    Mistake(
        lambda f, y, x0, t: gap(f, y, x0, t).square().mean(1),
        "You average over the channels. Look at the formula: the squared length of a vector is a sum.",
    ),
    Mistake(
        lambda f, y, x0, t: gap(f, y, x0, t).square().sum(0),
        "You sum over axis 0, which counts the paths. The channels are another axis of (K, C, H, W).",
    ),
    Mistake(
        lambda f, y, x0, t: gap(f, y, x0, t).square().sum((1, 2, 3)),
        "One number per path is too few: the map of places (H, W) must stay. Sum over the channels only.",
    ),
    Mistake(
        lambda f, y, x0, t: gap(f, y, x0, t).square().sum(),
        "Everything is summed into one number. Name the axis over which to sum: only the channels should go.",
    ),
    Mistake(
        lambda f, y, x0, t: gap(f, y, x0, t).square().sum(1).mean(0),
        "You have averaged over the paths already. Keep one map per path here; joining them is the next exercise.",
    ),
    Mistake(
        lambda f, y, x0, t: gap(f, y, x0, t).square().sum(1).amin(0),
        "You have joined the paths already. Keep one map per path here; joining them is the next exercise.",
    ),
    Mistake(
        lambda f, y, x0, t: gap(f, y, x0, t).sum(1).square(),
        "You square after the sum, so that channels of opposite sign cancel. Which comes first in the formula?",
    ),
    Mistake(
        lambda f, y, x0, t: gap(f, y, x0, t).sum(1),
        "Nothing is squared, so that gaps of opposite sign cancel. What does the formula do with the difference?",
    ),
    Mistake(
        lambda f, y, x0, t: gap(f, y, x0, t).abs().sum(1),
        "You sum absolute values. The formula has the squared length of the difference.",
    ),
    Mistake(
        lambda f, y, x0, t: gap(f, y, x0, t).square().sum(1).sqrt(),
        "This is the length of the difference. The formula has its square: one root too many.",
    ),
    Mistake(
        lambda f, y, x0, t: gap(f, y, x0, t).square().sum(1).square(),
        "You square twice. Once is enough.",
    ),
    Mistake(
        lambda f, y, x0, t: gap(f, y, x0, t).square().square().sum(1),
        "You square twice. Once is enough.",
    ),
    Mistake(
        lambda f, y, x0, t: (f(interpolate(x0, y, t), t) - (x0 - y)).square().sum(1),
        "One of the two velocities points backwards. Does your geometric velocity lead from noise to data?",
    ),
    Mistake(
        lambda f, y, x0, t: (f(interpolate(y.expand_as(x0), x0, t), t) - (y - x0)).square().sum(1),
        "The field is asked at a state on the reversed path. At t = 0 the state is the noise x0, at t = 1 it is y.",
    ),
    Mistake(
        lambda f, y, x0, t: (f(interpolate(x0, y, t), 1 - t) - (y - x0)).square().sum(1),
        "The state is right, but the field is told another time than the state's own.",
    ),
    Mistake(
        lambda f, y, x0, t: (f(y.expand_as(x0), t) - (y - x0)).square().sum(1),
        "You ask the field at the test image itself. It should be asked on the way there, at x_t.",
    ),
    Mistake(
        lambda f, y, x0, t: (f(x0, t) - (y - x0)).square().sum(1),
        "You ask the field at the noise. It should be asked on the way from there to y, at x_t.",
    ),
    Mistake(
        lambda f, y, x0, t: (f(interpolate(x0, y, t), t) - y).square().sum(1),
        "You compare a velocity with an image. Compare velocity with velocity: which one belongs to the path?",
    ),
    Mistake(
        lambda f, y, x0, t: (f(interpolate(x0, y, t), t) - (y - interpolate(x0, y, t))).square().sum(1),
        "You compare with y - x_t, the way still to go. The path's velocity is the whole way, from its start.",
    ),
    Mistake(
        lambda f, y, x0, t: f(interpolate(x0, y, t), t).square().sum(1),
        "This is the length of the predicted velocity alone. With what should it be compared?",
    ),
]

AGGREGATE_MISTAKES = [
    Mistake(
        lambda maps: maps.mean(0),
        "This is the mean over the paths. One unlucky path spoils it: ask for the best one.",
    ),
    Mistake(
        lambda maps: maps.amax(0),
        "You keep the path that fits worst. An anomaly is what even the best path does not explain.",
    ),
    Mistake(
        lambda maps: maps.median(0).values,
        "This is the middle path. Asked for is the one that fits best.",
    ),
    Mistake(
        lambda maps: maps.sum(0),
        "This is the sum over the paths, so it grows with K. Asked for is the value of the path that fits best.",
    ),
    Mistake(
        lambda maps: maps.argmin(0),
        "This is the number of the path that fits best. Asked for is the mismatch on it.",
    ),
    Mistake(
        lambda maps: maps.amin(),
        "One number for the whole picture is too few. Each pixel has its own minimum: name the axis of the paths.",
    ),
    Mistake(
        lambda maps: maps.amin((1, 2)),
        "You take the minimum over places, one per path. Take it over paths, one per place.",
    ),
    Mistake(
        lambda maps: maps.amin(1),
        "You take the minimum along a column of the picture. Which axis of (K, H, W) counts the paths?",
    ),
    Mistake(
        lambda maps: maps.amin(2),
        "You take the minimum along a row of the picture. Which axis of (K, H, W) counts the paths?",
    ),
    Mistake(
        lambda maps: maps[maps.sum((1, 2)).argmin()],
        "You choose one best path for the whole picture. Let every pixel choose its own.",
    ),
    Mistake(
        lambda maps: maps[0],
        "This is the first path only, whatever the others say.",
    ),
]


def _weighted(maps: Tensor, weights: Tensor) -> Tensor:
    return weights[:, None, None] * maps.amin(1)


HEATMAP_MISTAKES = [
    Mistake(
        lambda maps, times, r: _weighted(maps, times**r).sum(0),
        "You sum over the times, so that more times give a hotter picture. What stands before the sum in the formula?",
    ),
    Mistake(
        lambda maps, times, r: _weighted(maps, times**r).sum(0) / (times**r).sum(),
        "You divide by the sum of the weights. That is a proper average, but the formula divides by T only.",
    ),
    Mistake(
        lambda maps, times, r: _weighted(maps, times**r).sum(0) / maps.shape[1],
        "You divide by the number of paths. The sum runs over times: how many of them are there?",
    ),
    Mistake(
        lambda maps, times, r: maps.amin(1).mean(0),
        "All times count the same here, and r changes nothing. Where does the weight come in?",
    ),
    Mistake(
        lambda maps, times, r: maps.amin(1).mean(0) * (times**r).mean(),
        "You multiply two averages. Each time's map must meet its own weight before anything is averaged.",
    ),
    Mistake(
        lambda maps, times, r: _weighted(maps, (1 - times) ** r).mean(0),
        "Your weight is largest at t = 0, in pure noise. Late times should count most.",
    ),
    Mistake(
        lambda maps, times, r: _weighted(maps, r * times).mean(0),
        "You multiply t by r. In the formula r is an exponent; in Python a power is written `**`.",
    ),
    Mistake(
        lambda maps, times, r: _weighted(maps, r**times).mean(0),
        "Base and exponent have changed places.",
    ),
    Mistake(
        lambda maps, times, r: _weighted(maps, times ** (2 * r)).mean(0),
        "The weight comes in twice, or is squared once too often: compare the exponent with the formula.",
    ),
    Mistake(
        lambda maps, times, r: _weighted(maps, times).mean(0),
        "You weight by t itself, whatever r is.",
    ),
    Mistake(
        lambda maps, times, r: _weighted(maps, times**2).mean(0) if r != 2 else _weighted(maps, times**r).mean(0),
        "The exponent is fixed at 2 in your code. Use r, so that we can play with it later.",
    ),
    Mistake(
        lambda maps, times, r: ((times**r)[:, None, None, None] * maps).mean((0, 1)),
        "You average over the paths. First the minimum over paths at each time, as in exercise 3, then the times.",
    ),
    Mistake(
        lambda maps, times, r: ((times**r)[:, None, None, None] * maps).mean(0).amin(0),
        "You average over the times first and take the minimum then. Let each time choose its best path before that.",
    ),
    Mistake(
        lambda maps, times, r: ((times**r)[:, None, None, None] * maps).amin(0).mean(0),
        "The two axes have changed places: the minimum runs over paths (axis 1), the average over times (axis 0).",
    ),
    Mistake(
        lambda maps, times, r: _weighted(maps, times**r).amin(0),
        "You take the minimum over times as well. Times are averaged.",
    ),
    Mistake(
        lambda maps, times, r: _weighted(maps, times**r),
        "There is still one map per time. Average over them.",
    ),
]


def _top(heat: Tensor, count: int) -> Tensor:
    return heat.flatten().sort(descending=True).values[:count]


def _share(heat: Tensor) -> int:
    return math.ceil(heat.numel() / 100)


SCORE_MISTAKES = [
    Mistake(
        lambda heat: heat.max(),
        "This is the peak alone. The formula has a second term.",
    ),
    Mistake(
        lambda heat: _top(heat, _share(heat)).mean(),
        "This is the mean of the hottest hundredth alone. The formula has a second term.",
    ),
    Mistake(
        lambda heat: heat.max() + heat.mean(),
        "You add the mean of all pixels. Only the hottest hundredth of them should count.",
    ),
    Mistake(
        lambda heat: heat.max() + _top(heat, max(1, heat.numel() // 100)).mean(),
        "Very close: a hundredth of the pixels is rarely a whole number. Is it rounded down or up?",
    ),
    Mistake(
        lambda heat: heat.max() + _top(heat, _share(heat)).sum(),
        "You add the sum of the hottest pixels, so that larger pictures score higher. What is asked for of them?",
    ),
    Mistake(
        lambda heat: heat.max() + heat.flatten().sort().values[: _share(heat)].mean(),
        "You have taken the coldest hundredth: in which order are your values sorted?",
    ),
    Mistake(
        lambda heat: heat.max() + heat.flatten().quantile(0.99),
        "You add the value that is exceeded by a hundredth of the pixels. Asked for is the mean of those above it.",
    ),
    Mistake(
        lambda heat: (heat.max() + _top(heat, _share(heat)).mean()) / 2,
        "You average the two terms. The formula adds them.",
    ),
]
