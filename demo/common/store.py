"""Results and fitted models of all visitors, kept on the server under one memory limit.

A visitor's ``gr.State`` holds only random tokens, so however many visitors there are, what they leave
behind never takes more than ``limit`` bytes: the entries used least recently go first.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Hashable
from typing import Any

from cachetools import LRUCache


class Store:
    """A thread-safe store of at most ``limit`` bytes; an entry that alone exceeds it replaces all others."""

    def __init__(self, limit: int):
        self._entries = LRUCache(limit, getsizeof=lambda entry: min(entry[1], limit))
        self._lock = threading.Lock()

    def put(self, value: Any, size: int, key: Hashable | None = None) -> Hashable:
        """Keep ``value``, which takes ``size`` bytes; returns its key, by default a random token."""
        key = secrets.token_urlsafe(16) if key is None else key
        with self._lock:
            self._entries[key] = (value, size)
        return key

    def get(self, key: Hashable) -> Any | None:
        """The value, or None if it was never there or has made room for others."""
        with self._lock:
            return self._entries.get(key, (None, 0))[0]

    @property
    def size(self) -> int:
        """Bytes that are kept."""
        with self._lock:
            return int(self._entries.currsize)

    def forget(self, key: Hashable | None) -> None:
        """`drop` of one key, or of none."""
        self.drop([key])

    def drop(self, keys: list[Hashable]) -> None:
        """Forget these entries, where they are still there."""
        with self._lock:
            for key in keys:
                self._entries.pop(key, None)
