"""Reading a request of the page: an object of plain JSON values, none of them trusted."""

from __future__ import annotations

import torch

from demo.common import checks
from fmcore.errors import SettingsError
from fmcore.mismatch import HeatSettings, PathSettings

REACH = 20.0  # largest coordinate of anything a visitor places


def path_settings(request: dict, paths: int) -> PathSettings:
    """T and the seed of the noise, for K = ``paths``; this and the following raise `SettingsError`."""
    own = PathSettings.parse(noise_seed=request.get("seed"))
    return checks.path_settings(own, paths, request.get("times"))


def heat_settings(request: dict) -> HeatSettings:
    """Aggregator, alpha and exponent; nothing is smoothed in the plane."""
    names = ("aggregator", "alpha", "exponent")
    return checks.heat_settings(*(request.get(name) for name in names), 0.0)


def number(request: dict, name: str, low: float, high: float) -> float:
    """A finite number from ``low`` to ``high``."""
    value = request.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise SettingsError(f"'{name}' must be a number from {low:g} to {high:g}.")
    return float(value)


def points(request: dict, name: str, most: int) -> torch.Tensor:
    """``(N, 2)`` float32 with 1 <= N <= most."""
    given = request.get(name)
    if not isinstance(given, list) or not given:
        raise SettingsError(f"'{name}' must be a list with at least one point.")
    if len(given) > most:
        raise SettingsError(f"{len(given)} {name} are too many: use at most {most}.")
    for point in given:
        if not isinstance(point, list) or len(point) != 2 or not all(map(_is_coordinate, point)):
            raise SettingsError(f"Each of the {name} must be two numbers between {-REACH:g} and {REACH:g}.")
    return torch.tensor(given, dtype=torch.float32)


def _is_coordinate(value: object) -> bool:
    # The comparison also refuses NaN.
    return isinstance(value, int | float) and not isinstance(value, bool) and -REACH <= value <= REACH
