"""Options that commands share. Those that stand for a setting are made from its settings class."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin

import torch
import typer

from fmcore.errors import DataError
from fmcore.settings import Settings

Category = Annotated[str | None, typer.Option(help="Category, where the model has several.")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
Given = dict[str, Any]  # the settings of one class that the user gave on the command line


def with_settings(
    *,
    leave_out: tuple[str, ...] = (),
    of_model: tuple[str, ...] = (),
    help: dict[str, str] | None = None,
    **groups: type[Settings],
):
    """Replace parameters of a command by options, one per field of a settings class.

    ``@with_settings(heat=HeatSettings)`` gives the command ``--aggregator``, ``--exponent`` and so on, and
    calls the function with ``heat`` set to a dict of those the user gave; the rest stays at its default,
    which only the settings class knows. Fields that hold no plain value (a tuple, other settings) get no option.

    Args:
        leave_out: fields without an option. of_model: groups whose defaults are the loaded model's.
        help: texts for fields whose description does not fit here; the default is added.
        groups: parameter name -> settings class.
    """
    fields = {
        group: [n for n, f in cls.model_fields.items() if n not in leave_out and _plain(f.annotation)]
        for group, cls in groups.items()
    }

    def decorate(function: Callable) -> Callable:
        @functools.wraps(function)
        def command(**values: Any) -> Any:
            for group, names in fields.items():
                chosen = {name: values.pop(name) for name in names}
                values[group] = {name: value for name, value in chosen.items() if value is not None}
            return function(**values)

        own = inspect.signature(function, eval_str=True).parameters.values()
        parameters = [p.replace(kind=p.KEYWORD_ONLY) for p in own if p.name not in groups]
        for group, cls in groups.items():
            parameters += [_option(cls, name, (help or {}).get(name), group in of_model) for name in fields[group]]
        command.__signature__ = inspect.Signature(parameters)
        return command

    return decorate


def _option(cls: type[Settings], name: str, text: str | None, of_model: bool) -> inspect.Parameter:
    field = cls.model_fields[name]
    default = "the model's" if of_model else field.default
    if text is None:
        text = field.description or name.replace("_", " ")
        if get_origin(field.annotation) is Literal:
            text += f": {', '.join(map(str, get_args(field.annotation)))}"
    if default is not None and "default" not in text:
        text += f" (default: {default})"
    # Typed as text where the class has a list of choices: it is the class that checks them and says so.
    kind = Annotated[_plain(field.annotation) | None, typer.Option(help=text)]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=kind)


def _plain(annotation: Any) -> type | None:
    """The plain type behind an annotation, or None where an option cannot stand for it."""
    if get_origin(annotation) is Literal:
        return str
    kinds = [kind for kind in get_args(annotation) or (annotation,) if kind is not NoneType]
    return kinds[0] if len(kinds) == 1 and kinds[0] in (bool, int, float, str) else None


def check_device(name: str) -> str:
    """The torch device for ``auto``, ``cpu`` or ``cuda``.

    Raises:
        DataError: for another name, or where there is no CUDA device.
    """
    if name not in ("auto", "cpu", "cuda"):
        raise DataError(f"There is no device '{name}': choose auto, cpu or cuda.")
    if name == "cuda" and not torch.cuda.is_available():
        raise DataError("No CUDA device is available here: choose --device cpu.")
    return "cuda" if name != "cpu" and torch.cuda.is_available() else "cpu"


def check_folder(out: Path) -> None:
    """Raises `DataError` if ``--out`` names a file."""
    if out.exists() and not out.is_dir():
        raise DataError(f"'{out}' is a file: give the name of a folder for --out.")
