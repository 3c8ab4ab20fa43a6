"""Pictures from files, folders of them, and rendered examples; no field, no network."""

from typing import Any, NamedTuple


class Progress(NamedTuple):
    """What generators yield: ``done`` of ``total``, a sentence worth showing, and on the last record the ``result``."""

    done: int
    total: int
    note: str = ""
    result: Any = None
