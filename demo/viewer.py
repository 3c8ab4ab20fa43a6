"""The picture viewer: Python packs arrays that fmcore computed, the browser draws them.

A message to the browser is one JSON text. ``partial`` carries the heat map so far as 8-bit codes; ``full``
carries all maps of a picture, so that moving the time slider needs no server. Arrays travel together, gzipped,
in base64; the header lists name, type and shape of each in order.
"""

from __future__ import annotations

import base64
import gzip
import io
import json

import gradio as gr
import numpy as np
from PIL import Image

from demo.component import component
from demo.style import ACCENT
from fmcore.detector.model import Model
from fmcore.detector.score import Verdict
from fmcore.mismatch.mismatch import HeatSettings, Mismatch, PathSettings

TYPES = {"uint8": np.uint8, "int16": np.int16, "float16": np.float16, "float32": np.float32}
OVER = 255  # code of a value above the scale
LARGEST_HALF = float(np.finfo(np.float16).max)


def viewer(**options) -> gr.HTML:
    """The component; its value is a message of `partial_message`, `full_message` or `plain_message`."""
    return component("viewer", value=plain_message("empty"), look={"accent": ACCENT, "over": OVER}, **options)


def plain_message(kind: str, **head) -> str:
    """A message without arrays: ``empty`` with a ``note``, or ``stopped`` after a cancelled run."""
    return json.dumps({"kind": kind, **head})


def partial_message(head: dict, heatmap: np.ndarray, scale: float, image: np.ndarray | None) -> str:
    """The heat map so far ``(H, W)``; ``image`` ``(h, w, 3)`` uint8 comes along only in a picture's first message."""
    head = {**head, "kind": "partial", "scale": scale, "image": None if image is None else data_url(image)}
    return pack(head, {"running": encode(heatmap, scale)[None]})


def full_message(
    *,
    name: str,
    image: np.ndarray,
    outline: np.ndarray | None,
    model: Model,
    category: str,
    paths: PathSettings,
    heat: HeatSettings,
    mismatch: Mismatch,
    verdict: Verdict,
) -> str:
    """Everything about one scored picture: ``image`` ``(h, w, 3)`` uint8, ``outline`` as from `outline`."""
    scale, scale_note = colour_scale(model, category, heat, verdict.heatmap)
    arrays = {
        "weighted": encode(mismatch.weighted(heat), scale),
        "running": encode(mismatch.running(heat), scale),
        # Three digits are enough to plot; what exceeds a half float is cut off, never infinite.
        "per_time": np.minimum(mismatch.per_time(heat), LARGEST_HALF).astype(np.float16),
    }
    if outline is not None:
        arrays["outline"] = outline
    band_note = _band(arrays, model, category, paths, heat)
    peak = np.unravel_index(int(verdict.heatmap.argmax()), verdict.heatmap.shape)
    head = {
        "kind": "full",
        "name": name,
        "image": data_url(image),
        "times": mismatch.times.tolist(),
        "exponent": heat.exponent,
        "scale": scale,
        "scale_note": scale_note,
        "peak": [int(i) for i in peak],
        "band_times": model.normal_ranges[category].times.tolist() if not band_note else [],
        "band_note": band_note,
        **verdict_fields(model, category, verdict),
    }
    return pack(head, arrays)


def verdict_fields(model: Model, category: str, verdict: Verdict) -> dict:
    """Score, threshold and verdict, as numbers and as text, with six significant digits."""
    fields = {
        "score": verdict.score,
        "score_text": format(verdict.score, ".6g"),
        "anomalous": verdict.anomalous,
        "threshold": verdict.threshold,
        "note": verdict.note,
    }
    threshold = model.info.thresholds.get(category)
    fields["held_out"] = "held-out" if threshold is None else f"{threshold.held_out} held-out"
    if verdict.threshold is not None and threshold is not None:
        fields["threshold_text"] = format(verdict.threshold, ".6g")
        fields["note"] = (
            f"At most {threshold.false_alarm_rate:.0%} of good images should exceed the threshold, "
            f"which rests on {threshold.held_out} held-out ones."
        )
    return fields


def colour_scale(model: Model, category: str, heat: HeatSettings, heatmap: np.ndarray) -> tuple[float, str]:
    """Upper end of the colour scale, and what it is."""
    normal_range = model.normal_ranges.get(category)
    if normal_range is None:
        return float(heatmap.max()) or 1.0, "up to the largest value of this picture: no normal range is stored"
    return normal_range.scale(heat.exponent) or 1.0, "the same for every picture and time of this model and category"


def encode(maps: np.ndarray, scale: float) -> np.ndarray:
    """Non-negative maps as uint8 codes: 0 to 254 for 0 to ``scale``, `OVER` for anything larger."""
    codes = np.rint(np.minimum(maps / scale, 1) * (OVER - 1)).astype(np.uint8)
    codes[maps > scale] = OVER
    return codes


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


def data_url(image: np.ndarray) -> str:
    """An image ``(h, w, 3)`` uint8 as the address of an embedded PNG."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="PNG", compress_level=4)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def unpack(message: str) -> tuple[dict, dict[str, np.ndarray]]:
    """Header and arrays of a message, as the browser reads them."""
    head = json.loads(message)
    data = gzip.decompress(base64.b64decode(head.pop("blob", "") or base64.b64encode(gzip.compress(b""))))
    arrays, offset = {}, 0
    for name, kind, shape in head.pop("arrays", []):
        count = int(np.prod(shape))
        arrays[name] = np.frombuffer(data, TYPES[kind], count, offset).reshape(shape)
        offset += -(-arrays[name].nbytes // 4) * 4
    return head, arrays


def pack(head: dict, arrays: dict[str, np.ndarray]) -> str:
    parts = []
    for array in arrays.values():
        data = np.ascontiguousarray(array).tobytes()
        parts.append(data + bytes(-len(data) % 4))  # the browser reads typed arrays at aligned offsets only
    described = [[name, str(array.dtype), list(array.shape)] for name, array in arrays.items()]
    blob = base64.b64encode(gzip.compress(b"".join(parts), compresslevel=1, mtime=0)).decode()
    return json.dumps({**head, "arrays": described, "blob": blob})


def _runs(edges: np.ndarray) -> list[tuple[int, int, int]]:
    """(line, start, stop) of each run of True along the last axis of ``(lines, positions)``."""
    steps = np.diff(np.pad(edges, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    lines, starts = np.nonzero(steps == 1)
    _, stops = np.nonzero(steps == -1)
    return list(zip(lines.tolist(), starts.tolist(), stops.tolist(), strict=True))


def _band(arrays: dict[str, np.ndarray], model: Model, category: str, paths: PathSettings, heat: HeatSettings) -> str:
    """Add the normal range and the cell of each pixel row and column, or say why there is none."""
    normal_range = model.normal_ranges.get(category)
    if normal_range is None:
        return "This model stores no normal range."
    own_paths, own_heat = model.info.paths, model.info.heat
    chosen = (paths.paths, paths.structure, heat.aggregator)
    measured = (own_paths.paths, own_paths.structure, own_heat.aggregator)
    if chosen != measured or (heat.aggregator == "percentile" and heat.percentile != own_heat.percentile):
        return (
            f"The normal range was measured with K = {own_paths.paths}, {own_heat.aggregator} and a share of structure "
            f"of {own_paths.structure:g}; reset to compare."
        )
    height, width = arrays["per_time"].shape[1:]
    grid = normal_range.lower.shape[-1]
    for name, length in (("rows", height), ("columns", width)):
        sizes = [len(part) for part in np.array_split(np.arange(length), grid)]
        arrays[name] = np.repeat(np.arange(grid), sizes).astype(np.int16)
    arrays["lower"], arrays["upper"] = normal_range.lower.astype(np.float32), normal_range.upper.astype(np.float32)
    return ""
