"""The programming interface of the Decomposition tab: `decompose`, typed, so that gradio documents it."""

from typing import Literal, TypedDict

import gradio as gr

from demo.common import checks
from demo.common.blocks import LONG_WORK
from demo.common.checks import plain_errors
from demo.common.text_files import files_as_text
from demo.decomposition import decompose as work
from demo.decomposition.request import ENDS, check_request
from demo.decomposition.view import LAWS

Law = Literal[tuple(LAWS)]
End = Literal[tuple(ENDS)]


class TermsAnswer(TypedDict):
    """Terms by time, summed over pixels and channels, and their standard errors; ``posterior`` is the denoising term in
    closed form where q is exact, ``closed_fisher`` the Fisher term where it is known without draws."""

    category: str
    law: str
    exact: bool
    ends: str
    paths: int
    times: list[float]
    mismatch: list[float]
    denoising: list[float]
    fisher: list[float]
    cross: list[float]
    errors: dict[str, list[float]]
    posterior: list[float] | None
    closed_fisher: list[float] | None
    settings: dict[str, int]


def build_api() -> None:
    """Add the endpoint; to be called inside ``gr.Blocks``."""
    queue = {key: value for key, value in LONG_WORK.items() if key.startswith("concurrency")}
    gr.api(decompose, api_name="decompose", **queue)


@plain_errors
@files_as_text
def decompose(
    category: str,
    pictures: list[gr.FileData] | None = None,
    example: int = 0,
    model: str = "gaussian",
    law: Law = "noisy",
    noise: float = 0.05,
    ends: End = "picture",
    samples: int = 8,
    times: int = 12,
    seed: int = 0,
) -> TermsAnswer:
    """Split the mismatch of a picture into denoising, Fisher and cross term.

    Args:
        category: of the model of good pictures.
        pictures: image files; the first is decomposed, all join the test mix. None: the example of this number.
        example: number of an example of the category, from 0.
        model: of good pictures, p: "unet" or "gaussian".
        law: the test law q.
        noise: standard deviation s of the law "noisy", above 0 and at most 0.5.
        ends: whether the paths end at the picture, or at every picture of the mix.
        samples: noise draws, 2 to 64.
        times: T, places along a path, 1 to 24.
        seed: of the draws.

    Returns:
        by time: mismatch, denoising, fisher, cross and their errors; settings
    """
    if pictures:
        checks.sent(pictures)
    request = check_request(pictures, example, model, category, law, noise, ends, samples, times, seed)
    *_, (_, token) = work.run_request(request, 2.0)
    return work.RESULTS.get(token).table()
