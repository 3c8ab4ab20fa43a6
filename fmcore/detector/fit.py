"""From good pictures to a calibrated model: closed forms in seconds, or a network trained on top of them.

A generator of small records; the last one carries the model. With a folder, an unfinished training is resumed from its
checkpoint.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from fmcore.detector.features import Features
from fmcore.detector.fit_closed_form import fit_closed_form
from fmcore.detector.fit_trained import fit_trained
from fmcore.detector.fitting import CategoryParts, FitRecord, assemble, fit_view
from fmcore.detector.settings import FitSettings

__all__ = ["FitRecord", "fit"]


def fit(
    pictures: Mapping[str, Sequence[Any]],
    settings: FitSettings,
    *,
    device: str = "cpu",
    folder: str | Path | None = None,
    accelerator: Any = None,
) -> Iterator[FitRecord]:
    """Fit a view and a field to the good pictures of each category, and calibrate on held-out ones.

    A closed form sees all pictures and is calibrated by cross-fitting: each picture is scored by a field that has not
    seen it. Where they are more than memory should hold, and for a trained field, some are set aside instead.

    Args:
        pictures: by category, paths or what `Picture.of` takes, at least three readable ones each.
        folder: where an unfinished training is kept, and resumed from.
        accelerator: of a training in several processes (`fmcore.training.team`).

    Raises:
        DataError: for too few pictures. SettingsError: for options that the view or the field does not have.
        ModelError: if the encoder cannot be had, or ``folder`` holds an unfinished training of other settings or data.
        TrainingError: if the loss is no longer finite.
    """
    settings, started = settings.checked(), time.perf_counter()
    if settings.field_class.trained:
        yield from fit_trained(pictures, settings, device, folder, accelerator)
        return
    parts: dict[str, CategoryParts] = {}
    for name, sources in pictures.items():
        view = fit_view({name: sources}, settings).to(device)
        features = Features(sources, view)
        parts[name] = yield from fit_closed_form(name, features, settings, device)
    yield FitRecord("finished", 1, 1, model=assemble(parts, settings, time.perf_counter() - started))
