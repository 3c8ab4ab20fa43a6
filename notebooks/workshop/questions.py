"""The workshop's questions: predict-then-check, the best exponent, the wrong weight, and a defect of one's own.
The letters and panels here are the only answers of the workshop that no code computes on the spot; the tests do."""

from collections.abc import Callable, Sequence

import numpy as np

from fmcore.detector.score import Verdict
from fmcore.mismatch import HeatSettings, Mismatch
from workshop.feedback import Feedback

WEIGHT = 2.0  # r, what all three colleagues of the puzzle say they used
UNSOLVED = "Write your answer in place of the `...`; a wrong prediction teaches as much as a right one."
LENGTH = "Compare the arrows in your picture: does the later one differ in length?"
RATIO = "By what factor do the two curves differ at their left ends, and by what in the middle?"
RACE = "With one more path in the race, can the smallest value of all get any larger?"
LEVEL = "Follow one curve from left to right: with more paths to choose from, does it stay level?"
COUNT = "Count the defects that were found in each row of pictures."
CHOICES = {  # question: right answer, why, and a hint for each wrong answer
    "velocity": ("b", "The path is a straight line walked at constant speed.", {"a": LENGTH, "c": LENGTH}),
    "when": ("b", "Early states are mostly noise, and so nearly alike for both points.", {"a": RATIO, "c": RATIO}),
    "paths": ("b", "A minimum over more paths can only fall: for good points nearly to zero.", {"a": RACE, "c": LEVEL}),
    "field": (
        "b",
        "A Gaussian describes parts that always lie alike; bricks are laid anew in each picture.",
        {"a": COUNT},
    ),
}
LANDSCAPES = {"P": "late", "Q": "combined", "R": "early"}
LANDSCAPE_HINTS = {  # what a panel was taken for, or what it is
    "early": "early states hardly know the shape of the arc. Does that panel?",
    "late": "a late state is nearly the data point itself: sharp, but rippled along the arc. Is that panel?",
}
COLLEAGUES = ("Ada", "Bo", "Cleo")
# Put into the notebook's names, so that an answer written without quotes is one too.
ANSWERS = {name: name for name in (*"abc", *LANDSCAPES.values(), *COLLEAGUES)}


def prediction(question: str, answer: object) -> Feedback:
    """A multiple-choice question, checked after its picture has been seen."""
    right, why, hints = CHOICES[question]
    title = f"Prediction '{question}'"
    if not isinstance(answer, str):
        return Feedback(title, False, UNSOLVED)
    answer = answer.strip().lower()
    options = ", ".join(sorted([right, *hints]))
    return Feedback(title, answer == right, why if answer == right else hints.get(answer, f"Choose one of {options}."))


def best_exponent(heats: dict[float, Sequence[float]], answer: object) -> Feedback:
    """Which weight sets the stars apart most clearly? ``heats``: by r, what the normal and the anomalous one get."""
    title, ratios = "The best weight", {r: float(anomalous / normal) for r, (normal, anomalous) in heats.items()}
    best = max(ratios, key=ratios.get)
    if answer is ... or isinstance(answer, bool):
        return Feedback(title, False, UNSOLVED)
    if answer not in ratios:
        return Feedback(title, False, f"Choose one of the numbers {', '.join(f'{r:g}' for r in ratios)}.")
    if answer != best:
        return Feedback(title, False, "Divide the anomalous star's number by the normal one's, for each r.")
    said = ", ".join(f"r = {r:g}: {ratio:.1f}" for r, ratio in ratios.items())
    return Feedback(title, True, f"Ratios for these two stars and this noise, {said}. What it costs is seen next.")


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
    involved = (given[wrong[0]], LANDSCAPES[wrong[0]])
    return Feedback(title, False, f"Panel {wrong[0]}: {LANDSCAPE_HINTS['early' if 'early' in involved else 'late']}")


def colleagues(mismatch: Mismatch) -> dict[str, np.ndarray]:
    """Three ways to weight one mismatch, each said to be ``t^2``: contributions ``(T, H, W)`` by name."""
    heat = HeatSettings(exponent=WEIGHT, smoothing=0.0)
    backwards = Mismatch(1 - mismatch.times, mismatch.maps)  # Cleo's clock
    # Bo has another unit: his map looks worst, and is harmless.
    weighted = (mismatch.weighted(heat), 10 * mismatch.weighted(heat), backwards.weighted(heat))
    return dict(zip(COLLEAGUES, weighted, strict=True))


def wrong_weight(name: object, weight: Callable[[float], float]) -> Feedback:
    """Which colleague's weight is no multiple of t^2, and what it is: a function of t."""
    hints = {
        "ada": "Divide Ada's contributions by the mismatch: does the curve differ from t^2?",
        "bo": "Bo's map is ten times as hot everywhere. Would any ranking of points change by that?",
        "cleo": "The name is right. Now write her weight as a function of t.",
    }
    said = name.strip().lower() if isinstance(name, str) else None
    hint = UNSOLVED if said is None else hints.get(said, "Give one of the three names: Ada, Bo or Cleo.")
    times = np.linspace(0.1, 0.9, 9)
    try:
        values = np.array([float(weight(t)) for t in times])
    except Exception:  # the learner's code may raise anything; a `...` left in it raises too
        values = None
    if said != "cleo" or values is None:
        return Feedback("Find the wrong weight", False, hint)
    known = [
        ((1 - times) ** WEIGHT, "Her clock runs backwards: near-noise counts most, and the map turns into haze."),
        (1 - times**WEIGHT, "Very close. At t = 0.5, is her weight 0.75 or 0.25? Mind what is squared."),
        (1 - times, "It falls from 1 to 0, but not along a straight line: read her curve at t = 0.5."),
        (times**WEIGHT, "That is the weight she should have used. Where is hers large?"),
        (values, "The name is right. Read her curve at t = 0, 0.5 and 1, and find a square that passes through them."),
    ]
    fits = [np.allclose(values, weights, rtol=0.02, atol=1e-3) for weights, _ in known]
    return Feedback("Find the wrong weight", fits[0], known[fits.index(True)][1])


def own_defect(good: np.ndarray, painted: object, judge: Callable[[np.ndarray], Verdict]) -> Feedback:
    """Is a defect small, is it found, and is it found where it is? ``good`` ``(H, W, 3)`` uint8 is the picture that the
    learner's function got a copy of, ``painted`` what it returned, and ``judge`` gives the verdict on such an array."""
    title = "Your own defect"
    if not isinstance(painted, np.ndarray) or painted.shape != good.shape or painted.dtype != np.uint8:
        return Feedback(title, False, "Return the whole picture, an array of the same shape and type as it came in.")
    changed = (painted != good).any(axis=2)
    if not changed.any():
        return Feedback(title, False, "No pixel has changed yet: put a number from 0 to 255 into rows and columns.")
    if changed.mean() > 0.05:
        return Feedback(title, False, f"You have changed {changed.mean():.0%} of the picture: at most 5 % is a defect.")
    verdict = judge(painted)
    numbers = f"score {verdict.score:.2f}, threshold {verdict.threshold:.2f}"
    if not verdict.anomalous:
        return Feedback(title, False, f"Hidden well: {numbers}. Try another shade, or a place that is always the same.")
    if not _hit(verdict.heatmap, changed):
        return Feedback(title, False, "It rings, but elsewhere: move your defect, or make it stronger.")
    found = f"Found: {numbers}, {changed.sum()} pixels changed. Now fainter and smaller: where is the limit?"
    return Feedback(title, True, found)


def _hit(heatmap: np.ndarray, changed: np.ndarray, slack: float = 0.06) -> bool:
    """Whether the hottest pixel lies on the defect, or beside it by at most ``slack`` of the picture."""
    row, column = (np.unravel_index(heatmap.argmax(), heatmap.shape) + np.array(0.5)) / np.array(heatmap.shape)
    rows, columns = np.nonzero(changed)
    distance = np.hypot((rows + 0.5) / changed.shape[0] - row, (columns + 0.5) / changed.shape[1] - column)
    return bool(distance.min() <= slack)
