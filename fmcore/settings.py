"""Base of all settings objects: frozen, typed, range-checked, and helpful about misspelt names.

One settings class per job; the same object is the command line's options, a notebook's parameters
and the JSON beside a model.
"""

from __future__ import annotations

from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from fmcore.errors import SettingsError, suggestion


class Settings(BaseModel):
    """Immutable settings. Numbers given as text are refused rather than guessed at."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    @classmethod
    def parse(cls, **values: Any) -> Self:
        """From keyword arguments. Raises `SettingsError`: one sentence that names the first bad setting, with a
        suggestion where one fits."""
        try:
            return cls(**values)
        except ValidationError as error:
            first = error.errors()[0]
            name = ".".join(str(part) for part in first["loc"]) or cls.__name__
            if first["type"] == "extra_forbidden":
                said = f"Unknown setting '{name}'; {suggestion(name, cls.model_fields, 'known settings:')}"
            else:
                reason = first["msg"].removeprefix("Value error, ")
                said = f"Setting '{name}' = {first['input']!r} is not usable: {reason[0].lower() + reason[1:]}."
            raise SettingsError(said) from None

    def replace(self, **changes: Any) -> Self:
        """A copy with some settings changed, checked like `parse`."""
        return type(self).parse(**{**self.model_dump(), **changes})
