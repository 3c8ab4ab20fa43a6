"""What an address says: model, category, example and settings of the Inspect tab, to be shown to somebody else.

An address is written by anybody: what does not fit is left out, and the page opens as it does without.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from demo.common import checks, embedded
from fmcore.errors import SettingsError
from fmcore.mismatch import HeatSettings, PathSettings

LONGEST = 40  # characters of a value


@dataclass(frozen=True)
class Wish:
    """What to open with; ``example`` is None where the category has none."""

    model: str
    category: str | None
    example: int | None
    paths: PathSettings
    heat: HeatSettings


def read_link(query: Mapping[str, str]) -> Wish | None:
    """The wish of an address; None without any model."""
    names = embedded.model_names()
    if not names:
        return None
    model = query.get("model") if query.get("model") in names else names[0]
    known = embedded.categories(model)
    category = query.get("category") if query.get("category") in known else embedded.first_category(model)
    count = len(embedded.examples(category))
    example = _number(query, "example", int)
    example = example if example is not None and 0 <= example < count else 0
    paths, heat = embedded.settings(model)
    try:
        k, t = (_number(query, name, int) for name in ("k", "t"))
        exact = paths.paths == 0
        paths = checks.path_settings(paths, paths.paths if k is None else k, t or paths.times, exact=exact)
        own = {"aggregator": heat.aggregator, "alpha": heat.alpha, "exponent": heat.exponent}
        asked = {name: _number(query, name, float) for name in ("alpha", "exponent", "smoothing")}
        asked["aggregator"] = query.get("aggregator")
        values = {**own, "smoothing": heat.smoothing, **{k: v for k, v in asked.items() if v is not None}}
        heat = checks.heat_settings(**values)
    except SettingsError:
        paths, heat = embedded.settings(model)
    return Wish(model, category, example if count else None, paths, heat)


def write_link(key: object, heat: HeatSettings) -> dict[str, str | int | float]:
    """The parameters of an address that shows an example's result, by its key; nothing for a visitor's own pictures.
    Settings that are the model's own are left out."""
    if not isinstance(key, tuple):
        return {}
    model, category, example, paths = key
    own_paths, own_heat = embedded.settings(model)
    link = {"model": model, "category": category, "example": example}
    if paths.paths != own_paths.paths:
        link["k"] = paths.paths
    if paths.times != own_paths.times:
        link["t"] = paths.times
    mine, own = heat.model_dump(), own_heat.model_dump()
    return link | {name: value for name, value in mine.items() if value != own[name] and value is not None}


def _number(query: Mapping[str, str], name: str, kind: type) -> int | float | None:
    text = query.get(name, "")
    try:
        return kind(text) if 0 < len(text) <= LONGEST else None
    except ValueError:
        return None
