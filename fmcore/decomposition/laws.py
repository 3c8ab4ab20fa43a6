"""What a test law q can be for a picture, or for a mix of test pictures, and the decomposition under it.

========== ==================================== ================================================================
law        its field                            what to expect
========== ==================================== ================================================================
image      exact: a point mass at the picture   denoising and cross term are zero on every path; the mismatch is
                                                the one-step denoising residual ``||E_p[x1|x_t] - y||^2/(1-t)^2``
noisy      exact: ``N(y, s^2 I)``               denoising ``D s^2 / ((1-t)^2 + t^2 s^2)``, cross zero on average
empirical  exact: softmax over the mix          in high dimension the softmax picks the nearest member except for
                                                t near 0: denoising -> 0, nearly a point mass on each picture
gaussian   learned: Gaussian fitted to the mix  a cross term, the error of the learned field
network    learned: `VelocityUNet` on the mix   the same, smaller the better the network
========== ==================================== ================================================================

The mix is unlabelled: good and defective pictures together. Two kinds of paths can be asked about. Paths to
*all* data of q give the identity of `fmcore.decomposition.decomposition`. Paths to *one* picture of a mix show that picture's
share of each term; its own cross term need not vanish, even for the exact field: only its mean over the mix does.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from fmcore.decomposition.decomposition import DecompositionSettings, DecompositionStep, decompose
from fmcore.decomposition.gaussian_terms import GaussianTerms, gaussian_terms
from fmcore.detector.fit import FEWEST, fit
from fmcore.detector.settings import FitSettings
from fmcore.errors import DataError, SettingsError
from fmcore.fields.empirical import EmpiricalField
from fmcore.fields.exact import ExactField
from fmcore.fields.gaussian import GaussianField, fit_gaussian
from fmcore.mismatch.mismatch import VelocityField

LawKind = Literal["image", "noisy", "empirical", "gaussian", "network"]
MIX = "mix"  # the one category of a network that learned a mix


@dataclass(frozen=True)
class Law:
    """A test law q: its velocity field, and the images it is the law of.

    ``images`` ``(N, C, H, W)`` are the data that paths end at; None where the field itself is drawn from.
    ``exact`` says that ``field`` is ``E_q[u | x_t]``, so that the cross term over all data is zero.
    """

    kind: LawKind
    field: VelocityField
    images: Tensor | None
    exact: bool


@dataclass(frozen=True)
class LawRecord:
    """Progress of learning a law: ``done`` of ``total`` in this ``stage``; the last record carries the law."""

    stage: str
    done: int
    total: int
    law: Law | None = None


def image_law(image: Tensor) -> Law:
    """The law of one picture ``(C, H, W)`` and nothing else: a point mass.

    Raises:
        DataError: for values that are not finite.
    """
    return Law("image", EmpiricalField(image[None]), image[None], exact=True)


def noisy_image_law(image: Tensor, noise: float) -> Law:
    """A picture ``(C, H, W)`` with independent sensor noise of standard deviation ``noise``, in units of [-1, 1].

    Raises:
        SettingsError: for noise outside (0, 2]. DataError: for values that are not finite.
    """
    if not (isinstance(noise, int | float) and 0 < noise <= 2):
        raise SettingsError(f"Noise {noise!r} is not usable: it must be above 0 and at most 2, in units of [-1, 1].")
    if not bool(torch.isfinite(image).all()):
        raise DataError("A picture must consist of finite numbers.")
    return Law("noisy", _gaussian_at(image, float(noise)), None, exact=True)


def empirical_law(images: Tensor) -> Law:
    """The uniform law on the pictures of a mix ``(N, C, H, W)``, exact.

    Raises:
        DataError: for no pictures, or values that are not finite.
    """
    return Law("empirical", EmpiricalField(images), images, exact=True)


def gaussian_law(images: Tensor, *, components: int = 100, seed: int = 0) -> Law:
    """The mix ``(N, C, H, W)``, N >= 2, as seen by a Gaussian field that was fitted to it.

    Raises:
        DataError: for fewer than two pictures.
    """
    return Law("gaussian", fit_gaussian(images, components=components, seed=seed), images, exact=False)


def network_law(images: Tensor, settings: FitSettings, *, device: str = "cpu") -> Iterator[LawRecord]:
    """The mix ``(N, C, size, size)`` as seen by a network trained on it with ``settings``; some pictures are
    held out of the training, as always in `fmcore.detector.fit.fit`. Always from white noise and without synthetic
    defects: the decomposition needs the velocity field of the mix itself.

    Raises:
        DataError: for fewer than three pictures. TrainingError: if the loss is no longer finite.
    """
    if len(images) < FEWEST:
        raise DataError(f"A network needs at least {FEWEST} pictures of the mix, but {len(images)} are given.")
    plan = settings.replace(field="unet", size=images.shape[-1], calibration_images=1, source="white", defects=0.0)
    with closing(fit({MIX: images}, plan, device=device)) as records:
        for record in records:
            law = None
            if record.model is not None:
                law = Law("network", record.model.field(MIX), images, exact=False)
            yield LawRecord(record.stage, record.done, record.total, law)


def decompose_law(
    p: VelocityField, law: Law, settings: DecompositionSettings, *, image: Tensor | None = None
) -> Iterator[DecompositionStep]:
    """`decompose` under a law.

    Args:
        p: field of the normal law.
        law: the test law q.
        settings: ``samples`` is the number of paths; for a mix it is rounded up to a multiple of N, so that
            every picture gets as many paths as the others.
        image: a picture ``(C, H, W)``: all paths end there. None: they end at the data of q.

    Yields:
        The steps; the standard errors count the noise draws and, for a noisy law, its data draws. For paths to
        given pictures these pictures are fixed. ``posterior`` is None where it isn't the denoising term's
        expectation: for learned laws, and for paths to one picture of a mix.
    """
    steps = decompose(p, law.field, settings, samples=_ends(law, settings.samples, image))
    whole = image is None or law.kind == "image"
    for step in steps:
        yield step if law.exact and whole else replace(step, posterior=None)


def path_count(law: Law, settings: DecompositionSettings, *, image: Tensor | None = None) -> int:
    """How many paths `decompose_law` draws with these arguments."""
    if image is not None or law.images is None:
        return settings.samples
    return len(law.images) * _repeats(law, settings.samples)


def exact_terms(p: VelocityField, law: Law, times: Iterable[float]) -> list[GaussianTerms] | None:
    """The terms at these times in closed form, without draws, where there is one: for a Gaussian ``p`` and the law
    of a picture, alone or with sensor noise. None otherwise."""
    if not isinstance(p, GaussianField) or law.kind not in ("image", "noisy"):
        return None
    q = law.field if law.kind == "noisy" else _gaussian_at(law.images[0], 0.0)  # a point mass has no spread
    return [gaussian_terms(p, q, t) for t in times]


def _gaussian_at(image: Tensor, noise: float) -> GaussianField:
    none = image.new_zeros(0)
    return GaussianField(image, none.view(0, image.numel()), none, noise**2)


def _ends(law: Law, count: int, image: Tensor | None) -> Tensor | None:
    if image is not None:
        return image.expand(count, *image.shape).contiguous()
    if law.images is None:
        if not isinstance(law.field, ExactField):
            raise SettingsError("A law without images needs an exact field, which can be drawn from.")
        return None
    return law.images.repeat_interleave(_repeats(law, count), dim=0)


def _repeats(law: Law, count: int) -> int:
    return math.ceil(count / len(law.images))
