"""The decomposition: terms by time, maps of every term on one scale, identities against their error."""

from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import LinearSegmentedColormap, Normalize

from figures.pictures import Panel, picture_grid
from figures.style import COLOURS, HEAT, INK, SOFT, Figure, headline
from fmcore.decomposition.laws import IdentityCheck
from fmcore.decomposition.sampled import Terms

TERMS = {  # label, colour, line, mark
    "mismatch": ("mismatch", INK, "-", "D"),
    "denoising": ("denoising term", COLOURS["denoising_term"], "-", "o"),
    "fisher": ("Fisher term", COLOURS["fisher_term"], "-", "^"),
    "cross": ("cross term", SOFT, ":", "s"),
}


def terms_record(terms: Terms, dimensions: int, n: int) -> dict:
    """Plain numbers of a decomposition, per pixel and channel, and how many images or paths they rest on."""
    values = {name: (terms.values[name] / dimensions).round(6).tolist() for name in TERMS}
    errors = {name: (terms.errors[name] / dimensions).round(6).tolist() for name in TERMS}
    return {"n": n, "times": terms.times.round(6).tolist(), **values, "errors": errors}


def terms_chart(groups: dict[str, dict], title: str = "", columns: int = 2) -> Figure:
    """Terms of each of the `terms_record` against t, with bars of two standard errors; rows share their scale."""
    columns = min(columns, len(groups))
    rows = -(-len(groups) // columns)
    figure = Figure(figsize=(4.5 * columns, 3.0 * rows))
    grid = figure.subplots(rows, columns, squeeze=False, sharey="row").ravel()
    for axes, (name, group) in zip(grid, groups.items(), strict=False):
        for term, (label, colour, line, _) in TERMS.items():
            reach = 2 * np.array(group["errors"][term])
            axes.errorbar(group["times"], group[term], reach, fmt=line, color=colour, label=label, lw=1.6, capsize=2)
        axes.axhline(0, color=SOFT, lw=0.6)
        axes.set(title=f"{name} (n = {group['n']})", xlabel="t", ylabel="per pixel and channel")
    grid[0].legend(fontsize=8)
    for axes in grid[len(groups) :]:
        axes.remove()
    headline(figure, title)
    return figure


def checks_figure(checks: dict[str, Sequence[IdentityCheck]], title: str) -> Figure:
    """Deviation of each identity in standard errors, one panel per case; the band is three of them."""
    figure = Figure(figsize=(3.1 * len(checks), 3.0))
    panels = figure.subplots(1, len(checks), sharey=True, squeeze=False)[0]
    most = max(4.0, *(abs(check.deviation) for found in checks.values() for check in found))
    for axes, (case, found) in zip(panels, checks.items(), strict=True):
        axes.axhspan(-3, 3, color=COLOURS["normal"], alpha=0.12, lw=0)
        for name, (_, colour, _, mark) in TERMS.items():
            mine = [check for check in found if check.name == name]
            axes.plot([c.t for c in mine], [c.deviation for c in mine], mark, color=colour, ms=5, label=name)
        axes.set(title=case, xlabel="t", xlim=(0, 1))
        axes.set_yscale("symlog", linthresh=4) if most > 12 else axes.set_ylim(-1.15 * most, 1.15 * most)
    panels[0].set_ylabel("left − right, standard errors")
    panels[-1].legend(fontsize=8, loc="best")
    headline(figure, title)
    return figure


def term_maps(picture: Panel, terms: Terms, exponent: float, title: str, shown: Sequence[int] = ()) -> Figure:
    """The picture, and below one another its ``t^r``-weighted terms at chosen times and over all t, on one scale; a
    term is blue where negative."""
    weighted, averaged, top = terms.weighted(exponent), terms.averaged(exponent), terms.scale(exponent)
    rows = [("", [picture])]
    rows += [(f"t = {terms.times[i]:.2f}", [Panel(weighted[name][i], TERMS[name][0]) for name in TERMS]) for i in shown]
    rows.append(("over all t", [Panel(averaged[name], TERMS[name][0]) for name in TERMS]))
    label = f"$t^{{{exponent:g}}}$ × term, per pixel"
    return picture_grid(rows, norm=Normalize(-top, top), colours=signed_colours(), label=label, title=title)


def signed_colours() -> LinearSegmentedColormap:
    """The heat colours above zero, the same lightness in blues below; zero is black."""
    above = colormaps[HEAT](np.linspace(0, 1, 256))[:, :3]
    below = np.stack([above[:, 1], (above[:, 0] + above[:, 1]) / 2, above[:, 0]], 1)
    return LinearSegmentedColormap.from_list("signed", np.concatenate([below[::-1], above]), N=511)
