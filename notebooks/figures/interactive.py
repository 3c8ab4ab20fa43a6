"""Charts to point at, turn and scrub: plotly figures, which a page carries with it and needs no network for.
On paper stands the matplotlib figure that each of them goes with; see `common.output.Output.figure`."""

import json
import math
from collections.abc import Sequence
from itertools import compress
from pathlib import Path

import numpy as np
import plotly.graph_objects as go
from matplotlib.ticker import LogLocator
from plotly.offline import get_plotlyjs
from plotly.subplots import make_subplots

from figures.pictures import Panel
from figures.plane import SCALE
from figures.style import COLOURS, HEAT, INK
from fmcore.data.picture import resize_map
from fmcore.decomposition.landscape import PlaneGrid
from fmcore.mismatch import HeatSettings, Mismatch

SIDE = 64  # most cells of a map along its longer side
HOVER, LOOK = ((Path(__file__).parent / name).read_text() for name in ("hover.js", "look.json"))


class Interactive:
    """A plotly figure, and what is shown of each of its points when the pointer is there: JPEGs in base64, or None."""

    def __init__(self, figure: go.Figure, look: str, pictures: Sequence[str | None] = ()):
        self.figure, self.pictures = figure.update_layout(json.loads(LOOK)[look]), list(pictures)

    def html(self, *, library: bool) -> str:
        """As a part of a page; ``library``: with plotly.js, which a page needs once."""
        script = HOVER.replace("PICTURES", json.dumps(self.pictures)) if self.pictures else None
        code = f"<script>{get_plotlyjs()}</script>" if library else ""
        options = {"displaylogo": False, "responsive": True}
        return code + self.figure.to_html(options, include_plotlyjs=False, full_html=False, post_script=script)


def score_dots(results: dict[str, dict], pictures: dict[str, str]) -> Interactive:
    """A histogram of scores for each category in which every image is a dot; ``pictures`` by the images' files."""
    figure = make_subplots(len(results), 1, subplot_titles=list(results), vertical_spacing=0.35 / len(results))
    shown: list[str | None] = []
    for row, result in enumerate(results.values(), 1):
        place = {"row": row, "col": 1}
        images = sorted(result["images"], key=lambda image: image["defective"])
        defective, scores = (np.array([image[key] for image in images]) for key in ("defective", "score"))
        spread = np.log(scores) if (logarithmic := scores.min() > 0) else scores
        bins = np.digitize(spread, np.linspace(spread.min(), spread.max(), 40))
        height = np.array([(bins[:i] == b).sum() + 1 for i, b in enumerate(bins)])
        told = [f"{i['kind']}/{Path(i['file']).stem}: score {i['score']:.3g}" for i in images]
        numbered = list(enumerate(told, len(shown)))
        shown += [pictures.get(image["file"]) for image in images]
        for label, colour, mine in (("good", "normal", ~defective), ("defective", "anomalous", defective)):
            points = {"x": scores[mine], "y": height[mine], "customdata": [*compress(numbered, mine)]}
            look = {"marker": {"color": COLOURS[colour], "size": 8}, "name": label, "showlegend": row == 1}
            told = {"mode": "markers", "hovertemplate": "%{customdata[1]}<extra></extra>"}
            figure.add_scatter(**points, **look, **told, **place)
        ticks = LogLocator(subs=(1, 2, 5)).tick_values(scores.min(), scores.max()) if logarithmic else []
        axis = {"type": "log", "tickvals": ticks, "ticktext": [f"{v:g}" for v in ticks]} if logarithmic else {}
        figure.update_xaxes(**axis, title="score", **place)
        if result["threshold"]:
            at = result["threshold"]["value"]
            figure.add_vline(at, line={"dash": "dash", "color": INK}, **place)
            # Of an annotation, unlike of a line, a logarithmic axis takes the logarithm.
            text = {"text": "threshold", "showarrow": False, "yanchor": "bottom"}
            figure.add_annotation(x=np.log10(at) if logarithmic else at, y=height.max(), **text, **place)
    figure.update_yaxes(title="images", rangemode="tozero")
    return Interactive(figure.update_layout(height=120 + 230 * len(results)), "dots", shown)


def time_scrub(mismatch: Mismatch, heat: HeatSettings, picture: Panel) -> Interactive:
    """A picture, its weighted mismatch at the time of a slider, and the average up to it, on one logarithmic scale."""
    titles, kinds = (
        ("the picture", "this time alone", "average so far"),
        (mismatch.weighted(heat), mismatch.running(heat)),
    )
    figure = make_subplots(1, 3, subplot_titles=titles, horizontal_spacing=0.02)
    figure.add_image(z=picture.image, row=1, col=1, hoverinfo="skip")
    top = max(float(kinds[0].max()), 1e-12)
    for parts in zip(*kinds, strict=True):
        for column, values in enumerate(parts, 2):
            small = resize_map(values, height=min(SIDE, values.shape[0]), width=min(SIDE, values.shape[1]))
            options = {"coloraxis": "coloraxis", "hovertemplate": "%{customdata:.3g}<extra></extra>"}
            figure.add_heatmap(z=_log(small, top / 1000), customdata=small, **options, row=1, col=column)
    steps = _switch([f"{t:.2f}" for t in mismatch.times], figure, 2, fixed=1)
    ends = np.log10(top) - 3, np.log10(top)
    axis = {"colorscale": HEAT, "cmin": ends[0], "cmax": ends[1], "colorbar": _bar(*ends)}
    look = Interactive(figure.update_layout(coloraxis=axis), "scrub")
    figure.layout.sliders[0].update(steps=steps, active=len(steps) - 1)
    return look


def turning_landscape(panels: dict[str, np.ndarray], grid: PlaneGrid) -> Interactive:
    """Scores ``(side, side)`` of the plane as mountains to be turned, one of ``panels`` at a time, by buttons."""
    figure, points = go.Figure(), grid.points().numpy()
    ends = np.log10(SCALE)
    for values in panels.values():
        z = np.minimum(_log(values, SCALE[0]), ends[1])
        axes = {"x": points[0, :, 0], "y": points[:, 0, 1], "z": z, "customdata": values.astype(np.float32)}
        colours = {"colorscale": HEAT, "cmin": ends[0], "cmax": ends[1], "colorbar": _bar(*ends)}
        figure.add_surface(**axes, **colours, hovertemplate="%{x:.1f}, %{y:.1f}: %{customdata:.3g}<extra></extra>")
    look, buttons = Interactive(figure, "landscape"), _switch(list(panels), figure, 1)
    figure.layout.updatemenus[0].update(buttons=buttons, active=len(buttons) - 1)
    figure.layout.scene.zaxis.update(tickvals=_bar(*ends)["tickvals"], ticktext=_bar(*ends)["ticktext"])
    return look


def _log(values: np.ndarray, least: float) -> np.ndarray:
    return np.log10(np.maximum(values, least)).astype(np.float32)


def _bar(low: float, high: float) -> dict:
    """A colour bar of powers of ten for values that are logarithms."""
    powers = list(range(math.ceil(low), math.floor(high) + 1))
    return {"title": "mismatch", "tickvals": powers, "ticktext": [f"{10.0**power:g}" for power in powers]}


def _switch(labels: Sequence[str], figure: go.Figure, each: int, fixed: int = 0) -> list[dict]:
    """Buttons or steps that show ``each`` traces at a time, after ``fixed`` ones; the last are shown now."""
    kept, count = [True] * fixed, range(len(labels))
    shown = [kept + [i == j for i in count for _ in range(each)] for j in count]
    for trace, visible in zip(figure.data, shown[-1], strict=True):
        trace.visible = visible
    return [{"label": n, "method": "restyle", "args": ["visible", s]} for n, s in zip(labels, shown, strict=True)]
