"""The workshop's exercises: the right function of each, from fmcore, and the mistakes that are recognised.
A hint says where to look and asks a question; it never says what to write. In a notebook: ``feedback =
check.path(my_path)``, then ``feedback``."""

import math

import torch
from torch import Tensor

from fmcore.fields import MixtureField
from fmcore.mismatch import HeatSettings, Mismatch, image_score
from fmcore.path import draw_noise, interior_times
from fmcore.path import interpolate as at
from workshop.feedback import Exercise, Function


def _gap(f: Function, y: Tensor, x0: Tensor, t: float) -> Tensor:
    """Difference of the two velocities, ``(K, C, H, W)``."""
    return f(at(x0, y, t), t) - (y - x0)


def _right(f: Function, y: Tensor, x0: Tensor, t: float) -> Tensor:
    """What `fmcore.mismatch_steps` yields at one time, for noise that is given."""
    return _gap(f, y, x0, t).square().sum(1)


def _off(f: Function, x_t: Tensor, t: float, velocity: Tensor | int) -> Tensor:
    return (f(x_t, t) - velocity).square().sum(1)


def _w(maps: Tensor, weights: Tensor) -> Tensor:
    return weights[:, None, None] * maps.amin(1)


def _all(maps: Tensor, weights: Tensor) -> Tensor:
    return weights[:, None, None, None] * maps


def _hot(heat: Tensor, down: int = 0) -> Tensor:
    """The hottest hundredth of the pixels, rounded up, or ``down``."""
    count = max(1, heat.numel() // 100) if down else math.ceil(heat.numel() / 100)
    return heat.flatten().topk(count).values


JOINED = "You have joined the paths already. Keep one map per path: joining them comes next."
PATH_MISTAKES = [
    (lambda x0, x1, t: t * x0 + (1 - t) * x1, "It runs the wrong way in time. Where should you be at t = 0?"),
    (lambda x0, x1, t: x1 - x0, "This is a velocity. Asked is the place where one is at time t."),
    (lambda x0, x1, t: t * (x1 - x0), "This is how far one has come by time t. From where did one start?"),
    (lambda x0, x1, t: x0 + t * x1, "At t = 1 you are at x0 + x1. What must become of the noise as t grows?"),
    (lambda x0, x1, t: x0 + t * (x1 + x0), "At t = 1 you are at 2 x0 + x1. Which way leads from x0 to x1?"),
    (lambda x0, x1, t: 1 - t * x0 + t * x1, "Mind the brackets: what is x0 multiplied by?"),
    (lambda x0, x1, t: x0 + t * (x0 - x1), "You walk away from the data: which end is subtracted from which?"),
    (lambda x0, x1, t: math.sqrt(1 - t * t) * x0 + t * x1, "A curved path. Ours is straight: no roots."),
]
VELOCITY_MISTAKES = [
    (lambda x0, x1, t: x0 - x1, "Your arrow points from the data to the noise. Which way does time run?"),
    (at, "This is the place at time t. The velocity is its derivative with respect to t."),
    (lambda x0, x1, t: t * (x1 - x0), "This is how far one has come by time t. Differentiate it by t."),
    (lambda x0, x1, t: (x1 - x0) / t, "You divide all the way by a part of the time. How long does all of it take?"),
    (lambda x0, x1, t: (1 - t) * (x1 - x0), "This is the way still to go from x_t. A velocity is way per time."),
    (lambda x0, x1, t: (x1 - x0).norm(), "This is the speed, one number. A velocity has a direction, too."),
]
MISMATCH_MISTAKES = [
    (lambda *a: _gap(*a).square(), "The colour channels are still apart. Which axis of (K, C, H, W) holds them?"),
    (lambda *a: _gap(*a).square().mean(1), "You average over the channels. The squared length of a vector is a sum."),
    (lambda *a: _gap(*a).square().sum(0), "You sum over axis 0, which counts the paths. Which axis holds channels?"),
    (lambda *a: _gap(*a).square().sum((1, 2, 3)), "One number per path: (H, W) must stay. Sum over channels only."),
    (lambda *a: _gap(*a).square().sum(), "Everything is summed into one number. Name the axis: only channels go."),
    (lambda *a: _right(*a).mean(0), JOINED),
    (lambda *a: _right(*a).amin(0), JOINED),
    (lambda *a: _gap(*a).sum(1).square(), "You square after the sum, so that channels cancel. Which comes first?"),
    (lambda *a: _gap(*a).sum(1), "Nothing is squared, so that gaps of opposite sign cancel. See the formula."),
    (lambda *a: _right(*a).sqrt(), "This is the length of the difference: one root too many."),
    (lambda *a: _right(*a).square(), "You square twice. Once is enough."),
    (lambda f, y, x0, t: _off(f, at(x0, y, t), t, y + x0), "Mind the brackets: is x0 added here, or subtracted?"),
    (lambda f, y, x0, t: _off(f, at(x0, y, t), t, x0 - y), "Your own velocity points backwards: to the noise."),
    (lambda f, y, x0, t: _off(f, at(y, x0, t), t, y - x0), "The state is on the reversed path: y at t = 0."),
    (lambda f, y, x0, t: _off(f, at(x0, y, t), 1 - t, y - x0), "The field is told another time than its state's."),
    (lambda f, y, x0, t: _off(f, y.expand_as(x0), t, y - x0), "You ask the field at y. Ask it on the way there."),
    (lambda f, y, x0, t: _off(f, x0, t, y - x0), "You ask the field at the noise. Ask it on the way to y."),
    (lambda f, y, x0, t: _off(f, at(x0, y, t), t, y), "Compare a velocity with a velocity, not with an image."),
    (lambda f, y, x0, t: _off(f, at(x0, y, t), t, (1 - t) * (y - x0)), "You compare with the way still to go."),
    (lambda f, y, x0, t: _off(f, at(x0, y, t), t, 0), "This is the predicted velocity alone. Compared with what?"),
]
AGGREGATE_MISTAKES = [
    (lambda maps: maps.mean(0), "This is the mean over the paths. One unlucky path spoils it: ask for the best one."),
    (lambda maps: maps.amax(0), "You keep the path that fits worst. Asked is what even the best does not explain."),
    (lambda maps: maps.sum(0), "This is the sum over the paths. Asked for is the value of the one that fits best."),
    (lambda maps: maps.argmin(0), "This is the number of the path that fits best. Asked for is the mismatch on it."),
    (lambda maps: maps.amin(), "One number is too few: each pixel has its own minimum. Name the axis of the paths."),
    (lambda maps: maps.amin((1, 2)), "A minimum over places, one per path. Take it over paths, one per place."),
    (lambda maps: maps.amin(1), "The minimum along a column of the picture. Which axis of (K, H, W) counts paths?"),
    (lambda maps: maps.amin(2), "The minimum along a row of the picture. Which axis of (K, H, W) counts paths?"),
    (lambda maps: maps[maps.sum((1, 2)).argmin()], "One best path for the whole picture. Let every pixel choose."),
]
HEATMAP_MISTAKES = [
    (lambda m, t, r: _w(m, t**r).sum(0), "You sum over the times. What stands before the sum in the formula?"),
    (lambda m, t, r: _w(m, t**r).sum(0) / (t**r).sum(), "Divide by T only, not by the sum of the weights."),
    (lambda m, t, r: _w(m, t**r).sum(0) / m.shape[1], "You divide by the number of paths. How many times are there?"),
    (lambda m, t, r: m.amin(1).mean(0), "All times count the same, and r changes nothing. Where is the weight?"),
    (lambda m, t, r: m.amin(1).mean(0) * (t**r).mean(), "You multiply two averages. Weigh each map first."),
    (lambda m, t, r: _w(m, (1 - t) ** r).mean(0), "Your weight is largest at t = 0, in pure noise."),
    (lambda m, t, r: _w(m, r * t).mean(0), "You multiply t by r. In the formula r is an exponent, in Python `**`."),
    (lambda m, t, r: _w(m, r**t).mean(0), "Base and exponent have changed places."),
    (lambda m, t, r: _w(m, t ** (2 * r)).mean(0), "The weight comes in twice: compare the exponent with the formula."),
    (lambda m, t, r: _w(m, t).mean(0), "You weight by t itself, whatever r is."),
    (lambda m, t, r: _w(m, t**2).mean(0), "The exponent is fixed at 2. Use r, so that we can play with it later."),
    (lambda m, t, r: _all(m, t**r).mean((0, 1)), "You average over the paths. First their minimum at each time."),
    (lambda m, t, r: _all(m, t**r).mean(0).amin(0), "You average the times first. Best paths come before."),
    (lambda m, t, r: _all(m, t**r).amin(0).mean(0), "The axes have changed places: which one counts the paths here?"),
    (lambda m, t, r: _w(m, t**r), "There is still one map per time. Average over them."),
]
SCORE_MISTAKES = [
    (lambda heat: heat.max(), "This is the peak alone. There is a second term."),
    (lambda heat: _hot(heat).mean(), "This is the mean of the hottest alone. There is another term."),
    (lambda heat: heat.max() + heat.mean(), "You add the mean of all pixels. Only the hottest hundredth should count."),
    (lambda heat: heat.max() + _hot(heat, down=1).mean(), "Very close. Is a share rounded up or down?"),
    (lambda heat: heat.max() + _hot(heat).sum(), "You add the sum of the hottest pixels. What is asked for?"),
    (lambda heat: heat.max() + -_hot(-heat).mean(), "The coldest hundredth: how are your values sorted?"),
    (lambda heat: heat.max() + heat.flatten().quantile(0.99), "You add the edge of the hottest hundredth: no mean."),
    (lambda heat: heat.max() + heat.topk(len(_hot(heat))).values.mean(), "You take those of each row, not of all."),
    (lambda heat: (heat.max() + _hot(heat).mean()) / 2, "You average the two terms instead of adding them."),
]


def _ends() -> list[tuple]:
    """Noise, data and time: a point, and a batch of noise towards one image; no time is special."""
    point, image = draw_noise(2, (2,), 1), draw_noise(4, (2, 3, 5), 2)
    return [(point[0], point[1], 0.2), (image[:3], 1 + image[3], 0.7), (point[1], 3 * point[0], 0.9)]


def _images() -> list[tuple]:
    """Fields, images, noise and times; every axis has a length of its own."""
    cases = []
    for seed, (k, *shape, t) in enumerate(((4, 3, 5, 6, 0.3), (2, 2, 1, 1, 0.6), (5, 1, 3, 2, 0.8))):
        field = MixtureField.isotropic(torch.ones(3), draw_noise(3, shape, 10 + seed), torch.tensor([0.05, 0.3, 1.0]))
        cases.append((field, draw_noise(1, shape, 20 + seed)[0], draw_noise(k, shape, seed), t))
    return cases


def _maps(k: int, h: int, w: int, seed: int = 0) -> Tensor:
    """Mismatches ``(K, H, W)`` of unit noise: positive, all different."""
    return draw_noise(k, (h, w), seed).square() + 0.01


def _series(count: int, k: int, h: int, w: int, r: float) -> tuple[Tensor, Tensor, float]:
    return torch.stack([_maps(k, h, w, seed) for seed in range(count)]), torch.tensor(interior_times(count)), r


def _heatmap(maps: Tensor, times: Tensor, r: float) -> Tensor:
    heat = Mismatch(times.numpy(), maps.numpy()).heatmap(HeatSettings(exponent=r, smoothing=0.0))
    return torch.from_numpy(heat)


path = Exercise(
    "Exercise 1a, the path", at, _ends(), PATH_MISTAKES,
    "Your path starts in the noise at t = 0 and arrives at the data at t = 1.", "one state x_t, shaped as x0",
)  # fmt: skip
velocity = Exercise(
    "Exercise 1b, its velocity", lambda x0, x1, t: x1 - x0, _ends(), VELOCITY_MISTAKES,
    "The same velocity at all times: this is what makes the straight path so convenient.", "one velocity, shaped as x0",
)  # fmt: skip
mismatch = Exercise(
    "Exercise 2, the mismatch", _right, _images(), MISMATCH_MISTAKES,
    "One map per noise draw: large where field and path disagree.", "one map per path, (K, H, W)",
)  # fmt: skip
aggregate = Exercise(
    "Exercise 3, the minimum over paths", lambda maps: maps.amin(0),
    [(maps,) for maps in (_maps(5, 3, 4), _maps(1, 2, 6), _maps(8, 7, 2))], AGGREGATE_MISTAKES,
    "At each pixel the best path has the word: only what no path can explain stays bright.", "one map, (H, W)",
)  # fmt: skip
heatmap = Exercise(
    "Exercise 4, the weighted heat map", _heatmap,
    [_series(6, 4, 3, 5, 2.0), _series(3, 2, 4, 7, 0.5), _series(5, 3, 2, 4, 3.0)], HEATMAP_MISTAKES,
    "This is Eq. 4: late times count most, early ones hardly, and the number of times cancels out.", "one map, (H, W)",
    fits="Print both `.shape`: axis 0 of `maps` counts times here and axis 1 paths; a missing axis is made by `None`.",
)  # fmt: skip
score = Exercise(
    "Bonus exercise, the image score", lambda heat: image_score(heat.numpy()),
    [(_maps(1, h, w, seed)[0] + 0.5,) for seed, (h, w) in enumerate(((25, 30), (13, 11), (40, 41)))], SCORE_MISTAKES,
    "Peak plus plateau: one bright pixel counts, a bright region counts more.", "one number",
)  # fmt: skip
