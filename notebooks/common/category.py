"""From a notebook's parameters to a category's files, settings and model; fmcore does the work."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from common.progress import show_progress
from fmcore.data.folders import TestItem, find_good_images, find_test_sets, read_pictures
from fmcore.data.rendered import RenderSettings, write_dataset
from fmcore.detector.fit import FitRecord, fit
from fmcore.detector.model import Model
from fmcore.detector.settings import FitSettings
from fmcore.errors import DataError, ImageError, SettingsError
from fmcore.evaluation.evaluate import EvaluateSettings
from fmcore.settings import Settings
from fmcore.training.checkpoint import forget
from fmcore.views import View


def parsed(cls: type[Settings], more: dict[str, Any] | str, parameter: str, **given: Any) -> Any:
    """Settings from a notebook's parameters: ``given``, and on top ``more``, a dict or (from plain papermill) JSON of
    one. Raises `SettingsError` for what ``cls`` refuses."""
    try:
        given |= json.loads(more or "{}") if isinstance(more, str) else more
    except (ValueError, TypeError):
        raise SettingsError(f"Parameter '{parameter}' is no JSON object: {more!r}.") from None
    return cls.parse(**given)


def fit_settings(settings: dict[str, Any] | str = "", **given: Any) -> FitSettings:
    """Settings of a fit; see `parsed`."""
    return parsed(FitSettings, settings, "settings", **given).checked()


def evaluate_settings(evaluation: dict[str, Any] | str = "", **given: Any) -> EvaluateSettings:
    return parsed(EvaluateSettings, evaluation, "evaluation", **given)


def render_settings(rendering: dict[str, Any] | str = "", **given: Any) -> RenderSettings:
    return parsed(RenderSettings, rendering, "rendering", **given)


def category_folder(
    data: str, category: str, out: Path, settings: RenderSettings, *, rendered: str = "gear"
) -> tuple[str, Path]:
    """Name and folder of the one category to work on, rendered into ``out/data`` without ``data``; `SettingsError` if
    that holds several categories and none is chosen."""
    if not data:
        name = category or rendered
        show_progress(write_dataset(out / "data", settings.replace(categories=(name,))))
        return name, out / "data" / name
    root = Path(data)
    if category and (root / category).is_dir():
        return category, root / category
    found = find_good_images(root).categories
    if len(found) > 1:
        said = f"There is no category '{category}'" if category else "There are several categories"
        raise SettingsError(f"{said} in '{root}': choose one of {', '.join(found)}.")
    return category or next(iter(found)), root


def good_files(folder: Path) -> list[Path]:
    """Good training images of the one category in ``folder``."""
    return [path for found in find_good_images(folder).categories.values() for path in found]


def held_out_files(folder: Path) -> tuple[list[Path], list[Path]]:
    """Good images to learn from and others held out: those of ``test/good``, or every tenth where there are none."""
    files = good_files(folder)
    if good := split_by_kind(folder)[0] if (folder / "test" / "good").is_dir() else []:
        return files, [item.path for item in good]
    return [path for i, path in enumerate(files) if i % 10 != 9], files[9::10]


def tensors(files: Sequence[Path], view: View) -> Tensor:
    """The readable pictures as ``view`` sees them, ``(N, C, H, W)``; what can't be read is left out and printed."""
    found = []
    for picture in read_pictures(files):
        if isinstance(picture, ImageError):
            print(f"Left out: {picture}")
        else:
            found.append(view(picture))
    if not found:
        raise DataError(f"None of the {len(files)} images could be read: each is named above.")
    return torch.stack(found)


def split_by_kind(folder: Path, most: int | None = None) -> tuple[list[TestItem], list[TestItem]]:
    """Good and defective test items of the one category in ``folder``; at most so many of each, evenly spread."""
    [items] = find_test_sets(folder).values()
    kinds = [i for i in items if i.is_good], [i for i in items if not i.is_good]
    return tuple(kind[:: -(-len(kind) // most) or 1] if most else kind for kind in kinds)


def fitted(
    name: str, files: Sequence[Path], settings: FitSettings, folder: Path, records: list[FitRecord] | None = None
) -> Model:
    """Fit, showing progress and what there is to know, and save to ``folder``; a network's unfinished training there is
    resumed. Every record of the fit is appended to ``records``."""
    records = [] if records is None else records

    def kept() -> Iterator[FitRecord]:
        for record in fit({name: files}, settings, folder=folder if settings.field_class.trained else None):
            records.append(record)
            yield record

    model = show_progress(kept()).model
    model.save(folder)
    forget(folder)
    return model
