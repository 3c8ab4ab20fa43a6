"""How many good images are kept from training for the threshold, and how many it takes."""

from __future__ import annotations

import math


def fewest_held_out(false_alarm_rate: float) -> int:
    """The fewest held-out scores n that have a threshold with this rate of false alarms: n >= 1 / rate - 1
    (split conformal prediction)."""
    return math.ceil(1 / false_alarm_rate - 1 - 1e-9)


def held_out_count(count: int, false_alarm_rate: float) -> int:
    """How many of ``count`` good images a network does not train on: a tenth, or what the threshold needs where there
    are enough for one; never fewer than one."""
    enough = count >= fewest_images("unet", false_alarm_rate)
    return max(1, round(count / 10), fewest_held_out(false_alarm_rate) if enough else 0)


def fewest_images(field: str, false_alarm_rate: float) -> int:
    """The fewest good images of a category that give a threshold for a ``gaussian`` or a ``unet``. A network trains on
    two thirds of them; of a Gaussian field each is scored by one that has not seen it."""
    return fewest_held_out(false_alarm_rate) * (3 if field == "unet" else 1)


def least_rate(field: str, count: int) -> float | None:
    """The least rate of false alarms, in whole per cent, that ``count`` good images give a threshold for; None where
    they give none."""
    rates = (percent / 100 for percent in range(1, 100))
    return next((rate for rate in rates if fewest_images(field, rate) <= count), None)
