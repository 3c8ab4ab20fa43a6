"""Charts to point at, turn and scrub: plotly figures, which a page carries with it and needs no network for.

On paper stands the matplotlib figure that each of them goes with; see `common.output.Output.figure`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
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
CONFIG = {"displaylogo": False, "responsive": True}
LOOK = {"template": "plotly_white", "font": {"family": "system-ui, sans-serif", "color": INK}}
HOVER = (Path(__file__).parent / "hover.js").read_text()


class Interactive:
    """A plotly figure, and what is shown of each of its points when the pointer is there: JPEGs in base64, or None."""

    def __init__(self, figure: go.Figure, pictures: Sequence[str | None] = ()):
        self.figure, self.pictures = figure, list(pictures)

    def html(self, *, library: bool) -> str:
        """As a part of a page; ``library``: with plotly.js, which a page needs once."""
        script = HOVER.replace("PICTURES", json.dumps(self.pictures)) if self.pictures else None
        code = f"<script>{get_plotlyjs()}</script>" if library else ""
        return code + self.figure.to_html(CONFIG, include_plotlyjs=False, full_html=False, post_script=script)


def score_dots(results: dict[str, dict], pictures: dict[str, str]) -> Interactive:
    """A histogram of scores for each category in which every image is a dot; ``pictures`` by the images' files."""
    figure = make_subplots(len(results), 1, subplot_titles=list(results), vertical_spacing=0.35 / len(results))
    shown: list[str | None] = []
    for row, result in enumerate(results.values(), 1):
        images = sorted(result["images"], key=lambda image: image["defective"])
        scores = np.array([image["score"] for image in images])
        logarithmic = scores.min() > 0
        places = np.log(scores) if logarithmic else scores
        bins = np.digitize(places, np.linspace(places.min(), places.max(), 40))
        height = np.array([(bins[:i] == b).sum() + 1 for i, b in enumerate(bins)])
        told = [f"{i['kind']}/{Path(i['file']).stem}: score {i['score']:.3g}" for i in images]
        numbered = [[len(shown) + i, text] for i, text in enumerate(told)]
        shown += [pictures.get(image["file"]) for image in images]
        for defective, label, kind in ((False, "good", "normal"), (True, "defective", "anomalous")):
            mine = [i for i, image in enumerate(images) if image["defective"] == defective]
            points = {"x": scores[mine], "y": height[mine], "customdata": [numbered[i] for i in mine]}
            look = {"marker": {"color": COLOURS[kind], "size": 8}, "name": label, "showlegend": row == 1}
            figure.add_scatter(
                **points, **look, mode="markers", hovertemplate="%{customdata[1]}<extra></extra>", row=row, col=1
            )
        ticks = LogLocator(subs=(1, 2, 5)).tick_values(scores.min(), scores.max()) if logarithmic else None
        axis = {"type": "log", "tickvals": ticks, "ticktext": [f"{v:g}" for v in ticks]} if logarithmic else {}
        figure.update_xaxes(**axis, title="score", row=row, col=1)
        if result["threshold"]:
            figure.add_vline(
                result["threshold"]["value"],
                line={"dash": "dash", "color": INK},
                row=row,
                col=1,
                annotation_text="threshold",
            )
    figure.update_yaxes(title="images", rangemode="tozero")
    figure.update_layout(
        **LOOK, height=120 + 230 * len(results), legend={"orientation": "h", "y": 1.02, "yanchor": "bottom"}
    )
    return Interactive(figure, shown)


def time_scrub(mismatch: Mismatch, heat: HeatSettings, picture: Panel) -> Interactive:
    """A picture, its weighted mismatch at the time of a slider, and the average up to it, on one logarithmic scale."""
    figure = make_subplots(
        1, 3, subplot_titles=("the picture", "this time alone", "average so far"), horizontal_spacing=0.02
    )
    figure.add_image(z=picture.image, row=1, col=1, hoverinfo="skip")
    kinds = mismatch.weighted(heat), mismatch.running(heat)
    top = max(float(kinds[0].max()), 1e-12)
    for j, parts in enumerate(zip(*kinds, strict=True)):
        for column, values in enumerate(parts, 2):
            small = resize_map(values, height=min(SIDE, values.shape[0]), width=min(SIDE, values.shape[1]))
            z = np.log10(np.clip(small, top / 1000, None)).astype(np.float32)
            options = {
                "coloraxis": "coloraxis",
                "visible": j == len(mismatch.times) - 1,
                "hovertemplate": "%{customdata:.3g}<extra></extra>",
            }
            figure.add_heatmap(z=z, customdata=small.astype(np.float32), **options, row=1, col=column)
    figure.update_xaxes(visible=False, constrain="domain")
    figure.update_yaxes(visible=False, autorange="reversed", scaleanchor="x", constrain="domain")
    for column in (2, 3):
        figure.update_yaxes(scaleanchor=f"x{column}", row=1, col=column)
    ends = np.log10(top) - 3, np.log10(top)
    bar = {"tickvals": list(range(int(np.ceil(ends[0])), int(np.floor(ends[1])) + 1)), "title": "mismatch"}
    bar["ticktext"] = [f"{10.0**power:g}" for power in bar["tickvals"]]
    axis = {"colorscale": HEAT, "cmin": ends[0], "cmax": ends[1], "colorbar": bar}
    figure.update_layout(
        **LOOK, height=390, coloraxis=axis, sliders=[_slider(mismatch.times)], margin={"t": 40, "b": 10}
    )
    return Interactive(figure)


def turning_landscape(panels: dict[str, np.ndarray], grid: PlaneGrid) -> Interactive:
    """Scores ``(side, side)`` of the plane as mountains to be turned, one of ``panels`` at a time, by buttons."""
    figure, points = go.Figure(), grid.points().numpy()
    low, high = np.log10(SCALE)
    ticks = {"tickvals": [-1, 0, 1, 2], "ticktext": ["0.1", "1", "10", "100"]}
    for number, values in enumerate(panels.values()):
        z = np.clip(np.log10(np.maximum(values, SCALE[0])), low, high).astype(np.float32)
        axes = {"x": points[0, :, 0], "y": points[:, 0, 1], "z": z, "customdata": values.astype(np.float32)}
        colours = {"colorscale": HEAT, "cmin": low, "cmax": high, "colorbar": {**ticks, "title": "mismatch"}}
        told = "x %{x:.1f}, y %{y:.1f}: %{customdata:.3g}<extra></extra>"
        figure.add_surface(**axes, **colours, visible=number == len(panels) - 1, hovertemplate=told)
    buttons = [
        {"label": name, "method": "restyle", "args": ["visible", [i == j for j in range(len(panels))]]}
        for i, name in enumerate(panels)
    ]
    menu = {"type": "buttons", "direction": "right", "buttons": buttons, "active": len(panels) - 1, "x": 0, "y": 1.08}
    scene = {"zaxis": {"title": "mismatch", **ticks}, "aspectratio": {"x": 1, "y": 1, "z": 0.5}}
    figure.update_layout(
        **LOOK, height=560, updatemenus=[{**menu, "xanchor": "left"}], scene=scene, margin={"t": 60, "b": 0}
    )
    return Interactive(figure)


def _slider(times: np.ndarray) -> dict:
    """Shows two traces per time, after the one that is always there."""
    steps = [
        {
            "label": f"{t:.2f}",
            "method": "restyle",
            "args": ["visible", [True, *(i // 2 == j for i in range(2 * len(times)))]],
        }
        for j, t in enumerate(times)
    ]
    return {"steps": steps, "active": len(times) - 1, "currentvalue": {"prefix": "t = "}, "pad": {"t": 20}}
