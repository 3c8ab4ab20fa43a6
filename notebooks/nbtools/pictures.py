"""Pictures with their heat maps and true outlines, on one colour scale per figure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.colors import LogNorm
from torch import Tensor

from fmcore.data.picture import read_mask, read_picture, resize_map
from fmcore.detector.model import Model
from fmcore.detector.score import judge, score_steps
from fmcore.errors import ImageError
from fmcore.mismatch.mismatch import HeatSettings, Mismatch
from nbtools.look import COLOURS, HEAT, Figure

SIDE = 256  # pixels of the longer side in a figure


@dataclass(frozen=True)
class Shown:
    """A picture ``(H, W, 3)`` uint8, its map ``(H, W)`` and the true mask, or None."""

    title: str
    picture: np.ndarray
    heatmap: np.ndarray
    mask: np.ndarray | None


def score_to_show(model: Model, category: str, path: Path, mask: Path | None, title: str) -> Shown:
    """Score one picture for a figure."""
    picture = read_picture(path)
    verdict = judge(model, Mismatch.collect(score_steps(model, picture, category=category)), category=category)
    small = picture.rgb(SIDE)
    height, width = small.shape[:2]
    try:
        marked = read_mask(mask, height=height, width=width) if mask else None
    except ImageError:  # listed as unreadable by the evaluation
        marked = None
    return Shown(title, small, resize_map(verdict.heatmap, height=height, width=width), marked)


def extremes(images: Sequence[dict], count: int = 4) -> dict[str, list[dict]]:
    """The images that say most about a model, by score: ``best`` (highest of the defective), ``worst`` (lowest of
    the defective) and ``alarms`` (highest of the good)."""
    good = sorted((i for i in images if not i["defective"]), key=lambda i: -i["score"])
    bad = sorted((i for i in images if i["defective"]), key=lambda i: -i["score"])
    # With few images the best must not come again among the worst.
    return {
        "best": bad[:count][: -(-len(bad) // 2)],
        "worst": bad[::-1][:count][: len(bad) // 2],
        "alarms": good[:count],
    }


def extreme_rows(
    model: Model, category: str, images: Sequence[dict], masks: dict[str, Path | None], count: int = 4
) -> dict[str, list[Shown]]:
    """`extremes` of an evaluation, scored again for their maps and ready for `gallery`."""
    titles = {
        "best": "Found most clearly: defects of the highest scores",
        "worst": "Found least clearly: defects of the lowest scores",
        "alarms": "Nearest to a false alarm: good images of the highest scores",
    }
    rows = {}
    for key, chosen in extremes(images, count).items():
        shown = []
        for image in chosen:
            title = f"{image['kind']}/{Path(image['file']).stem}\nscore {image['score']:.3g}"
            shown.append(score_to_show(model, category, Path(image["file"]), masks.get(image["file"]), title))
        if shown:
            rows[titles[key]] = shown
    return rows


def colour_scale(model: Model, category: str) -> float:
    """Upper end of the colours of a category's maps, as in the app and the heat-map files: set by good images."""
    return model.normal_ranges[category].scale(model.info.heat.exponent)


def gallery(rows: dict[str, list[Shown]], scale: float) -> Figure:
    """Pictures above their maps, a pair of lines for each entry; the true outline is drawn on both.

    Args:
        scale: upper end of the colours of all maps.
    """
    columns = max(map(len, rows.values()))
    figure = Figure(figsize=(1.75 * columns + 1.2, 4.0 * len(rows)))
    blocks = figure.subfigures(len(rows), 1, squeeze=False)[:, 0]
    for block, (title, shown) in zip(blocks, rows.items(), strict=True):
        block.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold")
        # A narrow column of its own for the colour bar keeps pictures exactly above their maps.
        grid = block.subplots(2, columns + 1, squeeze=False, width_ratios=[*[1] * columns, 0.06])
        for axes in grid.ravel():
            axes.set_axis_off()
        for column, s in enumerate(shown):
            grid[0, column].imshow(s.picture)
            grid[0, column].set_title(s.title, fontsize=8)
            image = grid[1, column].imshow(s.heatmap, cmap=HEAT, vmin=0, vmax=scale)
            if s.mask is not None and s.mask.any():
                for axes, colour in ((grid[0, column], COLOURS["anomalous"]), (grid[1, column], "white")):
                    axes.contour(s.mask, [0.5], colors=[colour], linewidths=1.4)
        grid[1, -1].set_axis_on()
        bar = block.colorbar(image, cax=grid[1, -1], extend="max")
        bar.set_label("mismatch", fontsize=8)
        bar.ax.tick_params(labelsize=7)
    return figure


def time_strip(mismatch: Mismatch, heat: HeatSettings, shown: Shown, count: int = 5) -> Figure:
    """A picture, its weighted mismatch at a few times and the finished heat map, all on one logarithmic scale: the
    parts of early and late times differ by orders of magnitude."""
    chosen = np.unique(np.linspace(0, len(mismatch.times) - 1, min(count, len(mismatch.times))).round().astype(int))
    maps = mismatch.weighted(heat)[chosen]
    top = max(float(maps.max()), 1e-12)
    scale = {"cmap": HEAT, "norm": LogNorm(top / 1000, top, clip=True)}
    figure = Figure(figsize=(1.7 * (len(chosen) + 2) + 0.6, 2.2))
    grid = figure.subplots(1, len(chosen) + 3, width_ratios=[*[1] * (len(chosen) + 2), 0.06])
    for axes in grid[:-1]:
        axes.set_axis_off()
    grid[0].imshow(shown.picture)
    grid[0].set_title(shown.title, fontsize=9)
    for axes, index, values in zip(grid[1:], chosen, maps, strict=False):
        axes.imshow(values, **scale)
        axes.set_title(f"t = {mismatch.times[index]:.2f}", fontsize=9)
    image = grid[-2].imshow(shown.heatmap, **scale)
    grid[-2].set_title("average over t", fontsize=9)
    figure.colorbar(image, cax=grid[-1]).ax.tick_params(labelsize=7)
    if shown.mask is not None and shown.mask.any():
        grid[0].contour(shown.mask, [0.5], colors=[COLOURS["anomalous"]], linewidths=1.4)
        grid[-2].contour(shown.mask, [0.5], colors=["white"], linewidths=1)
    return figure


def image_rows(rows: dict[str, Tensor], columns: Sequence[str]) -> Figure:
    """Image tensors ``(N, C, H, W)`` in [-1, 1], one line per entry, N columns."""
    figure = Figure(figsize=(1.5 * len(columns) + 1.4, 1.6 * len(rows)))
    grid = figure.subplots(len(rows), len(columns), squeeze=False)
    for line, (name, images) in zip(grid, rows.items(), strict=True):
        for axes, image in zip(line, images, strict=True):
            pixels = ((image.clamp(-1, 1) + 1) / 2).permute(1, 2, 0).cpu().numpy()
            axes.imshow(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels, cmap="gray", vmin=0, vmax=1)
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
        line[0].set_ylabel(name, rotation=0, ha="right", va="center")
    for axes, title in zip(grid[0], columns, strict=True):
        axes.set_title(title, fontsize=9, loc="center")
    return figure
