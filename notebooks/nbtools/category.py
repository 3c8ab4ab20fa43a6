"""From a notebook's parameters to a category's files, images and model; fmcore does the work."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from fmcore.data.folders import (
    TestItem,
    detect_channels,
    find_good_images,
    find_test_items,
    list_images,
    load_images,
    load_views,
    split_loaded,
    split_views,
)
from fmcore.data.rendered import RenderSettings, write_dataset
from fmcore.detector.fit import FitRecord, fit
from fmcore.detector.model import Model, save_model
from fmcore.detector.settings import FitSettings
from fmcore.detector.tiles import recommended_sizes
from fmcore.errors import SettingsError
from fmcore.training.run_plan import forget_run
from nbtools.follow import follow


def category_folder(data: str, category: str, out: Path, settings: RenderSettings) -> tuple[str, Path]:
    """Name and folder of the one category to work on; without ``data`` it is rendered into ``out/data``.

    Raises:
        SettingsError: if ``data`` holds several categories and none is chosen.
    """
    if not data:
        name = category or "gear"
        follow(write_dataset(out / "data", settings.replace(categories=(name,))))
        return name, out / "data" / name
    root = Path(data)
    if category and (root / category).is_dir():
        return category, root / category
    found = find_good_images(root).categories
    if len(found) > 1:
        said = f"There is no category '{category}'" if category else "There are several categories"
        raise SettingsError(f"{said} in '{root}': choose one of {', '.join(found)}.")
    return category or next(iter(found)), root


def good_tensors(folder: Path, size: int) -> Tensor:
    """Good training images ``(N, C, size, size)``; what can't be read is left out and printed."""
    return good_views(folder, (size,))[0]


def good_views(folder: Path, sizes: tuple[int, ...]) -> list[Tensor]:
    """As `good_tensors`, at every size."""
    paths = [path for found in find_good_images(folder).categories.values() for path in found]
    views, unreadable = split_views(list(load_views(paths, sizes=sizes, channels=detect_channels(paths))))
    for item in unreadable:
        print(f"Left out: {item.reason}")
    return views


def held_out_tensors(images: Tensor, folder: Path) -> tuple[Tensor, Tensor]:
    """Images to learn from and good images held out: those of ``test/good``, or every tenth where there are none."""
    good = list_images(folder / "test" / "good") if (folder / "test" / "good").is_dir() else []
    if good:
        return images, split_loaded(list(load_images(good, size=images.shape[-1], channels=images.shape[1])))[0]
    return torch.cat([images[i : i + 9] for i in range(0, len(images), 10)]), images[9::10]


def test_tensors(items: list[TestItem], *, size: int, channels: int) -> Tensor:
    """The readable test images ``(N, channels, size, size)``."""
    return split_loaded(list(load_images([item.path for item in items], size=size, channels=channels)))[0]


test_tensors.__test__ = False  # not a test


def split_by_kind(folder: Path) -> tuple[list[TestItem], list[TestItem]]:
    """Good and defective test items."""
    items = find_test_items(folder)
    return [i for i in items if i.is_good], [i for i in items if not i.is_good]


def fitted_to_folder(name: str, data: Path, settings: FitSettings, folder: Path) -> Model:
    """As `fitted`, to the good images in ``data``, as the command line does."""
    views = good_views(data, recommended_sizes(settings.size, tiles=settings.paths.tiles > 0))
    return fitted(name, views[0], settings, folder, fine=views[-1])


def fitted(
    name: str,
    images: Tensor,
    settings: FitSettings,
    folder: Path,
    records: list[FitRecord] | None = None,
    fine: Tensor | None = None,
) -> Model:
    """Fit, showing progress, and save to ``folder``; a network's unfinished training there is resumed. Where there will
    be no threshold that is said first.

    Args:
        records: every record of the fit is appended here.
        fine: the same images as a network's tiles see them; None: ``images``.
    """
    seen_by_tiles = None if fine is None else {name: fine}
    resumable = folder if settings.field == "unet" else None
    records = [] if records is None else records

    def kept() -> Iterator[FitRecord]:
        for record in fit({name: images}, settings, folder=resumable, fine=seen_by_tiles):
            records.append(record)
            yield record

    why = settings.why_no_threshold(len(images))
    model = follow(kept(), notice=f"{name}: {why}" if why else "").model
    save_model(folder, model)
    forget_run(folder)
    return model
