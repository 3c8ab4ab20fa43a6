"""Answers that the page asks for past the queue: a request is plain JSON, none of it trusted; work takes turns."""

from __future__ import annotations

import base64
import binascii
import functools
import tempfile
import threading
from pathlib import Path

from demo.common import checks
from fmcore.data.picture import Picture, read_picture
from fmcore.errors import FlowMismatchingError, SettingsError

PATIENCE = 10.0  # seconds a request waits for its turn
MOST_SIDE = 512  # pixels of a picture that the page draws
MOST_LETTERS = 1_500_000  # of such a picture as text
_PREFIX = "data:image/png;base64,"


def answering(handler):
    """A handler of untrusted JSON: expected errors come back as ``{"error": one sentence}``."""

    @functools.wraps(handler)
    def safe(request):
        try:
            if not isinstance(request, dict):
                raise SettingsError("A request must be an object with named values.")
            return handler(request)
        except FlowMismatchingError as error:
            return {"error": checks.shortened(str(error))}

    return safe


class Turn:
    """At most ``count`` at work at the same time, so that however many visitors there are others find a free core."""

    def __init__(self, count: int = 1):
        self._free = threading.BoundedSemaphore(count)

    def __enter__(self) -> None:
        if not self._free.acquire(timeout=PATIENCE):
            raise SettingsError("Many visitors are computing at this moment: try again in a few seconds.")

    def __exit__(self, *error) -> None:
        self._free.release()


def drawn_picture(text: object) -> Picture:
    """The picture of a canvas, as the page sends it.

    Raises:
        SettingsError: if it is no such text, or too long. ImageError: if it is too large or damaged.
    """
    if not isinstance(text, str) or not text.startswith(_PREFIX) or len(text) > MOST_LETTERS:
        raise SettingsError(f"A drawn picture is sent as PNG in base64, at most {MOST_LETTERS} letters.")
    try:
        data = base64.b64decode(text.removeprefix(_PREFIX), validate=True)
    except binascii.Error:
        raise SettingsError("The drawn picture is damaged: draw again.") from None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "drawing.png"
        path.write_bytes(data)
        return read_picture(path, max_pixels=MOST_SIDE**2)
