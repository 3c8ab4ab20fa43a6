"""Which model a request means: one that comes with the app, or one that a visitor fitted, by a token."""

from __future__ import annotations

from demo.common import embedded
from demo.common.store import Store
from fmcore.detector.model import Model
from fmcore.errors import SettingsError

OWN = "own"
OWN_CATEGORY = "own"
OWN_LABEL = "My own good images"
MODELS = Store(2_000_000_000)  # of all visitors; one takes about 130 MB


def find_model(name: object, category: object, own: str | None) -> tuple[Model, str]:
    """The model a request names, and its category; ``own`` is the visitor's token of a fitted model.

    Raises:
        SettingsError: if either is unknown, or no own model was fitted.
    """
    if name == OWN:
        model = MODELS.get(own) if own else None
        if model is None:
            raise SettingsError("No field was fitted to your images yet: give good images and press 'Fit' first.")
        return model, model.category(category if category in model.categories else model.categories[0])
    if not isinstance(name, str) or not (category is None or isinstance(category, str)):
        raise SettingsError("Model and category must be names: choose one of the list.")
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
