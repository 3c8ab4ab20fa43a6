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

from fmcore.errors import FlowMismatchingError, SettingsError
from fmcore.mismatch.mismatch import HeatSettings, PathSettings

MAX_FILES = 12
MAX_PATHS = 16
MAX_TIMES = 48
MAX_MESSAGE = 400  # characters; a message may quote what was sent


def shown_error(error: FlowMismatchingError) -> gr.Error:
    """The sentence of an expected error, fit for gradio's message box, which renders HTML."""
    message = str(error)
    if len(message) > MAX_MESSAGE:
        message = message[: MAX_MESSAGE - 1] + "…"
    return gr.Error(html.escape(message, quote=False), title="That did not work", print_exception=False)


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


def path_settings(own: PathSettings, paths: object, times: object, structure: object = 0.0) -> PathSettings:
    """``own`` with another K, T and share of structure, within what this app allows.

    Raises:
        SettingsError: for a wrong type or range.
    """
    settings = own.replace(paths=paths, times=times, structure=structure)
    for name, value, limit in (("K", settings.paths, MAX_PATHS), ("T", settings.times, MAX_TIMES)):
        if value > limit:
            raise SettingsError(f"{name} = {value} is more than the app allows: choose at most {limit}.")
    return settings


def heat_settings(aggregator: object, percentile: object, exponent: object, smoothing: object) -> HeatSettings:
    """Settings of the heat map.

    Raises:
        SettingsError: for a wrong type or range.
    """
    return HeatSettings.parse(aggregator=aggregator, percentile=percentile, exponent=exponent, smoothing=smoothing)


def uploads(files: object, *, least: int = 1, most: int = MAX_FILES) -> list[Path]:
    """Paths of uploaded files, of which there are ``least`` to ``most``; ``files`` is gradio's file data.

    Raises:
        SettingsError: for too few or too many.
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
    return paths
