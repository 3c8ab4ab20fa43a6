"""The workshop's questions: predict-then-check, the wrong weight, and a defect of one's own.

The answers here are the only ones of the workshop that no code computes on the spot; the tests recompute each.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fmcore.detector.score import Verdict
from fmcore.mismatch.mismatch import HeatSettings, Mismatch
from nbtools.workshop_feedback import Feedback

WEIGHT = 2.0  # r, what all three colleagues of the puzzle say they used
UNSOLVED = "Write your answer in place of the `...`; a wrong prediction teaches as much as a right one."
CHOICES: dict[str, tuple[str, str, dict[str, str]]] = {
    # question: right answer, why, and a hint for each wrong answer
    "velocity": (
        "b",
        "The path is a straight line walked at constant speed.",
        {
            "a": "Compare the arrows in your picture: is the later one any longer?",
            "c": "Compare the arrows in your picture: is the later one any shorter?",
        },
    ),
    "when": (
        "b",
        "Early states are mostly noise, and so nearly the same for both points.",
        {
            "a": "By what factor do the two curves differ at their left ends, and by what in the middle?",
            "c": "By what factor do the two curves differ at their left ends, and by what in the middle?",
        },
    ),
    "paths": (
        "b",
        "A minimum over more paths can only fall: for good points nearly to zero, for bad ones not so far.",
        {
            "a": "With one more path in the race, can the smallest value of all get any larger?",
            "c": "Follow one curve from left to right: with more paths to choose from, does it stay level?",
        },
    ),
    "field": (
        "b",
        "A Gaussian describes a part that always lies the same way; bricks are laid anew in every picture.",
        {
            "a": "Count the defects that were found in each row of pictures.",
            "c": "Count the defects that were found in each row of pictures.",
        },
    ),
}
LANDSCAPES = {"P": "late", "Q": "combined", "R": "early"}
LANDSCAPE_HINTS = {
    ("early", "late"): "early states hardly know the shape of the arc. Does that panel?",
    ("early", "combined"): "early states hardly know the shape of the arc. Does that panel?",
    ("late", "early"): "a late state is nearly the data point itself. Would it have lost the shape of the arc?",
    ("late", "combined"): "look along the arc. Is it rippled, as a single time leaves it, or even?",
    ("combined", "early"): "averaged over all times one should see the arc. Does one in that panel?",
    ("combined", "late"): "look along the arc. Averaging over times takes ripples away: is it free of them?",
}


def prediction(question: str, answer: object) -> Feedback:
    """A multiple-choice question, checked after its picture has been seen."""
    right, why, hints = CHOICES[question]
    title = f"Prediction '{question}'"
    if not isinstance(answer, str):
        return Feedback(title, False, UNSOLVED)
    answer = answer.strip().lower()
    if answer == right:
        return Feedback(title, True, why)
    options = ", ".join(sorted([right, *hints]))
    return Feedback(title, False, hints.get(answer, f"Choose one of {options}, in quotation marks."))


def landscapes(answers: object) -> Feedback:
    """Which panel is which: a dict from panel to ``early``, ``late`` or ``combined``."""
    title = "Prediction 'landscapes'"
    if not isinstance(answers, dict) or any(value is ... for value in answers.values()):
        return Feedback(title, False, UNSOLVED)
    given = {str(panel).upper(): str(name).strip().lower() for panel, name in answers.items()}
    if set(given) != set(LANDSCAPES) or set(given.values()) != set(LANDSCAPES.values()):
        return Feedback(title, False, "Give each of the panels P, Q and R one of 'early', 'late' and 'combined'.")
    wrong = [panel for panel in LANDSCAPES if given[panel] != LANDSCAPES[panel]]
    if not wrong:
        return Feedback(title, True, "Early is broad (bias), late is sharp but rippled (variance), t^2 balances both.")
    panel = wrong[0]
    return Feedback(title, False, f"Panel {panel}: {LANDSCAPE_HINTS[given[panel], LANDSCAPES[panel]]}")


def colleagues(mismatch: Mismatch) -> dict[str, np.ndarray]:
    """Three ways to weight one mismatch, each said to be ``t^2``: contributions ``(T, H, W)`` by name."""
    heat = HeatSettings(exponent=WEIGHT, smoothing=0.0)
    return {
        "Ada": mismatch.weighted(heat),
        "Bo": 10 * mismatch.weighted(heat),  # another unit: it looks worst, and is harmless
        "Cleo": Mismatch(1 - mismatch.times, mismatch.maps).weighted(heat),  # her clock runs backwards
    }


def wrong_weight(name: object, weight: object) -> Feedback:
    """Which colleague's weight is no multiple of t^2, and what it is: a function of t."""
    title = "Find the wrong weight"
    if not isinstance(name, str):
        return Feedback(title, False, UNSOLVED)
    match name.strip().lower():
        case "ada":
            return Feedback(title, False, "Divide Ada's contributions by the mismatch: does the curve differ from t^2?")
        case "bo":
            hint = "Bo's map is ten times as hot everywhere. Would any ranking of points change by that?"
            return Feedback(title, False, hint)
        case "cleo":
            return _weight_of_cleo(title, weight)
        case _:
            return Feedback(title, False, "Give one of the three names: 'Ada', 'Bo' or 'Cleo'.")


def _weight_of_cleo(title: str, weight: object) -> Feedback:
    times = np.linspace(0.1, 0.9, 9)
    try:
        values = np.array([float(weight(t)) for t in times])
    except Exception:  # the learner's code may raise anything; a `...` left in it raises too
        return Feedback(title, False, "The name is right. Now write her weight as a function of t.")
    if np.allclose(values, (1 - times) ** WEIGHT, rtol=0.02, atol=1e-3):
        return Feedback(title, True, "Her clock runs backwards: near-noise counts most, and the map turns into haze.")
    if np.allclose(values, 1 - times**WEIGHT, rtol=0.02, atol=1e-3):
        hint = "Very close. At t = 0.5, is her weight 0.75 or 0.25? Mind what is squared."
    elif np.allclose(values, 1 - times, rtol=0.02, atol=1e-3):
        hint = "It falls from 1 to 0, but not along a straight line: read her curve at t = 0.5."
    elif np.allclose(values, times**WEIGHT, rtol=0.02, atol=1e-3):
        hint = "That is the weight she should have used. Read hers from her curve: where is it large?"
    else:
        hint = "The name is right. Read her curve at t = 0, 0.5 and 1, and find a square that passes through them."
    return Feedback(title, False, hint)


def own_defect(good: np.ndarray, painted: object, judge: Callable[[np.ndarray], Verdict]) -> Feedback:
    """A defect painted onto a good picture: is it small, is it found, and is it found where it is?

    Args:
        good: ``(H, W, 3)`` uint8.
        painted: what the learner's function returned for a copy of it.
        judge: gives the verdict on such an array.
    """
    title = "Your own defect"
    if not isinstance(painted, np.ndarray) or painted.shape != good.shape or painted.dtype != np.uint8:
        return Feedback(title, False, "Return the whole picture, an array of the same shape and type as it came in.")
    changed = (painted != good).any(axis=2)
    if not changed.any():
        hint = "No pixel has changed yet: put e.g. a number from 0 to 255 into some rows and columns."
        return Feedback(title, False, hint)
    if changed.mean() > 0.05:
        hint = f"You have changed {changed.mean():.0%} of the picture. A defect worth the name covers at most 5 %."
        return Feedback(title, False, hint)
    verdict = judge(painted)
    if not verdict.anomalous:
        hint = (
            f"Hidden well: the score {verdict.score:.2f} stays below the threshold {verdict.threshold:.2f}. "
            "Try another shade, or a place that looks the same in every good picture."
        )
        return Feedback(title, False, hint)
    if not _hit(verdict.heatmap, changed):
        return Feedback(title, False, "It rings, but elsewhere: move your defect, or make it stronger.")
    message = (
        f"Found: score {verdict.score:.2f} against a threshold of {verdict.threshold:.2f}, with {changed.sum()} pixels "
        "changed. Now make it fainter and smaller: where is the limit?"
    )
    return Feedback(title, True, message)


def _hit(heatmap: np.ndarray, changed: np.ndarray, slack: float = 0.06) -> bool:
    """Whether the hottest pixel lies on the defect, or beside it by at most ``slack`` of the picture."""
    row, column = (np.unravel_index(heatmap.argmax(), heatmap.shape) + np.array(0.5)) / np.array(heatmap.shape)
    rows, columns = np.nonzero(changed)
    distance = np.hypot((rows + 0.5) / changed.shape[0] - row, (columns + 0.5) / changed.shape[1] - column)
    return bool(distance.min() <= slack)
