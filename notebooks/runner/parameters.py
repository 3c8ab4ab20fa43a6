"""The ``parameters`` cell of a notebook: names, types and defaults, and values given as text checked against them.
papermill only warns of an unknown parameter, checks no type and overlooks ``int | None``; here all are known before a
kernel starts."""

import ast
import importlib
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, get_args

import pydantic

from fmcore.errors import SettingsError
from fmcore.settings import Settings

TYPES = {kind.__name__: kind for kind in (int, float, str, bool, list, dict)}


@dataclass(frozen=True)
class Parameter:
    """One line of the cell, ``name: type = default  # help``; ``type_name`` as it stands there."""

    name: str
    type_name: str
    type: Any
    default: Any
    help: str = ""

    def parse(self, text: str) -> Any:
        """A value from the command line, a dict as JSON, a list as JSON or separated by commas; `SettingsError` if the
        text is not of the parameter's type."""
        adapter = pydantic.TypeAdapter(self.type)
        try:
            if type(None) in get_args(self.type) and text.lower() in ("none", "null", ""):
                return None
            if self.type is dict or ("list" in self.type_name and text.startswith("[")):
                return adapter.validate_json(text)
            if "list" in self.type_name:
                return adapter.validate_python([part.strip() for part in text.split(",") if part.strip()])
            return adapter.validate_strings(text)
        except pydantic.ValidationError as error:
            said = f"Parameter '{self.name}' is of type {self.type_name}, and '{text}' is not usable"
            raise SettingsError(f"{said}: {error.errors()[0]['msg'].lower()}.") from None


def read_parameters(source: str) -> dict[str, Parameter]:
    """The assignments of a parameters cell; without annotation the type is that of the default. `SettingsError` where
    the cell holds anything else than plain literals of plain types."""
    lines, found = source.splitlines(), {}
    try:
        for node in ast.parse(source).body:
            if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
                continue
            target = node.target if isinstance(node, ast.AnnAssign) else node.targets[0]
            default = ast.literal_eval(node.value)
            type_name = ast.unparse(node.annotation) if isinstance(node, ast.AnnAssign) else type(default).__name__
            kind = eval(type_name, {"__builtins__": {}}, TYPES)
            comment = lines[node.end_lineno - 1][node.end_col_offset :].partition("#")[2].strip()
            found[target.id] = Parameter(target.id, type_name, kind, default, comment)
    except (ValueError, SyntaxError, TypeError, NameError, AttributeError) as error:
        raise SettingsError(f"The parameters cell holds more than plain values with plain types: {error}.") from None
    return found


def suggestion(name: str, known: Iterable[str], otherwise: str) -> str:
    """The second half of a sentence that says what is unknown."""
    close = get_close_matches(name, known, n=1)
    return f"did you mean '{close[0]}'?" if close else f"{otherwise} {', '.join(known)}."


def parse_parameters(given: dict[str, str], known: dict[str, Parameter], notebook: str) -> dict[str, Any]:
    """Values for the given names; `SettingsError` for an unknown one, with a suggestion, or a value of another type."""
    for name in given:
        if name not in known:
            hint = suggestion(name, known, "it has")
            raise SettingsError(f"Notebook '{notebook}' has no parameter '{name}'; {hint}")
    return {name: known[name].parse(text) for name, text in given.items()}


def check_ranges(values: dict[str, Any], code: str) -> None:
    """Check values against the settings classes that a notebook's ``code`` imports from fmcore: refused, with the
    sentence of the class, is what every class that has a plain setting of that name refuses."""
    nodes = [n for n in ast.walk(ast.parse(code)) if isinstance(n, ast.ImportFrom) and n.module.startswith("fmcore.")]
    named = [getattr(importlib.import_module(node.module), alias.name) for node in nodes for alias in node.names]
    classes = [c for c in named if isinstance(c, type) and issubclass(c, Settings)]
    for name, value in values.items():
        # Settings hold tuples; a notebook's parameter is a list, all that JSON and papermill know.
        value = tuple(value) if isinstance(value, list) else value
        refusals = [_refusal(c, name, value) for c in classes if _has_plain(c, name)]
        if refusals and all(refusals):
            raise refusals[0]


def _has_plain(cls: type[Settings], name: str) -> bool:
    kind = cls.model_fields[name].annotation if name in cls.model_fields else Settings
    return not any(isinstance(k, type) and issubclass(k, Settings) for k in (kind, *get_args(kind)))


def _refusal(cls: type[Settings], name: str, value: Any) -> SettingsError | None:
    try:
        cls.parse(**{name: value})
    except SettingsError as error:
        return error if f"'{name}'" in str(error) else None  # another setting may be missing
    return None
