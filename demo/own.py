"""Fitting a Gaussian field to a visitor's own good images."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from demo import checks, inspection
from fmcore.data.folders import detect_channels, load_images, split_loaded
from fmcore.detector.fit import fit
from fmcore.detector.held_out import fewest_images
from fmcore.detector.model import Model
from fmcore.detector.settings import FitSettings
from fmcore.errors import DataError, SettingsError

FEWEST, MOST = 5, 200
SIZES = (64, 128)
# Held-out images scored, so that a fit takes seconds: as many as a threshold needs.
CALIBRATED = fewest_images("gaussian", FitSettings(field="gaussian").false_alarm_rate)


def fit_own(files: object, size: object) -> Iterator[tuple[str, str | None]]:
    """Fit and calibrate.

    Yields:
        A sentence on the progress, and in the end the token of the fitted model.

    Raises:
        SettingsError: for a wrong size or number of files. DataError: if fewer than five can be read.
    """
    if isinstance(size, bool) or size not in SIZES:
        raise SettingsError(f"Size {size!r} is not on offer: choose {SIZES[0]} or {SIZES[1]} pixels.")
    paths = checks.uploads(files, least=FEWEST, most=MOST)
    channels = detect_channels(paths)
    loaded = []
    for image in load_images(paths, size=size, channels=channels):
        loaded.append(image)
        if len(loaded) % 10 == 0:
            yield f"Reading image {len(loaded)} of {len(paths)}", None
    batch, unreadable = split_loaded(loaded)
    if len(batch) < FEWEST:
        raise DataError(
            f"Only {len(batch)} of {len(paths)} files can be read, it takes {FEWEST}. {unreadable[0].reason}"
        )
    settings = FitSettings.parse(field="gaussian", size=size, calibration_images=CALIBRATED)
    for record in fit({inspection.OWN_CATEGORY: batch}, settings):
        if record.model is None:
            what = (
                "Fitting" if record.stage == "gaussian" else f"Scoring held-out image {record.done} of {record.total}"
            )
            yield what, None
        else:
            yield (
                _summary(record.model, batch, len(unreadable)),
                inspection.MODELS.put(record.model, _bytes(record.model)),
            )


def _bytes(model: Model) -> int:
    return sum(tensor.nbytes for field in model.gaussians for tensor in field.state_dict().values())


def _summary(model: Model, batch: torch.Tensor, unreadable: int) -> str:
    threshold = model.info.thresholds.get(inspection.OWN_CATEGORY)
    text = f"Fitted to {len(batch)} images. "
    if unreadable:
        text += f"{unreadable} files could not be read. "
    if threshold is None:
        return text + model.info.notes.get(inspection.OWN_CATEGORY, "")
    return text + f"Threshold {threshold.value:.6g}. Pictures to inspect are now judged by it."
