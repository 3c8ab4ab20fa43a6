"""Detectors that the app fits by itself, in closed form on feature maps, from good pictures that come with it.

Their weights would take several times the room of these pictures, and fitting takes seconds.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from cachetools import LRUCache

from fmcore.detector.fit import FitRecord, fit
from fmcore.detector.model import Model
from fmcore.detector.settings import FitSettings
from fmcore.mismatch import HeatSettings, PathSettings

# A coarse grid: it is fitted in a third of the time that 1024 places take. What a view would choose by itself is
# written out, so that it is known before there is a view.
SETTINGS = FitSettings(view={"places": 256}, paths={"paths": 0}, heat={"aggregator": "mean", "smoothing": 0.5})
PATHS, HEAT = PathSettings.parse(**SETTINGS.paths), HeatSettings.parse(**SETTINGS.heat)
MOST_KEPT = 8  # detectors, of 32 MB each
POLL = 0.2  # seconds between two looks at a fit that another visitor waits for too
WAITING = "Waiting for another category"


class _Fit:
    """A detector that is being made, or that is there: what is said of it meanwhile, and where it will be."""

    said = WAITING
    made: Future[Model]


_FITS: LRUCache[Path, _Fit] = LRUCache(MOST_KEPT)
_GUARD = threading.Lock()
_WORKER = ThreadPoolExecutor(1, "fit")  # one category after the other: together they would take as long


def prepare(folder: Path) -> Future[Model]:
    """The detector of the good pictures in ``folder``, begun if it was not; never twice at once."""
    return _begun(folder).made


def progress(folder: Path) -> Iterator[str]:
    """Sentences while it is being made; none if it is there. Its errors are those of `fmcore.detector.fit.fit`."""
    begun = _begun(folder)
    while not begun.made.done():
        yield begun.said
        try:
            begun.made.result(POLL)
        except TimeoutError:
            continue
    begun.made.result()


def progress_text(record: FitRecord) -> str:
    """A record of any fit in words."""
    match record.stage:
        case "reading":
            return f"Reading good picture {record.done} of {record.total}"
        case "calibration":
            return f"Scoring held-out picture {record.done} of {record.total}"
        case _:
            return "Fitting the field"


def good_pictures(folder: Path) -> list[Path]:
    """What a detector is fitted to."""
    return sorted(folder.glob("*.png"))


def _begun(folder: Path) -> _Fit:
    with _GUARD:
        begun = _FITS.get(folder)
        if begun is None or (begun.made.done() and begun.made.exception() is not None):
            begun = _FITS[folder] = _Fit()
            begun.made = _WORKER.submit(_make, folder, begun)
        return begun


def _make(folder: Path, begun: _Fit) -> Model:
    begun.said, model = "Looking at good pictures", None
    for record in fit({folder.name: good_pictures(folder)}, SETTINGS):
        begun.said, model = progress_text(record), record.model
    return model
