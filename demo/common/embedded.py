"""The models and examples that come with the app: where they are, read when first needed, then kept."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from PIL import Image

from demo.common import features, hub
from fmcore.data.folders import TestItem, find_test_items
from fmcore.data.picture import read_picture
from fmcore.detector.model import FILE, Model, load_model, read_info
from fmcore.errors import DataError, SettingsError
from fmcore.mismatch import HeatSettings, PathSettings

FEATURES = "features"
LABELS = {
    FEATURES: "Closed form on feature maps",
    "unet": "Learned network on pixels",
    "gaussian": "Gaussian field on pixels",
}
OPENING = "gear"  # the category shown first: small defects that are found
THUMBNAIL = 96  # pixels
_THUMBNAILS = tempfile.TemporaryDirectory(prefix="thumbnails-")


def embedded_folder() -> Path:
    """Holds a folder per stored model, ``good/<category>`` for those fitted here, and ``examples/<category>`` in MVTec
    layout."""
    return Path(os.environ.get("FLOW_MISMATCHING_EMBEDDED") or Path(__file__).parents[1] / "embedded")


def model_names() -> list[str]:
    """Names of the models that are there, the recommended one first."""
    return [name for name in LABELS if categories(name)]


def pixel_names() -> list[str]:
    """Those whose fields live on pixels."""
    return [name for name in model_names() if name != FEATURES]


def find(name: str, category: str | None) -> tuple[Model, str]:
    """A model by name, loaded or fitted once, and the category, checked.

    Raises:
        SettingsError: if there is none of that name, or no such category.
    """
    _known(name)
    if name != FEATURES:
        model = _load(embedded_folder() / name)
        return model, model.category(category)
    good = _good(category)
    return features.prepare(good).result(), good.name


def preparing(name: str, category: str | None) -> Iterator[str]:
    """Sentences for those who wait while a model is being made; raises as `find`."""
    _known(name)
    if name == FEATURES:
        yield from features.progress(_good(category))


def warm_up() -> None:
    """Begin to make what the app opens with, and return."""
    if FEATURES in model_names():
        features.prepare(_good(first_category(FEATURES)))


def settings(name: str) -> tuple[PathSettings, HeatSettings]:
    """A model's own, without loading its weights; the paper's if there is no such model."""
    if name == FEATURES:
        return features.PATHS, features.HEAT
    if not categories(name):
        return PathSettings(), HeatSettings()
    info = read_info(embedded_folder() / name)
    return info.paths, info.heat


def categories(name: str) -> list[str]:
    """Categories of a model; none if there is no such model."""
    if name == FEATURES:
        return sorted(folder.name for folder in (embedded_folder() / "good").glob("*") if folder.is_dir())
    if name not in LABELS or not (embedded_folder() / name / FILE).is_file():
        return []
    return list(read_info(embedded_folder() / name).categories)


def first_category(name: str) -> str | None:
    """The category to show first: `OPENING` where the model has it."""
    known = categories(name)
    return OPENING if OPENING in known else next(iter(known), None)


def examples(category: str | None) -> list[TestItem]:
    """Test images of a category, defective ones first; none where the category has no examples."""
    if category not in {known for name in model_names() for known in categories(name)}:  # it becomes part of a path
        return []
    return _examples(embedded_folder() / "examples" / category)


def example(category: str | None, index: object) -> TestItem:
    """One example by its place in `examples`.

    Raises:
        SettingsError: if ``index`` is no whole number or out of range.
    """
    items = examples(category)
    if not items:
        raise SettingsError(f"Category '{category}' has no examples: upload an image instead.")
    if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < len(items):
        raise SettingsError(f"There is no example {index!r} of '{category}': choose 0 to {len(items) - 1}.")
    return items[index]


def caption(item: TestItem) -> str:
    """What an example shows: "good", or its defect in words."""
    return "good" if item.is_good else item.defect.replace("_", " ")


@lru_cache(maxsize=1024)
def thumbnail(path: Path) -> str:
    """Path of a small picture for the gallery, written once: an array would be written anew for every visitor, while
    another one reads it."""
    small = Path(_THUMBNAILS.name) / f"{len(list(Path(_THUMBNAILS.name).iterdir()))}-{path.stem}.png"
    Image.fromarray(read_picture(path).rgb(THUMBNAIL)).save(small)
    return str(small)


def _known(name: str) -> None:
    if name not in model_names():
        known = ", ".join(model_names() + hub.names()) or "(none is installed)"
        raise SettingsError(f"There is no model '{name}': choose one of {known}.")


def _good(category: str | None) -> Path:
    known = categories(FEATURES)
    category = known[0] if category is None and len(known) == 1 else category
    if category not in known:  # it becomes part of a path
        said = "several categories" if category is None else f"no category '{category}'"
        raise SettingsError(f"This model has {said}: choose one of {', '.join(known)}.")
    return embedded_folder() / "good" / category


@lru_cache(maxsize=4)
def _load(folder: Path) -> Model:
    return load_model(folder)


@lru_cache(maxsize=32)
def _examples(folder: Path) -> list[TestItem]:
    try:
        return sorted(find_test_items(folder), key=lambda item: item.is_good)
    except DataError:
        return []
