"""Pictures of the decomposition: stacked bars by time, maps of every term on one scale, checks against their error."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.lines import Line2D

from fmcore.decomposition.gaussian_terms import GaussianTerms
from fmcore.decomposition.identities import IdentityCheck
from fmcore.decomposition.terms import NAMES, Terms
from nbtools.look import COLOURS, SOFT, Figure
from nbtools.tables import Table

GRAY = "#8c8c8c"
TERM_COLOURS = {"denoising": COLOURS["denoising_term"], "fisher": COLOURS["fisher_term"], "cross": GRAY}


def checks_figure(checks: dict[str, Sequence[IdentityCheck]], title: str) -> Figure:
    """Deviation of each identity in standard errors, one panel per case; the band is three of them."""
    figure = Figure(figsize=(3.1 * len(checks), 3.0))
    panels = figure.subplots(1, len(checks), sharey=True, squeeze=False)[0]
    marks = {"cross": (GRAY, "s"), "denoising": (COLOURS["denoising_term"], "o")}
    marks |= {"fisher": (COLOURS["fisher_term"], "^"), "mismatch": (COLOURS["predicted_velocity"], "D")}
    most = max(4.0, *(abs(check.deviation) for found in checks.values() for check in found))
    for axes, (case, found) in zip(panels, checks.items(), strict=True):
        axes.axhspan(-3, 3, color=COLOURS["normal"], alpha=0.12, lw=0)
        for name, (colour, mark) in marks.items():
            mine = [check for check in found if check.name == name]
            axes.plot([c.t for c in mine], [c.deviation for c in mine], mark, color=colour, ms=5, label=name)
        axes.set(title=case, xlabel="t", xlim=(0, 1))
        axes.set_yscale("symlog", linthresh=4) if most > 12 else axes.set_ylim(-1.15 * most, 1.15 * most)
    panels[0].set_ylabel("left − right, standard errors")
    panels[-1].legend(fontsize=8, loc="best")
    figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold")
    return figure


def bars(groups: dict[str, Terms], title: str, n: dict[str, int]) -> Figure:
    """Stacked terms by time as a share of the mismatch, one panel per group; the cross term below zero where it is
    negative, whiskers are one standard error."""
    figure = Figure(figsize=(4.3 * len(groups), 3.2))
    panels = figure.subplots(1, len(groups), sharey=True, squeeze=False)[0]
    for axes, (name, terms) in zip(panels, groups.items(), strict=True):
        unit = 100 / terms.values["mismatch"]
        width = 0.62 / (len(terms.times) + 1)
        up = np.zeros(len(terms.times))
        for index, (term, colour) in enumerate(TERM_COLOURS.items()):
            share, error = terms.values[term] * unit, terms.errors[term] * unit
            base = np.where(share < 0, 0, up)
            axes.bar(terms.times, share, width, bottom=base, color=colour)
            at = terms.times + (index - 1) * width / 4
            axes.errorbar(at, base + share, error, fmt="none", ecolor="#222222", elinewidth=0.9)
            up += np.maximum(share, 0)
        axes.hlines(
            np.full(len(up), 100.0), terms.times - width * 0.6, terms.times + width * 0.6, color="#222222", lw=1.6
        )
        axes.axhline(0, color=SOFT, lw=0.8)
        axes.set(title=f"{name}, n = {n[name]} paths", xlabel="t, from noise (0) to data (1)", xlim=(0, 1))
    panels[0].set_ylabel("% of the mismatch at t")
    keys = [Line2D([], [], color=colour, lw=6) for colour in TERM_COLOURS.values()] + [Line2D([], [], color="#222222")]
    figure.legend(keys, ["denoising", "Fisher", "cross", "mismatch"], loc="outside lower center", ncols=4, fontsize=9)
    figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold")
    return figure


def term_maps(
    picture: np.ndarray, mask: np.ndarray | None, terms: Terms, exponent: float, title: str, shown: Sequence[int] = ()
) -> Figure:
    """The picture ``(h, w, 3)``, and below one another its ``t^r``-weighted terms at chosen times and over all t, on
    one scale; the cross term is blue where negative."""
    rows = [*shown, None]
    weighted, averaged, top = terms.weighted(exponent), terms.averaged(exponent), terms.scale(exponent)
    figure = Figure(figsize=(9.2, 1.85 * len(rows) + 0.5))
    grid = figure.subplots(len(rows), 5, squeeze=False)
    for axes in grid.ravel():
        axes.set_axis_off()
    grid[0, 0].imshow(picture)
    if mask is not None:
        grid[0, 0].contour(mask, levels=[0.5], colors="white", linewidths=1)
    grid[0, 0].set_title("picture", fontsize=9)
    image = None
    for line, index in zip(grid, rows, strict=True):
        when = "over all t" if index is None else f"t = {terms.times[index]:.2f}"
        for axes, name in zip(line[1:], NAMES, strict=True):
            values = averaged[name] if index is None else weighted[name][index]
            image = axes.imshow(values, cmap=signed_colours(), vmin=-top, vmax=top)
            axes.set_title(f"{name.replace('fisher', 'Fisher')}, {when}", fontsize=9)
    label = f"$t^{{{exponent:g}}}$ × term, per pixel"
    figure.colorbar(image, ax=grid, shrink=0.7, pad=0.01, extend="both").set_label(label)
    figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold")
    return figure


def fisher_pairs(rows: Sequence[tuple[np.ndarray, np.ndarray | None, np.ndarray, np.ndarray]], title: str) -> Figure:
    """Pictures with outline, mismatch map and Fisher map, one column each, all maps on one scale."""
    figure = Figure(figsize=(1.7 * len(rows) + 1.0, 5.3))
    grid = figure.subplots(3, len(rows), squeeze=False)
    # The median picture's peak: a single glaring defect must not darken all the others.
    top = float(np.median([values.max() for row in rows for values in row[2:]]))
    for column, (picture, mask, *maps) in zip(grid.T, rows, strict=True):
        for axes, values in zip(column, (picture, *maps), strict=True):
            image = axes.imshow(values, cmap="inferno", vmin=0, vmax=top)
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
        if mask is not None:
            column[0].contour(mask, levels=[0.5], colors="white", linewidths=1)
    for axes, name in zip(grid[:, 0], ("picture", "mismatch", "Fisher term"), strict=True):
        axes.set_ylabel(name)
    figure.colorbar(image, ax=grid, shrink=0.6, extend="max").set_label("weighted mean over t")
    figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold")
    return figure


def closed_table(times: Sequence[float], exact: Sequence[GaussianTerms], terms: Terms) -> Table:
    """Closed forms of one time per row, with what sampling made of them beside."""
    rows = []
    for j, (t, one) in enumerate(zip(times, exact, strict=True)):
        cells = [f"{t:.2f}"]
        for name in ("mismatch", "denoising", "fisher"):
            value, error = terms.values[name][j], terms.errors[name][j]
            cells.append(f"{getattr(one, name):.2f} ({value:.2f} ± {error:.2f})")
        cells += [f"{t**2 * one.fisher:.4g}", f"{(1 - t) ** 2 * one.fisher_divergence:.4g}"]
        rows.append(cells)
    head = ["t", "mismatch", "denoising", "Fisher", "t² · Fisher", "(1 − t)² · divergence"]
    return Table(head, rows, "Closed form, and in brackets what sampling gives ± one standard error.")


def auroc_table(results: dict[str, dict]) -> Table:
    """Image and pixel AUROC of the mismatch and of the Fisher map for each q; ``n/a`` where undefined."""
    rows = []
    for name, result in results.items():
        for kind in ("mismatch", "fisher"):
            figures = [result[kind][key] for key in ("image_auroc", "pixel_auroc")]
            rows.append([name, kind, *("n/a" if value is None else f"{value:.3f}" for value in figures)])
    return Table(["q", "map", "image AUROC", "pixel AUROC"], rows, text_columns=2)


def signed_colours() -> LinearSegmentedColormap:
    """Inferno above zero, the same lightness in blues below; zero is black."""
    from matplotlib import colormaps

    above = colormaps["inferno"](np.linspace(0, 1, 256))[:, :3]
    below = np.stack([above[:, 1], (above[:, 0] + above[:, 1]) / 2, above[:, 0]], 1)
    return LinearSegmentedColormap.from_list("signed", np.concatenate([below[::-1], above]), N=511)
