"""The laws on offer, and the one that a visitor draws: field, window, and where the targets start."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import torch

from demo.playground.request import number, points
from fmcore.errors import SettingsError
from fmcore.fields import EmpiricalField, ExactField, MixtureField, semicircle, three_clusters, two_moons

MAX_POINTS = 300
FEWEST_POINTS = 3
MAX_SPREAD = 2.0
OWN = "own"
OWN_WINDOW = (-6.0, 6.0, -6.0, 6.0)


@dataclass(frozen=True)
class Scene:
    """A law on offer: its field, window (left, right, bottom, top) and where the targets A and B start."""

    law: ExactField
    window: tuple[float, float, float, float]
    targets: tuple[tuple[float, float], tuple[float, float]]

    @property
    def components(self) -> int:
        """How many parts the law has, which decides what an evaluation costs."""
        return len(self.law.points if isinstance(self.law, EmpiricalField) else self.law.means)


@functools.cache
def _known() -> dict[str, Scene]:
    # As many strokes as make each one as long as it is wide: longer ones would have tails along the arc.
    return {
        "semicircle": Scene(semicircle(), (-6.5, 6.5, -3.25, 9.75), ((3.0, 7.0), (-2.25, 8.6))),
        "three_clusters": Scene(three_clusters(), (-6.5, 6.5, -5.75, 7.25), ((0.3, 4.2), (0.0, 0.0))),
        "two_moons": Scene(two_moons(strokes=28), (-6.0, 6.0, -6.0, 6.0), ((-1.5, 2.25), (1.0, 3.0))),
    }


def chosen_scene(request: dict) -> Scene:
    """The law that a request names, or that of the points it brings.

    Raises:
        SettingsError: for an unknown law, or bad points.
    """
    name = request.get("law")
    if name == OWN:
        drawn = points(request, "points", MAX_POINTS)
        if len(drawn) < FEWEST_POINTS:
            raise SettingsError(f"Draw at least {FEWEST_POINTS} points, {len(drawn)} is too few for a law.")
        width = number(request, "width", 0, MAX_SPREAD)
        count = len(drawn)
        law = (
            MixtureField.isotropic(torch.ones(count), drawn, torch.full((count,), width**2))
            if width >= 0.01
            else EmpiricalField(drawn)
        )
        x, y = drawn[count // 2].tolist()  # A on one of the points, B well beside them
        return Scene(law, OWN_WINDOW, ((x, y), (x, y + (2.5 if y < 0 else -2.5))))
    if not isinstance(name, str) or name not in _known():
        raise SettingsError(f"There is no such distribution: choose one of {', '.join([*_known(), OWN])}.")
    return _known()[name]
