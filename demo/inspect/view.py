"""The picture viewer: packs what fmcore computed about a picture, for ``view.js`` to draw.

A ``partial`` message carries the heat map so far as 8-bit codes; ``full`` carries all maps of a picture, so that
moving the time slider needs no server. The picture and the grid of its maps each have their own height and width.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import gradio as gr
import numpy as np

from demo.common.component import component
from demo.common.messages import OVER, data_url, encode, figure, pack, plain_message
from demo.inspect.marks import marks
from demo.inspect.scales import ColourScales, scales_of_good, scales_of_picture
from fmcore.detector.model import Model
from fmcore.detector.score import Verdict
from fmcore.mismatch import HeatSettings, Mismatch, PathSettings

LARGEST_HALF = float(np.finfo(np.float16).max)
FOREIGN = 0.5  # share of a map beyond `NormalRange.scale` from which a picture is taken for another kind of object
UNLIKE = "Most of it is unlike this category."


@dataclass(frozen=True)
class Shown:
    """A picture as the browser gets it: ``pixels`` ``(h, w, 3)`` uint8, ``outline`` of its true defect, if known.

    ``truth``: "good", or the defect in words; None where nobody knows.
    """

    name: str
    pixels: np.ndarray
    outline: np.ndarray | None = None
    truth: str | None = None


def viewer(**options) -> gr.HTML:
    """The component; its value is a message of this module, or of `demo.common.messages.plain_message`."""
    folder, look = Path(__file__).parent, {"over": OVER}
    return component(folder, scripts=("curve.js", "sight.js"), value=plain_message("empty"), look=look, **options)


def partial_message(head: dict, heatmap: np.ndarray, ends: tuple[float, float], pixels: np.ndarray | None) -> str:
    """The heat map so far ``(H, W)``, coloured between ``ends``; ``pixels`` only in a picture's first message."""
    low, high = ends
    head = {**head, "kind": "partial", "scales": {"running": [[low, high]]}}
    head["image"] = None if pixels is None else data_url(pixels)
    return pack(head, {"running": encode(heatmap, high, low)[None]})


def full_parts(
    picture: Shown,
    model: Model,
    category: str,
    paths: PathSettings,
    heat: HeatSettings,
    mismatch: Mismatch,
    verdict: Verdict,
    sight: dict[str, np.ndarray],
) -> tuple[dict, dict[str, np.ndarray]]:
    """Header and arrays of everything about one scored picture, to be packed."""
    weighted, running = mismatch.weighted(heat), mismatch.running(heat)
    scales = known_scales(model, category, heat, mismatch.times) or scales_of_picture(weighted, running)
    arrays = {
        "weighted": _coded(weighted, scales.weighted),
        "running": _coded(running, scales.running),
        # Three digits are enough to plot; what exceeds a half float is cut off, never infinite.
        "per_time": np.minimum(mismatch.per_time(heat), LARGEST_HALF).astype(np.float16),
        **sight,
    }
    arrays["marked"], regions = marks(model, category, verdict, *picture.pixels.shape[:2])
    beyond = float((arrays["running"][-1] == OVER).mean())
    if picture.outline is not None:
        arrays["outline"] = picture.outline
    band_note = _band(arrays, model, category, paths, heat)
    peak = np.unravel_index(int(verdict.heatmap.argmax()), verdict.heatmap.shape)
    head = {
        "kind": "full",
        "name": picture.name,
        "image": data_url(picture.pixels),
        "times": mismatch.times.tolist(),
        "exponent": heat.exponent,
        "exact": paths.paths == 0,
        "scales": {"weighted": scales.weighted.tolist(), "running": scales.running.tolist()},
        "of_good": scales.of_good,
        "beyond": beyond,
        "peak": [int(i) for i in peak],
        "band_times": model.normal_ranges[category].times.tolist() if not band_note else [],
        "band_note": band_note,
        "draws": paths.paths,
        **regions,
        **verdict_fields(model, category, verdict, picture.truth, foreign=is_foreign(model, category, heat, verdict)),
    }
    return head, arrays


def known_scales(model: Model, category: str, heat: HeatSettings, times: np.ndarray) -> ColourScales | None:
    """The colour scales that need no picture; None where the model stores no range of good pictures."""
    normal_range = model.normal_ranges.get(category)
    return None if normal_range is None else scales_of_good(normal_range, heat.exponent, times)


def verdict_fields(model: Model, category: str, verdict: Verdict, truth: str | None, *, foreign: bool) -> dict:
    """Score, threshold and verdict, as numbers and in words; ``foreign``: the map is bright nearly everywhere."""
    threshold = model.threshold(category)
    word = {None: "No verdict", True: "Anomalous", False: "Normal"}[verdict.anomalous]
    aside, note, rule, score = "", verdict.note, "", figure(verdict.score)
    if verdict.threshold is not None and threshold is not None:
        note = (
            f"At most {threshold.false_alarm_rate:.0%} of good images should exceed the threshold, "
            f"which rests on {threshold.held_out} held-out ones."
        )
        score, limit = figure(verdict.score, verdict.threshold), figure(verdict.threshold, verdict.score)
        rule = f" {'>' if verdict.anomalous else '≤'} threshold {limit}"
    if truth is None and foreign:
        word = f"Not a picture of “{category}”?"
        note = f"{UNLIKE} Choose another category, or fit “My own good images”."
    elif truth == "good" and verdict.anomalous:
        aside = "false alarm: this one is good"
    elif truth not in (None, "good") and verdict.anomalous is False:
        aside = f"missed: a real defect ({truth}) below the threshold"
    return {
        "score": verdict.score,
        "score_text": score + rule,
        "anomalous": None if foreign and truth is None else verdict.anomalous,
        "word": word,
        "aside": aside,
        "note": note,
        "held_out": "held-out" if threshold is None else f"{threshold.held_out} held-out",
    }


def is_foreign(model: Model, category: str, heat: HeatSettings, verdict: Verdict) -> bool:
    """Whether a map is so bright in so many places that the picture seems to be of something else."""
    normal_range = model.normal_ranges.get(category)
    return normal_range is not None and (verdict.heatmap > normal_range.scale(heat.exponent)).mean() > FOREIGN


def _coded(maps: np.ndarray, scale: np.ndarray) -> np.ndarray:
    return encode(maps, scale[:, 1, None, None], scale[:, 0, None, None])


def draws_text(paths: int) -> str:
    """K in words; 0 stands for the exact mean over all noise."""
    return f"K = {paths}" if paths else "all noise, exact"


def cells_of(length: int, cells: int) -> np.ndarray:
    """Cell of the stored normal range that each row, or column, of a map falls into, ``(length,)`` int16."""
    sizes = [len(part) for part in np.array_split(np.arange(length), cells)]
    return np.repeat(np.arange(cells), sizes).astype(np.int16)


def _band(arrays: dict[str, np.ndarray], model: Model, category: str, paths: PathSettings, heat: HeatSettings) -> str:
    """Add the normal range and its cell of each row and column of the maps, or say why there is none."""
    normal_range = model.normal_ranges.get(category)
    if normal_range is None:
        return "This model stores no normal range."
    own_paths, own_heat = model.info.paths, model.info.heat
    measured = (own_paths.paths, own_heat.aggregator, own_heat.alpha)
    if (paths.paths, heat.aggregator, heat.alpha) != measured:
        how = f"{draws_text(own_paths.paths)}, {own_heat.aggregator}"
        return f"The normal range was measured with {how}; reset to compare."
    sides = zip(("rows", "columns"), arrays["per_time"].shape[1:], normal_range.lower.shape[1:], strict=True)
    for name, length, cells in sides:
        arrays[name] = cells_of(length, cells)
    arrays["lower"], arrays["upper"] = normal_range.lower.astype(np.float32), normal_range.upper.astype(np.float32)
    return ""
