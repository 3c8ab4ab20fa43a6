"""The pictures of one category as a view sees them, each decoded once, in bounded memory."""

from __future__ import annotations

import hashlib
import math
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fmcore.data.picture import Picture
from fmcore.errors import DataError, ImageError
from fmcore.parallel import in_parallel
from fmcore.views import View


class Features(Sequence[Tensor]):
    """Tensors ``(C, H, W)`` of pictures (what `Picture.of` takes) in a view, on the CPU, by index; after `read`, which
    leaves out unreadable files and lists them, a sentence each, in ``unreadable``; ``digest`` is of the pixels of the
    others. They wait in a temporary file, so that memory does not grow with their number: 0.4 MB each for feature maps
    at their defaults."""

    def __init__(self, pictures: Sequence[Any], view: View):
        self.pictures, self.view = list(pictures), view
        self.unreadable: list[str] = []
        self.digest = hashlib.sha256()
        self._readable: list[int] = []
        self._file = tempfile.TemporaryFile(prefix="fmcore-", buffering=0)

    def read(self) -> Iterator[Tensor]:
        """Every readable picture, in order; once. Raises `DataError` where the temporary file finds no room."""
        on_cpu = self.view.device.type == "cpu"
        for index, found in enumerate((in_parallel if on_cpu else map)(self._seen, self.pictures)):
            if isinstance(found, ImageError):
                self.unreadable.append(str(found))
                continue
            digest, tensor = found
            self.digest.update(digest)
            try:
                self._file.write(tensor.numpy().tobytes())
            except OSError as error:
                place = f"'{tempfile.gettempdir()}' has no room for {len(self.pictures)} pictures as feature maps"
                raise DataError(f"{place}: {error.strerror}. Name another folder by TMPDIR.") from None
            self._readable.append(index)
            yield tensor

    def _seen(self, source: Any) -> tuple[bytes, Tensor] | ImageError:
        try:
            picture = Picture.of(source)
        except ImageError as error:
            return error
        return hashlib.sha256(np.ascontiguousarray(picture.pixels)).digest(), self.view(picture).cpu()

    def __len__(self) -> int:
        return len(self._readable)

    def __getitem__(self, number: int) -> Tensor:
        self._readable[number]  # IndexError ends an iteration
        size = 4 * math.prod(self.view.shape)
        return torch.from_numpy(np.array(np.memmap(self._file, np.float32, "r", number * size, self.view.shape)))

    def name(self, number: int) -> str:
        """What messages call a picture."""
        source = self.pictures[index := self._readable[number]]
        return readable(Path(source).name) if isinstance(source, str | Path) else f"image {index + 1}"


def shuffled(count: int, seed: int) -> list[int]:
    """The numbers below ``count`` in random order."""
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed)).tolist()


def readable(text: object) -> str:
    """As text that can be written as UTF-8, whatever bytes a file name in it is made of; others show as ``\\xe9``."""
    return str(text).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
