"""Which model a request means: one that comes with the app, one of the Hub, or a visitor's own, by a token."""

from __future__ import annotations

from collections.abc import Iterator

from demo.common import embedded, hub
from demo.common.store import Store
from fmcore.detector.model import Model
from fmcore.errors import SettingsError
from fmcore.mismatch import HeatSettings, PathSettings

OWN = "own"
OWN_CATEGORY = "own"
OWN_LABEL = "My own good images"
MODELS = Store(2_000_000_000)  # of all visitors; one takes about 130 MB


def menu() -> list[tuple[str, str]]:
    """Label and name of each model to choose from."""
    names = [*embedded.model_names(), *hub.names(), OWN]
    return [(label(name), name) for name in names]


def label(name: str) -> str:
    """What a menu says of a model; one of the Hub goes by its id."""
    return OWN_LABEL if name == OWN else embedded.LABELS.get(name, name)


def is_of_hub(name: object) -> bool:
    """Whether it is a model of the Hub that is allowed here."""
    return isinstance(name, str) and name in hub.names()


def categories(name: object) -> list[str]:
    """Categories of a model that comes with the app, or that was fetched; else none."""
    if is_of_hub(name):
        info = hub.info(name)
        return list(info.categories) if info is not None else []
    return embedded.categories(name) if isinstance(name, str) else []


def has_examples(name: object) -> bool:
    """Whether a model comes with the app, and so with examples."""
    return isinstance(name, str) and bool(embedded.categories(name))


def first_category(name: str) -> str | None:
    """The one to show first."""
    return next(iter(categories(name)), None) if is_of_hub(name) else embedded.first_category(name)


def settings(name: object, own: str | None) -> tuple[PathSettings, HeatSettings]:
    """A model's own; the paper's if it is not there."""
    model = MODELS.get(own) if name == OWN and own else None
    info = model.info if model is not None else hub.info(name) if is_of_hub(name) else None
    if info is not None:
        return info.paths, info.heat
    return embedded.settings(name) if isinstance(name, str) else (PathSettings(), HeatSettings())


def preparing(name: object, category: object) -> Iterator[str]:
    """Sentences for those who wait while a model is being made or fetched; raises as `find_model`."""
    if is_of_hub(name):
        yield from hub.progress(name)
    elif name != OWN and isinstance(name, str) and (category is None or isinstance(category, str)):
        yield from embedded.preparing(name, category)


def find_model(name: object, category: object, own: str | None) -> tuple[Model, str]:
    """The model a request names, and its category; ``own`` is the visitor's token of a fitted model.

    Raises:
        SettingsError: if either is unknown, or no own model was fitted. ModelError: if one of the Hub cannot be had.
    """
    if name == OWN:
        model = MODELS.get(own) if own else None
        if model is None:
            raise SettingsError("No field was fitted to your images yet: give good images and press 'Fit' first.")
        return model, model.category(category if category in model.categories else model.categories[0])
    if not isinstance(name, str) or not (category is None or isinstance(category, str)):
        raise SettingsError("Model and category must be names: choose one of the list.")
    if is_of_hub(name):
        model = hub.prepare(name).result()
        return model, model.category(category)
    return embedded.find(name, category)


def named_model(model: object, category: object) -> tuple[Model, str]:
    """As `find_model`, of a client, which names a fitted model by its token."""
    if isinstance(model, str) and MODELS.get(model) is not None:
        return find_model(OWN, category, model)
    return find_model(model, category, None)


def size_of(model: Model) -> int:
    """Bytes of its views and fields, for the store."""
    parts = (*model.views.values(), *model.fields.values(), *([model.shared] if model.shared is not None else []))
    return sum(tensor.nbytes for part in parts for tensor in part.state_dict().values())
