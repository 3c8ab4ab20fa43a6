"""The one exception family a user can meet: every message is one sentence that says what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class FlowMismatchingError(ValueError):
    """Base of all errors caused by input; its message is fit to be shown to a user as it is."""


class ImageError(FlowMismatchingError):
    """An image or mask file that cannot be used."""


class DataError(FlowMismatchingError):
    """A folder that does not hold what was expected of it."""


class SettingsError(FlowMismatchingError):
    """A setting that is unknown, mistyped or out of range."""


class ModelError(FlowMismatchingError):
    """A model folder that is missing, damaged or does not fit the request."""


class TrainingError(FlowMismatchingError):
    """Training that cannot go on, for instance because the loss is no longer finite."""


def suggestion(name: str, known: Iterable[str], otherwise: str = "choose one of") -> str:
    """What to try in place of an unknown name: the end of a message."""
    known = list(known)
    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean '{close[0]}'?" if close else f"{otherwise} {', '.join(known)}."
