"""What a check of the workshop answers, and how it tells one typical mistake from another.

A check runs the learner's function on a few inputs and compares it with fmcore. Where it differs, it is
compared with functions that are wrong in a known way; the first that gives the very same numbers names the
mistake, and the learner reads a hint, never the solution.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from demo.style import COLOURS

Function = Callable[..., Any]


@dataclass(frozen=True)
class Feedback:
    """Shown under a check's cell.

    ``function`` is the learner's own where it is solved and fmcore's otherwise, so that the cells that follow
    always have one to go on with; None where the exercise asks for no function.
    """

    exercise: str
    solved: bool
    message: str
    function: Function | None = None

    def __repr__(self) -> str:
        return f"{self.exercise} - {'solved' if self.solved else 'not solved yet'}: {self.message}"

    def _repr_html_(self) -> str:
        """A coloured bar beside the text; Jupyter prefers this to the plain form."""
        colour = COLOURS["normal" if self.solved else "anomalous"]
        head, state = html.escape(self.exercise), "solved" if self.solved else "not solved yet"
        text = re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(self.message))
        return (
            f'<div style="border-left: 8px solid {colour}; padding: 0.4em 1em; font-size: 110%">'
            f"<b>{head} &ndash; {state}.</b> {text}</div>"
        )


@dataclass(frozen=True)
class Mistake:
    """A function that is wrong in a known way, and the hint for who wrote it."""

    function: Function
    hint: str


def review(
    exercise: str,
    learned: object,
    right: Function,
    inputs: Sequence[tuple],
    mistakes: Sequence[Mistake],
    *,
    praise: str,
    shape: str,
) -> Feedback:
    """Compare a learner's function with the right one on all inputs.

    Args:
        learned: what the learner wrote; anything may come, also something that is no function.
        right: fmcore's function, handed on where the learner's is not solved.
        inputs: argument tuples; tensors are copied, so that a function that changes them is found out.
        mistakes: tried in this order.
        praise: the message once it is solved.
        shape: what is asked for, in words, for results of another shape.
    """

    def not_yet(hint: str) -> Feedback:
        return Feedback(exercise, False, hint, right)

    if not callable(learned):
        return not_yet("A function is expected: keep the line that begins with `def`, and fill in what is below.")
    results = []
    for arguments in inputs:
        mine = _copy(arguments)
        try:
            result = learned(*mine)
        except Exception as error:  # the learner's code may raise anything, and "Run all" must go on
            return not_yet(_explain(error))
        if result is None or result is ...:
            return not_yet("Replace each `...` by your own code, and let the function return its result.")
        if _changed(arguments, mine):
            return not_yet("Your function changes what it is given. Make new tensors: `a = a * b`, not `a *= b`.")
        if isinstance(result, tuple) and hasattr(result, "indices"):
            return not_yet(
                "With an axis, torch's `min` and `max` return two things, values and indices. You need only one."
            )
        try:
            results.append(_array(result))
        except (TypeError, ValueError, RuntimeError):
            return not_yet(f"Your function returns a {type(result).__name__}; expected is {shape}.")
    expected = [_array(right(*_copy(arguments))) for arguments in inputs]
    if _agree(results, expected):
        return Feedback(exercise, True, praise, learned)
    for mistake in mistakes:
        if _agree(results, [_outcome(mistake.function, arguments) for arguments in inputs]):
            return not_yet(mistake.hint)
    return not_yet(_describe(results, expected, shape))


def _copy(arguments: tuple) -> tuple:
    return tuple(a.clone() if isinstance(a, torch.Tensor) else a for a in arguments)


def _changed(before: tuple, after: tuple) -> bool:
    pairs = zip(before, after, strict=True)
    return any(isinstance(a, torch.Tensor) and not torch.equal(a, b) for a, b in pairs)


def _array(value: Any) -> np.ndarray:
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu()
    return np.asarray(value, dtype=np.float64)


def _outcome(function: Function, arguments: tuple) -> np.ndarray | None:
    """What a mistake gives; None where it does not even run on these inputs."""
    try:
        return _array(function(*_copy(arguments)))
    except (RuntimeError, IndexError, ValueError, TypeError):
        return None


def _agree(results: list[np.ndarray], others: list[np.ndarray | None]) -> bool:
    return all(
        other is not None and result.shape == other.shape and np.allclose(result, other, rtol=1e-3, atol=1e-5)
        for result, other in zip(results, others, strict=True)
    )


def _explain(error: Exception) -> str:
    text = str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
    if "ellipsis" in text.lower():
        return "There is still a `...` left to replace in your function."
    if isinstance(error, NameError):
        return f"Python says: {text}. Is it one of the function's arguments, and spelt as there?"
    if isinstance(error, RuntimeError) and "size of tensor" in text:
        return f"Two shapes do not fit: {text}. Print both `.shape`; a missing axis is made by indexing with `None`."
    return f"Your function stopped with a {type(error).__name__}: {text}. Try it on a small input of your own."


def _describe(results: list[np.ndarray], expected: list[np.ndarray], shape: str) -> str:
    for result, right in zip(results, expected, strict=True):
        if result.shape != right.shape:
            return f"The result has shape {result.shape} where {right.shape} is needed: expected is {shape}."
    if any(not np.isfinite(result).all() for result in results):
        return "Some of your numbers are not finite. Is there a division by zero, or a root of a negative number?"
    good = [np.allclose(r, e, rtol=1e-3, atol=1e-5) for r, e in zip(results, expected, strict=True)]
    some = f"It agrees on {sum(good)} of {len(good)} test inputs. " if any(good) else ""
    return some + "The shape is right, the numbers are not: go through the formula above your cell term by term."
