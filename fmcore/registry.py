"""Parts that are chosen by name and saved with a model: views and fields.

A part is an `nn.Module` with a ``kind`` (its name), a ``config`` (JSON values that its constructor takes, from which an
empty part of the same shapes is built) and a ``state_dict`` (what is saved as tensors). Its options are the keyword
parameters of its classmethod ``fit``, the only place where their types, ranges and defaults stand. A new part is one
file: a class with these three, under ``@VIEWS.register`` or ``@FIELDS.register``.
"""

from __future__ import annotations

import functools
import inspect
from typing import Any, Generic, TypeVar

from pydantic import create_model
from torch import nn

from fmcore.errors import ModelError, SettingsError, suggestion
from fmcore.settings import Settings

P = TypeVar("P", bound=type)


class Part(nn.Module):
    """Base of views and fields. ``kind`` is the name under which it is registered."""

    kind: str = ""

    def __init__(self, **config: Any):
        super().__init__()
        self.config = config


class Registry(Generic[P]):
    """Classes by their ``kind``; ``what`` names them in messages."""

    def __init__(self, what: str):
        self.what = what
        self.kinds: dict[str, P] = {}

    def register(self, cls: P) -> P:
        """Class decorator."""
        self.kinds[cls.kind] = cls
        return cls

    def __getitem__(self, kind: str) -> P:
        """Raises `SettingsError` for an unknown name, with a suggestion where one fits."""
        if kind in self.kinds:
            return self.kinds[kind]
        raise SettingsError(f"Unknown {self.what} '{kind}'; {suggestion(kind, self.kinds)}")

    def build(self, kind: str, config: dict[str, Any]) -> Part:
        """An empty part, to be filled by ``load_state_dict``. Raises `ModelError` for an unknown kind, or a config that
        does not fit it."""
        if kind not in self.kinds:
            raise ModelError(f"This model needs the {self.what} '{kind}', which is not known here: import it first.")
        try:
            return self.kinds[kind](**config)
        except ModelError:
            raise
        except (TypeError, ValueError, KeyError):
            said = f"The stored {self.what} '{kind}' does not fit this version: fit the model again."
            raise ModelError(said) from None


@functools.cache
def options_of(cls: type) -> type[Settings]:
    """The options of a part as a settings class, made from the keyword-only parameters of ``cls.fit``."""
    parameters = inspect.signature(cls.fit, eval_str=True).parameters.values()
    fields = {p.name: (p.annotation, p.default) for p in parameters if p.kind is p.KEYWORD_ONLY}
    return create_model(f"{cls.__name__}Options", __base__=Settings, **fields)
