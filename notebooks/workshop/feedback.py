"""What a check of the workshop answers, and how it tells one typical mistake from another.
A check runs the learner's function on a few inputs and compares it with the right one. Where it differs, it is
compared with functions that are wrong in a known way; the first that gives the very same numbers names the mistake,
and the learner reads a hint, never the solution."""

import html
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from fmcore.palette import COLOURS

Function = Callable[..., Any]
PAIR = "With an axis, torch's `min`, `max` and `topk` return values and indices. You need only one of the two."
FITS = "Print both `.shape`; a missing axis is made by indexing with `None`."


@dataclass(frozen=True)
class Feedback:
    """Shown under a check's cell. ``function`` is the learner's own where it is solved and the right one otherwise, so
    that the cells that follow can go on with it; None where the exercise asks for none."""

    exercise: str
    solved: bool
    message: str
    function: Function | None = None

    def __repr__(self) -> str:
        return f"{self.exercise} - {'solved' if self.solved else 'not solved yet'}: {self.message}"

    def _repr_html_(self) -> str:
        """A coloured bar beside the text; Jupyter prefers this to the plain form."""
        colour = COLOURS["normal" if self.solved else "anomalous"]
        text = re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(repr(self)))
        return f'<div style="border-left: 8px solid {colour}; padding: 0.4em 1em; font-size: 110%">{text}</div>'


@dataclass(frozen=True)
class Exercise:
    """One function to write; called with what the learner wrote, whatever that is, it gives `Feedback`."""

    title: str
    right: Function  # handed on where the learner's is not solved
    inputs: Sequence[tuple]  # of arguments; tensors are copied, so that a function that changes them is found out
    mistakes: Sequence[tuple[Function, str]]  # functions that are wrong in a known way with their hints, in this order
    praise: str
    shape: str  # what is asked for, in words, for results of another shape
    fits: str = FITS  # what to look at where shapes do not fit each other

    def __call__(self, learned: object) -> Feedback:
        hint = self._hint(learned)
        return Feedback(self.title, not hint, hint or self.praise, self.right if hint else learned)

    def _hint(self, learned: object) -> str:
        """Empty if all is right."""
        if not callable(learned):
            return "A function is expected: keep the line that begins with `def`, and fill in what is below."
        results = []
        for arguments in self.inputs:
            mine = _copy(arguments)
            try:
                result = learned(*mine)
            except Exception as error:  # the learner's code may raise anything, and "Run all" must go on
                return self._explain(error)
            if result is None or result is ...:
                return "Replace each `...` by your own code, and let the function return its result."
            if not all(torch.equal(a, b) for a, b in zip(arguments, mine, strict=True) if isinstance(a, torch.Tensor)):
                return "Your function changes what it is given. Make new tensors: `a = a * b`, not `a *= b`."
            if isinstance(result, tuple) and hasattr(result, "indices"):
                return PAIR
            try:
                results.append(_array(result))
            except (TypeError, ValueError, RuntimeError):
                return f"Your function returns a {type(result).__name__}; expected is {self.shape}."
        expected = [_array(self.right(*_copy(arguments))) for arguments in self.inputs]
        agree = [_same(*pair) for pair in zip(results, expected, strict=True)]
        if all(agree):
            return ""
        for function, hint in self.mistakes:
            if all(_same(r, _outcome(function, a)) for r, a in zip(results, self.inputs, strict=True)):
                return hint
        return self._describe(results, expected, sum(agree))

    def _explain(self, error: Exception) -> str:
        text = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        if "ellipsis" in text.lower():
            return "There is still a `...` left to replace in your function."
        if "return_types" in text or "only integer tensors" in text:
            return PAIR
        if "Boolean value" in text:
            return "Python's own `min` and `max` compare whole tensors. A tensor has methods of its own for that."
        if isinstance(error, NameError):
            return f"Python says: {text}. Is it one of the function's arguments, and spelt as there?"
        if isinstance(error, RuntimeError) and "size of tensor" in text:
            return f"Two shapes do not fit: {text}. {self.fits}"
        name = f"{'an' if type(error).__name__[0] in 'AEIO' else 'a'} {type(error).__name__}"
        return f"Your function stopped with {name}: {text}. Try it on a small input of your own."

    def _describe(self, results: list[np.ndarray], expected: list[np.ndarray], agree: int) -> str:
        for result, right in zip(results, expected, strict=True):
            if result.shape != right.shape:
                return f"The result has shape {result.shape} where {right.shape} is needed: expected is {self.shape}."
        if not all(np.isfinite(result).all() for result in results):
            return "Some of your numbers are not finite. Is there a division by zero, or a root of a negative number?"
        some = f"It agrees on {agree} of {len(results)} test inputs. " if agree else ""
        return some + "The shape is right, the numbers are not: go through the formula above your cell term by term."


def _copy(arguments: tuple) -> tuple:
    return tuple(a.clone() if isinstance(a, torch.Tensor) else a for a in arguments)


def _array(value: Any) -> np.ndarray:
    return np.asarray(value.detach().cpu() if isinstance(value, torch.Tensor) else value, dtype=np.float64)


def _outcome(function: Function, arguments: tuple) -> np.ndarray | None:
    """What a mistake gives; None where it does not even run on these inputs."""
    try:
        return _array(function(*_copy(arguments)))
    except (RuntimeError, IndexError, ValueError, TypeError):
        return None


def _same(result: np.ndarray, other: np.ndarray | None) -> bool:
    return other is not None and result.shape == other.shape and np.allclose(result, other, rtol=1e-3, atol=1e-5)
