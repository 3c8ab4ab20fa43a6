"""Scoring a batch: one picture after the other, results kept on the server, a bad file never stops the rest."""

from __future__ import annotations

import io
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from demo.batch.incoming import Given
from demo.common import checks
from demo.common.store import Store
from fmcore.data.picture import read_picture
from fmcore.detector.model import Model
from fmcore.detector.score import Verdict, judge, score_steps
from fmcore.errors import DataError, ImageError
from fmcore.mismatch import Mismatch

THUMBNAIL = 240  # pixels
PAUSE = 0.3  # seconds between two lines of progress
SIZE = 150_000_000  # bytes a batch may take at most: 500 maps of 256 x 256, with thumbnails
BATCHES = Store(1_000_000_000)


@dataclass(frozen=True)
class Row:
    """One scored picture: ``size`` is its height and width, ``thumbnail`` a JPEG file, ``verdict`` fmcore's."""

    name: str
    label: str | None
    size: tuple[int, int]
    thumbnail: bytes
    verdict: Verdict


@dataclass
class Batch:
    """What is kept of a batch; ``skipped`` are sentences, a file each."""

    model: Model
    title: str
    category: str
    rows: list[Row] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def size(self) -> int:
        """Bytes, for the store."""
        return sum(row.verdict.heatmap.nbytes + len(row.thumbnail) for row in self.rows) + 2**16

    def finished(self) -> tuple[list[Row], list[str]]:
        """What is there by now, as it may still be growing."""
        with self.lock:
            return list(self.rows), list(self.skipped)


def run(batch: Batch, given: Iterable[Given]) -> Iterator[str]:
    """Fill ``batch``; yields lines of progress now and then.

    Raises:
        DataError: if not a single picture could be read, with the first reason.
    """
    said_at = 0.0
    for done, one in enumerate(given, 1):
        if time.monotonic() - said_at > PAUSE:
            yield f"Scoring picture {done}: {one.name}"
            said_at = time.monotonic()
        try:
            row = scored(batch.model, batch.category, one) if one.path is not None else None
        except ImageError as error:
            one, row = Given(one.name, None, why=str(error)), None
        with batch.lock:
            if row is None:
                batch.skipped.append(one.why)
            else:
                batch.rows.append(row)
    if not batch.rows:
        raise DataError(batch.skipped[0] if batch.skipped else "There is no picture in these files: upload some.")


def scored(model: Model, category: str, one: Given) -> Row:
    """Raises `ImageError` if the picture cannot be read."""
    picture = read_picture(one.path, max_pixels=checks.MAX_PIXELS)
    mismatch = Mismatch.collect(score_steps(model, picture, category=category))
    buffer = io.BytesIO()
    Image.fromarray(picture.rgb(THUMBNAIL)).save(buffer, "JPEG", quality=80)
    verdict = judge(model, mismatch, category=category)
    return Row(one.name, one.label, picture.size_in_file, buffer.getvalue(), verdict)


def labels_of(rows: list[Row]) -> tuple[np.ndarray, np.ndarray]:
    """Scores and whether each is defective, of the rows that have a label."""
    known = [(row.verdict.score, row.label != "good") for row in rows if row.label is not None]
    return np.array([score for score, _ in known]), np.array([bad for _, bad in known], bool)


def temporary() -> tempfile.TemporaryDirectory:
    """Where archives are unpacked, gone when the batch is done."""
    return tempfile.TemporaryDirectory(prefix="batch-", ignore_cleanup_errors=True)
