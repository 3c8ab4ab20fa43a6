"""The ``parameters`` cell of a notebook: names, types and defaults, and values given as text checked against them.

papermill only warns of an unknown parameter and checks no type; here both are refused before a kernel starts.
"""

from __future__ import annotations

import ast
import difflib
import importlib
import json
import pkgutil
from dataclasses import dataclass
from typing import Any, Literal, Union, get_args, get_origin

import pydantic
from pydantic import TypeAdapter

import fmcore
from fmcore.errors import SettingsError
from fmcore.settings import Settings

_NAMES = {"int": int, "float": float, "str": str, "bool": bool, "list": list, "tuple": tuple, "dict": dict}
_NAMES |= {"Optional": Union, "Literal": Literal}


@dataclass(frozen=True)
class Parameter:
    """One line of the cell, ``name: type = default  # help``."""

    name: str
    type: Any
    default: Any
    help: str = ""

    @property
    def type_name(self) -> str:
        return _name_of(self.type)

    def parse(self, text: str) -> Any:
        """A value from the command line.

        Raises:
            SettingsError: if the text is not of the parameter's type.
        """
        adapter = TypeAdapter(self.type)
        try:
            if self.type is str:
                return text
            if _takes_none(self.type) and text.lower() in ("none", "null", ""):
                return None
            if _is_container(self.type):
                return _plain(adapter.validate_python(_sequence(text)))
            return adapter.validate_strings(text)
        except pydantic.ValidationError as error:
            reason = error.errors()[0]["msg"]
            raise SettingsError(
                f"Parameter '{self.name}' is of type {self.type_name}, and '{text}' is not usable: "
                f"{reason[0].lower() + reason[1:]}."
            ) from None


def read_parameters(source: str) -> dict[str, Parameter]:
    """The assignments of a parameters cell; an assignment without annotation takes the type of its default.

    Raises:
        SettingsError: where the cell holds anything else than plain literals.
    """
    lines, found = source.splitlines(), {}
    try:
        for node in ast.parse(source).body:
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
                name, default = node.target.id, ast.literal_eval(node.value)
                kind = _type_of(node.annotation)
            elif isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
                name, default = node.targets[0].id, ast.literal_eval(node.value)
                kind = type(default)
            else:
                continue
            comment = lines[node.end_lineno - 1][node.end_col_offset :].partition("#")[2].strip()
            found[name] = Parameter(name, kind, default, comment)
    except (ValueError, SyntaxError, TypeError) as error:
        raise SettingsError(f"The parameters cell holds more than plain values with plain types: {error}.") from None
    return found


def parse_parameters(given: dict[str, str], known: dict[str, Parameter], notebook: str) -> dict[str, Any]:
    """Values for the given names.

    Raises:
        SettingsError: for the first name that is unknown, with a suggestion, or value of the wrong type.
    """
    for name in given:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean '{close[0]}'?" if close else f"it has {', '.join(known)}."
            raise SettingsError(f"Notebook '{notebook}' has no parameter '{name}'; {hint}")
    return {name: known[name].parse(text) for name, text in given.items()}


def check_ranges(values: dict[str, Any], source: str) -> None:
    """Check values against the settings classes of fmcore that the notebook's ``source`` mentions.

    Names of parameters are those of settings; a value is refused if every class that has a plain setting of that
    name refuses it.

    Raises:
        SettingsError: the sentence of the settings class itself.
    """
    classes = [c for c in _settings_classes() if f"{c.__name__}.parse" in source or f"{c.__name__}(" in source]
    for name, value in values.items():
        errors = []
        for cls in classes:
            field = cls.model_fields.get(name)
            if field is None or _is_settings(field.annotation):
                continue
            try:
                # Settings hold tuples; a notebook's parameter is a list, all that JSON and papermill know.
                cls.parse(**{name: tuple(value) if isinstance(value, list) else value})
            except SettingsError as error:
                if f"'{name}'" not in str(error):  # another setting is missing: this one was not refused
                    break
                errors.append(error)
            else:
                break
        else:
            if errors:
                raise errors[0]


def _settings_classes() -> list[type[Settings]]:
    for module in pkgutil.walk_packages(fmcore.__path__, "fmcore."):
        if "__main__" not in module.name and ".cli" not in module.name:
            importlib.import_module(module.name)
    found, queue = [], [Settings]
    while queue:
        for cls in queue.pop().__subclasses__():
            if cls.__module__.startswith("fmcore"):
                found.append(cls)
                queue.append(cls)
    return sorted(found, key=lambda cls: (cls.__module__, cls.__name__))


def _is_settings(annotation: Any) -> bool:
    return any(isinstance(a, type) and issubclass(a, Settings) for a in (annotation, *get_args(annotation)))


def _type_of(node: ast.expr) -> Any:
    """The type an annotation names, without running code: int, str | None, list[int], Literal[...] and the like."""
    match node:
        case ast.Constant(value=None):
            return None
        case ast.Constant(value=str() as text):
            return _type_of(ast.parse(text, mode="eval").body)
        case ast.Name(id=name) | ast.Attribute(attr=name) if name in _NAMES:
            return _NAMES[name]
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return Union[_type_of(left), _type_of(right)]  # noqa: UP007 - built from values
        case ast.Subscript(value=outer, slice=inner):
            if (kind := _type_of(outer)) is Literal:
                value = ast.literal_eval(inner)
                return Literal[value]
            inside = [_type_of(n) for n in inner.elts] if isinstance(inner, ast.Tuple) else [_type_of(inner)]
            return Union[(*inside, None)] if kind is Union else kind[tuple(inside)]
        case ast.Constant(value=value) if value is Ellipsis:
            return Ellipsis
    raise ValueError(f"the type '{ast.unparse(node)}' is not known")


def _name_of(kind: Any) -> str:
    if get_origin(kind) is Union:
        return " | ".join(map(_name_of, get_args(kind)))
    if kind is type(None):
        return "None"
    return kind.__name__ if isinstance(kind, type) and not get_args(kind) else str(kind).removeprefix("typing.")


def _takes_none(kind: Any) -> bool:
    return type(None) in get_args(kind)


def _is_container(kind: Any) -> bool:
    return any(k in (list, tuple, dict) for k in (kind, get_origin(kind))) or any(map(_is_container, get_args(kind)))


def _sequence(text: str) -> Any:
    """JSON, or values separated by commas."""
    try:
        value = json.loads(text)
        return value if isinstance(value, list | dict) else [value]
    except ValueError:
        return [part.strip() for part in text.split(",") if part.strip()]


def _plain(value: Any) -> Any:
    # papermill writes parameters as Python source, and a tuple as text.
    return [_plain(v) for v in value] if isinstance(value, list | tuple) else value
