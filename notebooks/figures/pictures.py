"""Pictures with their heat maps and true outlines, on one colour scale per figure."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import Colormap, LogNorm, Normalize
from PIL import Image
from torch import Tensor

from common import jpeg
from figures.style import COLOURS, HEAT, Figure, headline
from fmcore.data.folders import TestItem
from fmcore.data.picture import read_mask, read_picture, resize_map
from fmcore.detector.model import Model
from fmcore.errors import ImageError
from fmcore.mismatch import HeatSettings, Mismatch

SIDE = 256  # pixels of the longer side in a figure
EXTREMES = {
    "best": "Defects of the\nhighest scores",
    "worst": "Defects of the\nlowest scores",
    "alarms": "Good images of the\nhighest scores",
}


@dataclass(frozen=True)
class Panel:
    """A picture ``(H, W, 3)``, or a map ``(H, W)``, and the true mask ``(h, w)``, or None."""

    image: np.ndarray
    title: str = ""
    mask: np.ndarray | None = None


def picture_grid(
    rows: Sequence[tuple[str, Sequence[Panel]]],
    *,
    norm: Normalize | None = None,
    colours: str | Colormap = HEAT,
    label: str = "mismatch",
    title: str = "",
    size: float = 1.6,
) -> Figure:
    """Rows of panels with their names at the left; all maps share ``norm`` and the one colour bar, the true outline is
    a thin line in pink on pictures and in white on maps. ``size`` is that of a panel, in inches."""
    columns = max(len(panels) for _, panels in rows)
    figure = Figure(figsize=(size * columns + 2.0, (size + 0.3) * len(rows) + 0.4))
    grid = figure.subplots(len(rows), columns, squeeze=False)
    last = None
    for line, (name, panels) in zip(grid, rows, strict=True):
        for axes, panel in zip_longest(line, panels):
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
            if panel is None:
                continue
            is_map = panel.image.ndim == 2
            shown = axes.imshow(panel.image, **({"cmap": colours, "norm": norm} if is_map else {}))
            last = shown if is_map else last
            axes.set_title(panel.title, fontsize="small")
            if panel.mask is not None and panel.mask.any():
                extent = (-0.5, panel.image.shape[1] - 0.5, -0.5, panel.image.shape[0] - 0.5)
                colour = "white" if is_map else COLOURS["anomalous"]
                axes.contour(panel.mask, [0.5], colors=[colour], linewidths=1.2, origin="lower", extent=extent)
        line[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize="small")
    if last is not None:
        figure.colorbar(last, ax=grid, shrink=0.6, pad=0.01, extend="max").set_label(label)
    headline(figure, title)
    return figure


def pixels(image: Tensor) -> np.ndarray:
    """An image tensor ``(C, H, W)`` in [-1, 1] as a picture ``(H, W, 3)``."""
    shown = ((image.clamp(-1, 1) + 1) / 2).permute(1, 2, 0).cpu().numpy()
    return np.repeat(shown, 3, axis=2) if shown.shape[2] == 1 else shown


def image_rows(rows: dict[str, Tensor], columns: Sequence[str]) -> Figure:
    """Image tensors ``(N, C, H, W)`` in [-1, 1], one line per entry, N columns."""
    return picture_grid([(n, [Panel(pixels(i), t) for i, t in zip(x, columns, strict=True)]) for n, x in rows.items()])


def picture_and_mask(path: Path, mask: Path | None) -> Panel:
    """A file's picture as it is shown, with its true mask where that can be read."""
    small = read_picture(path).rgb(SIDE)
    try:
        marked = read_mask(mask, height=small.shape[0], width=small.shape[1]) if mask else None
    except ImageError:  # listed as unreadable by the evaluation
        marked = None
    return Panel(small, mask=marked)


def examples(good: Sequence[TestItem], defective: Sequence[TestItem], title: str, count: int = 5) -> Figure:
    """A few good test pictures above a few defective ones of different kinds, with their true outlines."""
    rows = []
    for name, items in (("good", good), ("defective", defective)):
        some = items[:: -(-len(items) // count) or 1]
        panels = [replace(picture_and_mask(i.path, i.mask), title="" if i.is_good else i.defect) for i in some]
        rows.append((name, panels))
    return picture_grid(rows, title=title)


def score_to_show(model: Model, category: str, path: Path, mask: Path | None, title: str) -> tuple[Panel, Panel]:
    """Score one picture; it and its map, for a figure."""
    heatmap = model.score(path, category).heatmap
    seen = picture_and_mask(path, mask)
    heatmap = resize_map(heatmap, height=seen.image.shape[0], width=seen.image.shape[1])
    return Panel(seen.image, title, seen.mask), Panel(heatmap, mask=seen.mask)


def extremes(images: Sequence[dict], count: int = 4) -> dict[str, list[dict]]:
    """The images that say most about a model, by score: ``best`` (highest of the defective), ``worst`` (lowest of
    the defective) and ``alarms`` (highest of the good)."""
    good = sorted((i for i in images if not i["defective"]), key=lambda i: -i["score"])
    bad = sorted((i for i in images if i["defective"]), key=lambda i: -i["score"])
    half = -(-len(bad) // 2)  # with few images the best must not come again among the worst
    return {"best": bad[:half][:count], "worst": bad[half:][::-1][:count], "alarms": good[:count]}


def scored_pairs(
    model: Model, category: str, images: Sequence[dict], masks: dict[str, Path | None], most: int = 60
) -> dict[str, tuple[Panel, Panel]]:
    """Pictures and maps by file, scored again: those of `extremes`, then of the images nearest to the threshold."""
    limit = model.threshold(category)
    middle = limit.value if limit else float(np.median([image["score"] for image in images]))
    nearest = sorted(images, key=lambda image: abs(np.log(max(image["score"], 1e-12) / max(middle, 1e-12))))
    wanted = [image for chosen in extremes(images).values() for image in chosen] + nearest
    titles = {i["file"]: f"{i['kind']}/{Path(i['file']).stem}\nscore {i['score']:.3g}" for i in wanted}
    files = list(titles)[:most]
    return {f: score_to_show(model, category, Path(f), masks.get(f), titles[f]) for f in files}


def thumbnail(pair: tuple[Panel, Panel], scale: float, side: int = 112) -> str:
    """A picture and its map side by side, as a small JPEG in base64; the map's colours go from 0 to ``scale``."""
    picture, heatmap = (panel.image for panel in pair)
    both = np.concatenate([picture, colormaps[HEAT](heatmap / scale, bytes=True)[..., :3]], 1)
    small = Image.fromarray(both)
    small.thumbnail((4 * side, side))
    return jpeg(small, quality=75)


def colour_scale(model: Model, category: str) -> float:
    """Upper end of the colours of a category's maps, as in the app and the heat-map files: set by good images."""
    return model.normal_ranges[category].scale(model.info.heat.exponent)


def extreme_rows(pairs: dict[str, tuple[Panel, Panel]], images: Sequence[dict]) -> dict[str, list]:
    """The `extremes` of an evaluation among its `scored_pairs`, ready for `gallery`."""
    return {EXTREMES[k]: [pairs[i["file"]] for i in chosen] for k, chosen in extremes(images).items() if chosen}


def gallery(rows: dict[str, list[tuple[Panel, Panel]]], scale: float) -> Figure:
    """Pictures above their maps, a pair of lines for each entry; colours of all maps go from 0 to ``scale``."""
    lines = []
    for name, pairs in rows.items():
        lines += [(name, [picture for picture, _ in pairs]), ("", [heatmap for _, heatmap in pairs])]
    return picture_grid(lines, norm=Normalize(0, scale))


def time_strip(mismatch: Mismatch, heat: HeatSettings, scored: tuple[Panel, Panel], count: int = 5) -> Figure:
    """A picture, its weighted mismatch at a few times and the finished heat map, all on one logarithmic scale: the
    parts of early and late times differ by orders of magnitude."""
    chosen = np.unique(np.linspace(0, len(mismatch.times) - 1, min(count, len(mismatch.times))).round().astype(int))
    maps = mismatch.weighted(heat)[chosen]
    top = max(float(maps.max()), 1e-12)
    parts = [Panel(m, f"t = {mismatch.times[i]:.2f}") for i, m in zip(chosen, maps, strict=True)]
    whole = Panel(scored[1].image, "average over t", scored[1].mask)
    return picture_grid([("", [scored[0], *parts, whole])], norm=LogNorm(top / 1000, top, clip=True))
