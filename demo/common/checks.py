"""Untrusted inputs: every value a request can carry is checked here, whatever component it came through.

Events that take settings are declared with ``preprocess=False``, because gradio's own checks end in nameless
errors for values of a wrong type. Files are vetted before that step: they lie in gradio's upload folder.
"""

from __future__ import annotations

import functools
import html
import inspect
from collections.abc import Callable
from pathlib import Path

import gradio as gr
from gradio.utils import get_upload_folder

from fmcore.detector.model import ModelInfo
from fmcore.errors import FlowMismatchingError, ModelError, SettingsError
from fmcore.mismatch import AGGREGATORS, HeatSettings, PathSettings
from fmcore.views.encoder import DEFAULT

MAX_FILES = 12
MAX_PIXELS = 25_000_000  # of an uploaded picture
MAX_BYTES = 30_000_000  # of an uploaded picture's file
MAX_PATHS = 16
MAX_TIMES = 48
MAX_MESSAGE = 400  # characters; a message may quote what was sent
MOST_CATEGORIES = 40  # of somebody's model, and the largest sides of its views
LARGEST = {"height": 256, "width": 256, "pixel_height": 1024, "pixel_width": 1024, "channels": 4096}


def shown_error(error: FlowMismatchingError) -> gr.Error:
    """The sentence of an expected error, fit for gradio's message box, which renders HTML."""
    return gr.Error(html.escape(shortened(str(error)), quote=False), title="That did not work", print_exception=False)


def shortened(message: str) -> str:
    """At most `MAX_MESSAGE` characters of it."""
    return message if len(message) <= MAX_MESSAGE else message[: MAX_MESSAGE - 1] + "…"


def plain_errors(function: Callable) -> Callable:
    """Turn a handler's expected errors into `shown_error`; works for functions and for generators."""
    if inspect.isgeneratorfunction(function):

        @functools.wraps(function)
        def generator(*args, **kwargs):
            try:
                yield from function(*args, **kwargs)
            except FlowMismatchingError as error:
                raise shown_error(error) from None

        return generator

    @functools.wraps(function)
    def plain(*args, **kwargs):
        try:
            return function(*args, **kwargs)
        except FlowMismatchingError as error:
            raise shown_error(error) from None

    return plain


def path_settings(own: PathSettings, paths: object, times: object, *, exact: bool = False) -> PathSettings:
    """``own`` with another K and T, within what this app allows; K = 0 only where the mean is ``exact``.

    Raises:
        SettingsError: for a wrong type or range.
    """
    settings = own.replace(paths=paths, times=times)
    if settings.paths == 0 and not exact:
        raise SettingsError("K = 0, all noise at once, needs a field on feature maps: choose at least 1.")
    for name, value, limit in (("K", settings.paths, MAX_PATHS), ("T", settings.times, MAX_TIMES)):
        if value > limit:
            raise SettingsError(f"{name} = {value} is more than the app allows: choose at most {limit}.")
    return settings


def heat_settings(aggregator: object, alpha: object, exponent: object, smoothing: object) -> HeatSettings:
    """Settings of the heat map; ``alpha`` counts only for an aggregator that takes a parameter.

    Raises:
        SettingsError: for an unknown aggregator, a wrong type or range.
    """
    known = AGGREGATORS.get(aggregator) if isinstance(aggregator, str) else None
    if known is not None and known.parameter is None:
        alpha = None
    return HeatSettings.parse(aggregator=aggregator, alpha=alpha, exponent=exponent, smoothing=smoothing)


def sent(files: object, **limits: int) -> list[Path]:
    """`uploads` of a request that gradio does not check: the files must be ones that were uploaded.

    Raises:
        SettingsError: as `uploads`, and for any other file of this machine.
    """
    given = files if isinstance(files, list) else [files] if files else []
    if not all(isinstance(file, dict) and isinstance(file.get("path"), str) for file in given):
        raise SettingsError("Files are sent as gradio's clients send them: use handle_file, or upload them first.")
    folder = Path(get_upload_folder()).resolve()
    if not all(Path(file["path"]).resolve().is_relative_to(folder) for file in given):
        raise SettingsError("Only files that were uploaded can be used: upload them first.")
    return uploads(given, **limits)


def uploads(files: object, *, least: int = 1, most: int = MAX_FILES, archive: int = MAX_BYTES) -> list[Path]:
    """Paths of uploaded files, of which there are ``least`` to ``most``; ``files`` is gradio's file data.

    Args:
        archive: most bytes of a zip file, where these are taken.

    Raises:
        SettingsError: for too few or too many, or one that is too large.
    """
    given = files if isinstance(files, list) else [files] if files else []
    paths = [Path(file["path"]) for file in given]
    what = "an image" if least == 1 else f"at least {least} images"
    if not paths:
        raise SettingsError(f"No file was given: upload {what}.")
    if len(paths) < least:
        raise SettingsError(f"{len(paths)} files are too few: upload {what}.")
    if len(paths) > most:
        raise SettingsError(f"{len(paths)} files are too many at once: upload at most {most}.")
    for path in paths:
        limit = archive if path.suffix.lower() == ".zip" else MAX_BYTES
        if path.is_file() and path.stat().st_size > limit:
            raise SettingsError(f"'{path.name}' is larger than {limit // 1_000_000} MB: upload a smaller file.")
    return paths


def stored_model(info: ModelInfo) -> None:
    """Refuse somebody's model that would make this server fetch an encoder, or take pictures of a size that it does not
    offer itself; before it is loaded.

    Raises:
        ModelError: with what is too much.
    """
    if len(info.categories) > MOST_CATEGORIES:
        raise ModelError(f"This model has {len(info.categories)} categories: at most {MOST_CATEGORIES} are taken.")
    for category in info.categories.values():
        config = category.view.config
        if config.get("encoder", DEFAULT) != DEFAULT:
            raise ModelError(f"This model needs another encoder than '{DEFAULT}': use it with the command line.")
        for name, largest in LARGEST.items():
            side = config.get(name, 1)
            if isinstance(side, bool) or not isinstance(side, int) or not 1 <= side <= largest:
                raise ModelError(f"This model's view is not usable here: '{name}' must be 1 to {largest}.")
