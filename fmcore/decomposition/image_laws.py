"""What a test law q can be for a picture, or for an unlabelled mix of test pictures, and the decomposition under it.

Pictures are what a view makes of them, ``(C, H, W)`` of any size and number of channels, and finite (else `DataError`).
Paths to *all* pictures of a mix give the identity of `fmcore.decomposition.sampled`. Paths to *one* picture, or to the
pictures of one group, show their share of each term: their own cross term need not vanish, even for the exact field of
the mix. Only its mean over the mix does."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from fmcore.decomposition.closed_form import GaussianTerms, gaussian_terms
from fmcore.decomposition.sampled import DecompositionSettings, DecompositionStep, decompose
from fmcore.errors import DataError, SettingsError
from fmcore.fields.empirical import EmpiricalField
from fmcore.fields.field import VelocityField
from fmcore.fields.gaussian import GaussianField, fit_gaussian
from fmcore.training.checkpoint import start_training
from fmcore.training.loop import TrainRecord, adopt_average, train
from fmcore.training.settings import TrainSettings

LawKind = Literal["image", "noisy", "empirical", "gaussian", "network"]


class Law(NamedTuple):
    """A test law q: its velocity field, and the pictures ``(N, C, H, W)`` that paths end at; None where the field
    itself is drawn from. ``exact`` says that ``field`` is ``E_q[u | x_t]`` of the law of these very pictures, so that
    the cross term over all of them is zero: neither learned, nor of a mix of which they are but one group."""

    kind: LawKind
    field: VelocityField
    images: Tensor | None
    exact: bool


def image_law(image: Tensor) -> Law:
    """The law of one picture ``(C, H, W)``, a point mass: denoising and cross term are zero on every path."""
    if not bool(image.isfinite().all()):
        raise DataError("A picture must consist of finite numbers.")
    return Law("image", GaussianField.isotropic(image, 0.0), None, exact=True)


def noisy_image_law(image: Tensor, noise: float) -> Law:
    """A picture ``(C, H, W)`` with independent noise of standard deviation s = ``noise`` in (0, 2] (`SettingsError`):
    of D numbers the denoising term is ``D s^2 / ((1 - t)^2 + t^2 s^2)``."""
    if not (isinstance(noise, int | float) and 0 < noise <= 2):
        raise SettingsError(f"Noise {noise!r} is not usable: it must be above 0 and at most 2.")
    return image_law(image)._replace(kind="noisy", field=GaussianField.isotropic(image, noise**2))


def empirical_law(images: Tensor) -> Law:
    """The uniform law on a mix ``(N, C, H, W)``, N >= 1, exact. In high dimension its softmax picks one picture for all
    t but the smallest: nearly a point mass at each."""
    return Law("empirical", EmpiricalField(images), images, exact=True)


def gaussian_law(images: Tensor, *, components: int = 100, seed: int = 0) -> Law:
    """The mix ``(N, C, H, W)`` as seen by a Gaussian field that was fitted to it; raises `DataError` for N < 2."""
    return Law("gaussian", fit_gaussian(images, components=components, seed=seed), images, exact=False)


def network_law(images: Tensor, network: nn.Module, settings: TrainSettings) -> Iterator[tuple[TrainRecord, Law]]:
    """The mix ``(N, C, H, W)`` as seen by ``network``, which is trained on it meanwhile: each record of the training
    beside the law, whose field is finished with the last one."""
    law, state = Law("network", network, images, exact=False), start_training(network)
    for record in train(state, images, torch.zeros(len(images), dtype=torch.long), settings):
        if record.progress == 1:
            adopt_average(state)
        yield record, law


def decompose_law(
    p: VelocityField, law: Law, settings: DecompositionSettings, *, image: Tensor | None = None
) -> Iterator[DecompositionStep]:
    """`decompose` under a law, for paths to the picture ``image`` ``(C, H, W)``; None: to the data of q, which is
    ``settings.samples`` paths, for a mix rounded up to as many for every picture (`path_count`).

    The standard errors count the noise draws and, for a noisy law, its data draws. ``posterior`` is None where it isn't
    the denoising term's expectation: for laws that are not exact, and for paths to one picture."""
    ends = law.images
    if image is not None:
        ends = image.expand(settings.samples, *image.shape)
    elif ends is not None:
        ends = ends.repeat_interleave(path_count(law, settings) // len(ends), dim=0)
    for step in decompose(p, law.field, settings, samples=ends):
        yield step if law.exact and image is None else replace(step, posterior=None)


def path_count(law: Law, settings: DecompositionSettings, *, image: Tensor | None = None) -> int:
    """How many paths `decompose_law` draws with these arguments."""
    if image is not None or law.images is None:
        return settings.samples
    return len(law.images) * math.ceil(settings.samples / len(law.images))


def exact_terms(p: VelocityField, law: Law, times: Iterable[float]) -> list[GaussianTerms] | None:
    """The terms at these times in closed form: for a Gaussian ``p`` and the law of a picture, alone or with noise. None
    otherwise."""
    if not isinstance(p, GaussianField) or law.kind not in ("image", "noisy"):
        return None
    return [gaussian_terms(p, law.field, t) for t in times]
