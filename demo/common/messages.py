"""Messages to the browser: one JSON text with a header and arrays that fmcore computed, ready to be drawn.

Arrays travel together, gzipped, in base64; the header lists name, type and shape of each in order.
"""

from __future__ import annotations

import base64
import gzip
import io
import json

import numpy as np
from PIL import Image

TYPES = {"uint8": np.uint8, "int16": np.int16, "float16": np.float16, "float32": np.float32}
OVER = 255  # code of a value above the scale


def plain_message(kind: str, **head) -> str:
    """A message without arrays: ``empty`` with a ``note``, ``stopped`` after a cancelled run, and the like."""
    return json.dumps({"kind": kind, **head})


def pack(head: dict, arrays: dict[str, np.ndarray]) -> str:
    """A message of header and arrays."""
    parts = []
    for array in arrays.values():
        data = np.ascontiguousarray(array).tobytes()
        parts.append(data + bytes(-len(data) % 4))  # the browser reads typed arrays at aligned offsets only
    described = [[name, str(array.dtype), list(array.shape)] for name, array in arrays.items()]
    return json.dumps({**head, "arrays": described, "blob": zipped(b"".join(parts))})


def unpack(message: str) -> tuple[dict, dict[str, np.ndarray]]:
    """Header and arrays of a message, as the browser reads them."""
    head = json.loads(message)
    data = gzip.decompress(base64.b64decode(head.pop("blob", "") or zipped(b"")))
    arrays, offset = {}, 0
    for name, kind, shape in head.pop("arrays", []):
        count = int(np.prod(shape))
        arrays[name] = np.frombuffer(data, TYPES[kind], count, offset).reshape(shape)
        offset += -(-arrays[name].nbytes // 4) * 4
    return head, arrays


def zipped(data: bytes) -> str:
    """Gzip in base64, the same text for the same bytes."""
    return base64.b64encode(gzip.compress(data, compresslevel=1, mtime=0)).decode()


def encode(maps: np.ndarray, high: float | np.ndarray, low: float | np.ndarray = 0.0) -> np.ndarray:
    """Maps as uint8 codes: 0 to 254 for ``low`` (and below) to ``high``, which broadcast; `OVER` for anything above."""
    codes = np.rint(np.clip((maps - low) / (high - low), 0, 1) * (OVER - 1)).astype(np.uint8)
    codes[maps > high] = OVER
    return codes


def figure(value: float, other: float | None = None) -> str:
    """A score in four digits, or in as many as tell it from ``other``; large ones in whole numbers, not in powers."""
    digits = 4
    while other is not None and value != other and digits < 9 and f"{value:.{digits}g}" == f"{other:.{digits}g}":
        digits += 1
    return f"{value:.0f}" if 10**digits <= abs(value) < 1e9 else f"{value:.{digits}g}"


def data_url(image: np.ndarray) -> str:
    """An image ``(h, w, 3)`` uint8 as the address of an embedded PNG."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="PNG", compress_level=4)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def outline(mask: np.ndarray) -> np.ndarray:
    """Border of the marked region of a bool mask ``(h, w)``, along the pixel edges.

    Returns:
        Straight pieces ``(n, 4)`` int16 as x0, y0, x1, y1 in pixels; edges of one line are joined.
    """
    padded = np.pad(mask, 1)
    below = padded[1:, 1:-1] != padded[:-1, 1:-1]  # (h + 1, w): the edge above pixel row y
    beside = (padded[1:-1, 1:] != padded[1:-1, :-1]).T  # (w + 1, h): the edge left of pixel column x
    horizontal = [(start, y, stop, y) for y, start, stop in _runs(below)]
    vertical = [(x, start, x, stop) for x, start, stop in _runs(beside)]
    return np.array(horizontal + vertical, dtype=np.int16).reshape(-1, 4)


def _runs(edges: np.ndarray) -> list[tuple[int, int, int]]:
    """(line, start, stop) of each run of True along the last axis of ``(lines, positions)``."""
    steps = np.diff(np.pad(edges, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    lines, starts = np.nonzero(steps == 1)
    _, stops = np.nonzero(steps == -1)
    return list(zip(lines.tolist(), starts.tolist(), stops.tolist(), strict=True))
