"""Options that commands share or that are made from settings classes; checks before the work; files after it."""

from __future__ import annotations

import functools
import inspect
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin

import torch
import typer

from fmcore.data.heatmap_file import replace
from fmcore.errors import DataError, SettingsError
from fmcore.settings import Settings

ADVANCED, KEYWORD = "Advanced", inspect.Parameter.KEYWORD_ONLY
Category = Annotated[str | None, typer.Option(help="Category, where the model has several.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps ...")]
JsonFile = Annotated[Path | None, typer.Option("--json", help="Write all that was found here.")]
Given = dict[str, Any]  # the settings of one group that the user gave on the command line


def with_settings(
    basic: Sequence[str] = (), defaults: Mapping[str, str] = {}, **groups: type[Settings] | Sequence[type[Settings]]
):
    """Replace parameters of a command by options, one per field of a settings class.

    ``@with_settings(heat=HeatSettings)`` gives the command ``--aggregator``, ``--exponent`` and so on, and calls the
    function with ``heat`` set to a dict of those the user gave. Tuples are written with commas; fields of other
    settings get no option.

    Args:
        basic: settings shown with the command's own options; all others stand in a panel of their own.
        defaults: what to say of defaults that the settings classes do not know, by name of a setting or a class.
        groups: parameter -> settings class or classes. Of one name, the command's own parameter or first field counts.
    """

    def decorate(function: Callable) -> Callable:
        own = inspect.signature(function, eval_str=True).parameters.values()
        parameters = {p.name: p.replace(kind=KEYWORD) for p in own if p.name not in groups}
        options: list[tuple[str, str, type, bool]] = []
        for group, classes in groups.items():
            for cls in [classes] if isinstance(classes, type) else classes:
                for name, field in cls.model_fields.items():
                    if name not in parameters and (kind := _kind(field.annotation)):
                        text = _text(name, field, defaults.get(name, defaults.get(cls.__name__)))
                        # Choices and tuples are text here: it is the settings class that checks them and says so.
                        option = typer.Option(help=text, rich_help_panel=None if name in basic else ADVANCED)
                        shown = Annotated[(str if kind[1] else kind[0]) | None, option]
                        parameters[name] = inspect.Parameter(name, KEYWORD, default=None, annotation=shown)
                        options.append((group, name, *kind))

        @functools.wraps(function)
        def command(**values: Any) -> Any:
            given: dict[str, Given] = {group: {} for group in groups}
            for group, name, kind, is_tuple in options:
                if (value := values.pop(name)) is not None:
                    given[group][name] = _parsed(name, value, kind) if is_tuple else value
            return function(**values, **given)

        command.__signature__ = inspect.Signature(list(parameters.values()))
        return command

    return decorate


def _text(name: str, field: Any, default: str | None) -> str:
    text, value = field.description or name.replace("_", " "), default or field.get_default()
    if get_origin(field.annotation) is Literal:
        text += f": {', '.join(map(str, get_args(field.annotation)))}"
    if value in (None, "") or "default" in text:
        return text
    return f"{text} (default: {','.join(map(str, value)) if isinstance(value, tuple) else value})"


def _kind(annotation: Any) -> tuple[type, bool] | None:
    """The plain type behind an annotation, and whether it is a tuple of these; None: no option can stand for it."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _kind(inner[0])
    if origin in (Literal, tuple):
        return (str, False) if origin is Literal else (_kind(inner[0])[0], True)
    kinds = [kind for kind in inner or (annotation,) if kind is not NoneType]
    return (kinds[0], False) if len(kinds) == 1 and kinds[0] in (bool, int, float, str) else None


def _parsed(name: str, text: str, kind: type) -> tuple:
    try:
        return tuple(kind(part.strip()) for part in text.split(",") if part.strip())
    except ValueError:
        raise SettingsError(f"Setting '{name}' = '{text}' is not usable: give numbers, as 64,128,192.") from None


def check_device(name: str) -> str:
    """The torch device for ``auto``, or for a name that torch knows. Raises `DataError` if it is not here."""
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1, device=name).cpu()
        return name
    except Exception:  # AssertionError, RuntimeError or NotImplementedError, depending on the kind of device
        raise DataError(f"There is no device '{name}' here: choose auto, cpu, cuda, cuda:1 or mps.") from None


def check_writable(path: Path | None, *, folder: bool = False) -> None:
    """Raises `DataError` if a file, or files in a ``folder``, could not be written; leaves nothing behind."""
    if path is None:
        return
    try:
        if path.exists() and path.is_dir() != folder:
            raise DataError(f"'{path}' is a {'file' if folder else 'folder'}: give another name.")
        if path.is_file():
            path.open("a").close()
        else:
            tempfile.TemporaryFile(dir=next(p for p in (path, *path.absolute().parents) if p.exists())).close()
    except OSError as error:
        raise DataError(f"'{path}' cannot be written ({error.strerror}): give another name.") from None


def save_json(path: Path | None, value: Any) -> None:
    """Where there is a ``path``; makes its folder."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace(path, lambda file: file.write(json.dumps(value, indent=1).encode()))
