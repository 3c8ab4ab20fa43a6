"""The pictures of the Decomposition tab: packs terms and maps that fmcore computed, the browser draws them.

``partial`` messages carry the terms and averaged maps so far; ``full`` adds the maps of every time, so that moving the
time slider needs no server; ``working`` is a line of progress.
"""

from __future__ import annotations

import json
from pathlib import Path

import gradio as gr
import numpy as np

from demo.common.component import component
from demo.common.messages import data_url, encode, pack, plain_message
from fmcore.decomposition.sampled import NAMES, Terms

ZERO = 128  # code of zero in a signed map; 1 and 255 are the ends of the scale and beyond

LAWS: dict[str, str] = {
    "image": "This picture alone",
    "noisy": "This picture with sensor noise",
    "empirical": "The test mix itself, exact",
    "gaussian": "Gaussian field learned on the mix",
    "network": "Network learned on the mix, 30 s",
}

# What is special about each law, in one or two sentences.
NOTES: dict[str, str] = {
    "image": (
        "A point mass: v_q = u on every path, so the mismatch is ‖E_p[x₁ | x_t] − y‖² / (1 − t)², "
        "a scaled one-step denoising residual."
    ),
    "noisy": "q = N(y, s²I) has an exact field: the denoising term is what no field can predict of the sensor noise.",
    "empirical": (
        "Exact, but in so many dimensions v_q knows at once which member of the mix a path leads to: except for t "
        "near 0 the denoising term vanishes, as for the picture alone."
    ),
    "gaussian": "v_q is learned from few unlabelled pictures: the cross term is its error, reported as it is.",
    "network": "v_q is a network trained on few unlabelled pictures: the cross term is its error, reported as it is.",
}
ONE_OF_MIX = "All paths end at this one picture"
ONE_OF_EXACT = f"{ONE_OF_MIX}, so its own cross term need not vanish: only the mean over the mix does."

CHART_TITLES: dict[str, str] = {
    "image": "One colour only: for a single picture all of the mismatch is Fisher term.",
    "noisy": "Look where vermilion outgrows light blue: the Fisher term tells good from bad.",
    "empirical": "Look at the first times: only there is any denoising term left.",
    "gaussian": "Look at the gray, the error of the learned v_q: where it is large, the other two mean little.",
    "network": "Look at the gray, the error of the learned v_q: where it is large, the other two mean little.",
}

SAYS = {
    "now-mismatch": "the sum of the three beside it.",
    "now-denoising": "what even the best field for q can't predict.",
    "now-fisher": "look for the defect here: where p and q differ.",
    "all-mismatch": "the heat map, as a mean over the paths.",
    "all-denoising": "the floor that every picture of q has.",
    "all-fisher": "the part that separates.",
}


def decomposition_viewer(**options) -> gr.HTML:
    """The component; its value is a message of this module, or of `demo.common.messages.plain_message`."""
    folder, look = Path(__file__).parent, {"zero": ZERO}
    return component(folder, scripts=("bars.js",), charts=True, value=plain_message("empty"), look=look, **options)


def working_message(run: str, name: str, text: str) -> str:
    """A line of progress, before there is a term to show."""
    return json.dumps({"kind": "working", "run": run, "name": name, "text": text})


def terms_message(
    terms: Terms,
    *,
    run: str,
    name: str,
    law: str,
    exact: bool,
    one_of_mix: bool,
    paths: int,
    total: int,
    exponent: float,
    least_scale: float,
    divergence: bool = False,
    closed_fisher: list[float] | None = None,
    image: np.ndarray | None = None,
    outline: np.ndarray | None = None,
    seen: str = "The picture",
) -> str:
    """Terms at the times so far, complete once they are ``total``.

    Args:
        exact: whether ``v_q`` is exact.
        one_of_mix: whether all paths end at one picture of a larger mix.
        paths: number of paths behind each estimate.
        least_scale: the colour scale ends there, or higher where the maps reach higher.
        divergence: whether both fields are exact, so that the Fisher term is the scaled Fisher divergence.
        closed_fisher: the Fisher term by time without draws, where known.
        image: ``(h, w, 3)`` uint8, in a picture's first message. outline: as from `demo.common.messages.outline`.
        seen: what the picture shown is.
    """
    full = len(terms.times) == total
    scale = terms.scale(exponent, least=least_scale)
    arrays = {f"all_{key}": _codes(key, maps[None], scale) for key, maps in terms.averaged(exponent).items()}
    if full:
        arrays |= {key: _codes(key, maps, scale) for key, maps in terms.weighted(exponent).items()}
    if outline is not None:
        arrays["outline"] = outline
    head = {
        "kind": "full" if full else "partial",
        "run": run,
        "name": name,
        "law": law,
        "note": " ".join([NOTES[law], *([ONE_OF_EXACT if exact else f"{ONE_OF_MIX}."] if one_of_mix else [])]),
        "image": None if image is None else data_url(image),
        "times": terms.times.tolist(),
        "total": total,
        "paths": paths,
        "values": {key: terms.values[key].tolist() for key in NAMES},
        "errors": {key: terms.errors[key].tolist() for key in NAMES},
        "posterior": None if terms.posterior is None else terms.posterior.tolist(),
        "divergence": _divergence(terms) if divergence else None,
        "closed_fisher": closed_fisher,
        "names": _names(exact and not one_of_mix),
        "says": SAYS | _law_says(exact, one_of_mix),
        "scale": scale,
        "scale_note": f"One scale for all eight maps: {_weight(exponent)} × each term, per pixel. "
        f"{_source(scale, least_scale)} The cross term can be negative: then the colours are blue.",
        "chart_title": CHART_TITLES[law],
        "seen": seen,
        "all_note": f"the mean over all times of {_weight(exponent)} × term. The same identity holds in every pixel.",
    }
    return pack(head, arrays)


def _divergence(terms: Terms) -> list[float]:
    return (terms.values["fisher"] * (terms.times / (1 - terms.times)) ** 2).tolist()


def _codes(name: str, maps: np.ndarray, scale: float) -> np.ndarray:
    if name != "cross":
        return encode(maps, scale)
    return (ZERO + np.rint(np.clip(maps / scale, -1, 1) * (ZERO - 1))).astype(np.uint8)


def _weight(exponent: float) -> str:
    return {0: "1", 1: "t", 2: "t²", 3: "t³"}.get(exponent, f"t^{exponent:g}")


def _names(zero_cross: bool) -> dict[str, str]:
    cross = "cross term, zero on average" if zero_cross else "cross term"
    return {
        "mismatch": "mismatch",
        "denoising": "denoising term of q",
        "fisher": "Fisher term between q and p",
        "cross": cross,
    }


def _law_says(exact: bool, one_of_mix: bool) -> dict[str, str]:
    if not exact:
        error = "the error of the learned v_q."
        return {"now-cross": error, "all-cross": error, "now-denoising": "what the learned v_q can't predict."}
    text = "this picture's share of a mean of zero." if one_of_mix else "chance alone: it averages to zero."
    return {"now-cross": text, "all-cross": text}


def _source(scale: float, least: float) -> str:
    if scale == least:
        return "It ends where it does for every picture of this model, so calm pictures stay dark."
    return "It ends at the 99 % quantile of this picture's averaged maps; brighter pixels are clipped (▸)."
