"""The pictures of one category as a view sees them, each decoded once, in bounded memory."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fmcore.data.picture import Picture
from fmcore.errors import DataError, ImageError
from fmcore.views import View

KEPT_BYTES = 400_000_000  # of tensors held in memory; further ones are computed again when they are asked for
SAMPLE = 32  # pictures whose statistics make a view


class Features(Sequence[Tensor]):
    """Tensors ``(C, H, W)`` of pictures, by index; those of unreadable files are left out.

    Args:
        pictures: paths, or what `Picture.of` takes.
        view: what turns a picture into a tensor.
    """

    def __init__(self, pictures: Sequence[Any], view: View):
        self.pictures, self.view = list(pictures), view
        self.names: list[str] = []
        self.unreadable: list[str] = []
        self._kept: dict[int, Tensor] = {}
        self._readable: list[int] = []
        size = 4 * view.channels * view.height * view.width
        self.most_kept = max(64, KEPT_BYTES // size)

    def read(self) -> Iterator[Tensor]:
        """Every readable picture once, in order; the first ones are kept."""
        self._readable, self._kept, self.names, self.unreadable = [], {}, [], []
        for index, source in enumerate(self.pictures):
            try:
                tensor = self.view(Picture.of(source))
            except ImageError as error:
                self.unreadable.append(str(error))
                continue
            if len(self._kept) < self.most_kept:
                self._kept[index] = tensor
            self._readable.append(index)
            self.names.append(name_of(source, index))
            yield tensor

    def __len__(self) -> int:
        return len(self._readable)

    def __getitem__(self, number: int) -> Tensor:
        index = self._readable[number]
        kept = self._kept.get(index)
        return self.view(Picture.of(self.pictures[index])) if kept is None else kept

    @property
    def fingerprint(self) -> str:
        """Of the readable pictures: names and sizes of files, or the pixels of what is in memory."""
        digest = hashlib.sha256()
        for source in (self.pictures[index] for index in self._readable):
            if isinstance(source, str | Path):
                digest.update(f"{Path(source).name} {Path(source).stat().st_size}".encode())
            else:
                digest.update(Picture.of(source).pixels.tobytes())
        return digest.hexdigest()

    def chosen(self, numbers: Sequence[int] | Tensor) -> Iterator[Tensor]:
        """The tensors of some pictures, one after the other."""
        return (self[int(number)] for number in numbers)


def sample_of(pictures: Sequence[Any], count: int = SAMPLE) -> list[Picture]:
    """At most ``count`` readable pictures, evenly spread over the list.

    Raises:
        DataError: if not a single one can be read.
    """
    found, first = [], ""
    step = max(1, len(pictures) // count)
    spread = [*range(0, len(pictures), step), *(i for i in range(len(pictures)) if i % step)]
    for index in spread:
        if len(found) == count:
            break
        try:
            found.append(Picture.of(pictures[index]))
        except ImageError as error:
            first = first or f" The first: {error}"
    if not found:
        raise DataError(f"None of the {len(pictures)} images could be read.{first}")
    return found


def name_of(source: Any, index: int) -> str:
    """What messages call a picture."""
    if not isinstance(source, str | Path):
        return f"image {index + 1}"
    # A name that is not UTF-8 becomes readable escapes: it is stored as text.
    return Path(source).name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def shuffled(count: int, seed: int) -> Tensor:
    """The numbers below ``count`` in random order."""
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed))
