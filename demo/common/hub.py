"""Models of the Hugging Face Hub that whoever runs the app allows, by `VARIABLE`; fetched when first chosen, then kept.

Nothing that is not written there is ever asked for.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from cachetools import LRUCache

from demo.common import checks
from fmcore.detector.hub import download
from fmcore.detector.model import Model, ModelInfo, load_model, read_info
from fmcore.errors import ModelError, SettingsError

VARIABLE = "FM_MODELS"  # "user/one, user/two@a-commit-or-tag"
MOST_KEPT = 4  # models, of about 130 MB each
POLL = 0.2  # seconds between two looks at a model that is on its way
_NAME = re.compile(r"\w[\w.-]*/\w[\w.-]*(@\w[\w./-]*)?", re.ASCII)
_LOADS: LRUCache[str, Future[Model]] = LRUCache(MOST_KEPT)
_INFOS: dict[str, ModelInfo] = {}  # of all that were here, even where they have made room for others
_GUARD = threading.Lock()
_WORKERS = ThreadPoolExecutor(2, "hub")


def names() -> list[str]:
    """What is allowed, as it is written. Raises `SettingsError` for what cannot be a model of the Hub."""
    found = [name.strip() for name in os.environ.get(VARIABLE, "").split(",") if name.strip()]
    for name in found:
        if not _NAME.fullmatch(name):
            raise SettingsError(f"{VARIABLE} holds '{name}': write 'user/name' or 'user/name@revision', with commas.")
    return list(dict.fromkeys(found))


def prepare(name: str) -> Future[Model]:
    """A model on its way, begun if it was not; never twice at once. Raises `SettingsError` if it is not allowed; its
    own errors are `ModelError`."""
    if name not in names():
        raise SettingsError(f"There is no model '{name}' to be fetched here: choose one of the list.")
    with _GUARD:
        load = _LOADS.get(name)
        if load is None or (load.done() and load.exception() is not None):
            load = _LOADS[name] = _WORKERS.submit(_kept, name)
        return load


def progress(name: str) -> Iterator[str]:
    """Sentences while it is on its way; none if it is there. Raises as `prepare`, and its own errors."""
    load = prepare(name)
    while not load.done():
        yield f"Fetching {name} from the Hub"
        try:
            load.result(POLL)
        except TimeoutError:
            continue
    load.result()


def info(name: str) -> ModelInfo | None:
    """What a model says of itself, if it was here once."""
    return _INFOS.get(name)


def _kept(name: str) -> Model:
    model = _load(name)
    _INFOS[name] = model.info
    return model


def _load(name: str) -> Model:
    repo_id, _, revision = name.partition("@")
    folder = download(repo_id, revision or None)
    try:
        checks.stored_model(read_info(folder))
        return load_model(folder)
    except ModelError as error:
        raise ModelError(str(error).replace(str(folder), name)) from None
