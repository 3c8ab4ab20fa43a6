"""Other detectors: what the mismatch has to be better than.

``fit_...`` make them from normal tensors ``(N, C, H, W)`` of any view, on their device, without noise or flow;
``train_...`` train a small network on these (sides of at least 4), and yield a record per step; the last one carries
the detector.
The others are rivals on the very velocity field that the mismatch uses; two of these put the image on the path at
``t = 3/4``, the mean time under the method's own weight ``t^2``: no time is chosen on data.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fmcore.data import Progress
from fmcore.errors import TrainingError
from fmcore.fields.field import VelocityField
from fmcore.fields.gaussian import GaussianField, fit_gaussian
from fmcore.fields.place_gaussian import PlaceGaussianField
from fmcore.mismatch import HeatSettings, Mismatch, PathSettings, gap, mismatch_steps
from fmcore.path import draw_noise, interpolate

# One image (C, H, W), as its view gives it, -> map (H, W) float32, non-negative, not smoothed, higher where anomalous.
Detector = Callable[[Tensor], np.ndarray]
TIME = 0.75
LEARNING_RATE = 1e-3


def squared_error(image: Tensor, other: Tensor) -> np.ndarray:
    """``sum over channels of (image - other)^2`` of ``(..., C, H, W)``, averaged over leading axes: ``(H, W)``."""
    error = (image - other).float().square().sum(-3)
    return error.reshape(-1, *error.shape[-2:]).mean(0).cpu().numpy()


def fit_mahalanobis(images: Tensor) -> Detector:
    """One Gaussian of whole images, N >= 2: principal components plus isotropic rest."""
    return mahalanobis(fit_gaussian(images.cpu()).to(images.device))


def fit_place_mahalanobis(images: Tensor) -> Detector:
    """A Gaussian of the C channels at every place on its own, N >= 2, with a variance of 0.01 on top: in feature maps
    PaDiM-like (Defard et al. 2021), in pixels a Gaussian of each pixel's colour."""
    return mahalanobis(PlaceGaussianField.fit(images.cpu(), shrinkage=0.0).to(images.device))


def mahalanobis(field: GaussianField | PlaceGaussianField) -> Detector:
    """``|S^{-1/2} (y - m)|^2`` summed over channels: over the image it sums to the squared distance."""
    return torch.inference_mode()(lambda image: squared_error(field.whiten(image[None], 1.0), image.new_zeros(())))


def fit_nearest(images: Tensor) -> Detector:
    """Squared distance at each place to the normal image that is nearest as a whole."""
    return lambda image: squared_error(images[(images - image).square().flatten(1).sum(1).argmin()], image)


def fit_nearest_patch(images: Tensor, *, size: int = 2000, pool: int = 20_000, seed: int = 0) -> Detector:
    """Squared distance of the vector at each place to the nearest of a coreset of those at any place of normal feature
    maps: PatchCore-like (Roth et al. 2022), without its reweighting. Its ``size`` vectors are each the one farthest
    from all before (greedy k-centre) in a random ``pool``, far fewer than PatchCore's."""
    places = images.flatten(2)
    drawn = torch.randperm(len(images) * places.shape[2], generator=torch.Generator().manual_seed(seed))[:pool]
    vectors = places[drawn // places.shape[2], :, drawn % places.shape[2]]
    chosen, least = [0], torch.full((len(vectors),), torch.inf, device=images.device)
    for _ in range(min(size, len(vectors)) - 1):
        least = torch.minimum(least, (vectors - vectors[chosen[-1]]).square().sum(1))
        chosen.append(int(least.argmax()))
    coreset = vectors[chosen]
    return lambda image: torch.cdist(image.flatten(1).T, coreset).amin(1).square().view(image.shape[1:]).cpu().numpy()


def one_step(field: VelocityField, image: Tensor, *, t: float = TIME, paths: int = 48, seed: int = 0) -> np.ndarray:
    """``|E[x1 | x_t] - y|^2`` with ``E[x1 | x_t] = x_t + (1 - t) v``, mean over ``paths`` noise draws: ``(1 - t)^2``
    times the mean mismatch of that time. The aggregation alone separates it from the method."""
    noise = draw_noise(paths, tuple(image.shape), seed).to(image.device)
    with torch.inference_mode():
        gaps = torch.cat([gap(field, image, x0, t) for x0 in noise.split(16)])
    return squared_error((1 - t) * gaps, gaps.new_zeros(()))


def reconstruction(
    field: VelocityField, image: Tensor, *, start: float = TIME, steps: int = 12, paths: int = 4, seed: int = 0
) -> np.ndarray:
    """``|y_hat - y|^2``, mean over ``paths``: the image is noised to the time ``start`` and integrated back to 1."""
    noise = draw_noise(paths, tuple(image.shape), seed).to(image.device)
    return squared_error(integrate(field, interpolate(noise, image, start), start, 1.0, steps), image)


def time_reversed(field: VelocityField, image: Tensor, *, steps: int = 48, start: float = 0.999) -> np.ndarray:
    """``|z|^2`` with ``z = y + integral from 1 to 0 of v dt``, from ``start`` as fields may fail at 1 itself: for the
    field of ``N(m, S)`` the squared Mahalanobis distance."""
    return squared_error(integrate(field, image[None], start, 0.0, steps), image.new_zeros(()))


def on_field(kind: str, field: VelocityField, paths: PathSettings, heat: HeatSettings, seed: int) -> Detector:
    """One of `ON_FIELD`, with no more calls of the field than the mismatch makes (where that is exact, than with 4
    draws)."""
    draws = paths.paths or 4
    return {
        "mismatch": lambda image: Mismatch.collect(mismatch_steps(field, image, paths)).heatmap(heat),
        "one-step": partial(one_step, field, paths=draws * paths.times, seed=seed),
        "reconstruction": partial(reconstruction, field, steps=paths.times, paths=draws, seed=seed),
        "time-reversed": partial(time_reversed, field, steps=draws * paths.times),
    }[kind]


def integrate(field: VelocityField, x: Tensor, start: float, end: float, steps: int) -> Tensor:
    """State at time ``end`` of ``dx/dt = v(x, t)`` from ``x`` ``(B, *shape)`` at ``start``, in either direction: Euler
    steps, which never call the field at ``end``."""
    width = (end - start) / steps
    with torch.inference_mode():
        for step in range(steps):
            x = x + width * field(x, start + step * width)
    return x


def train_autoencoder(images: Tensor, *, seed: int = 0, **budget) -> Iterator[Progress]:
    """What a narrow code cannot reproduce is anomalous (after Bergmann et al. 2019). ``budget`` and errors are those of
    `train_network`."""
    channels, *sides = images.shape[1:]
    network = autoencoder(channels, channels, sides, seed)
    yield from train_network(network, lambda y, generator: F.mse_loss(network(y), y), images, seed=seed, **budget)
    yield Progress(100, 100, result=lambda image: squared_error(network(image[None]), image))


def train_tccm(images: Tensor, *, seed: int = 0, **budget) -> Iterator[Progress]:
    """TCCM-style (Time-Conditioned Contraction Matching, Li et al., NeurIPS 2025, arXiv 2510.18328, for tabular data):
    ``f(z, t)`` is trained on normal data to give ``-z`` at ``t ~ U(0, 1)``, with squared error; the score is the
    deviation at one time, ``|| f(z, 1) + z ||``. Ours: the small dense network becomes the `autoencoder` with time as
    one more channel, and the origin is the mean normal image. Otherwise as `train_autoencoder`."""
    channels, *sides = images.shape[1:]
    network, mean = autoencoder(channels + 1, channels, sides, seed), images.mean(0)

    def contract(z: Tensor, t: Tensor) -> Tensor:
        return network(torch.cat([z, t.view(-1, 1, 1, 1).expand(-1, 1, *sides)], 1))

    def loss(batch: Tensor, generator: torch.Generator) -> Tensor:
        z = batch - mean
        return (contract(z, torch.rand(len(batch), generator=generator).to(z.device)) + z).square().mean()

    yield from train_network(network, loss, images, seed=seed, **budget)
    yield Progress(100, 100, result=lambda y: squared_error(contract((y - mean)[None], y.new_ones(1)), mean - y))


def autoencoder(inputs: int, outputs: int, sides: Sequence[int], seed: int) -> nn.Sequential:
    """``(B, inputs, H, W) -> (B, outputs, H, W)``, sides of at least 4: down to at least 8 cells on the shorter side,
    a code of 16 channels there, and back. The initial weights depend on ``seed`` alone."""
    widths = [32 * min(4, 2**level) for level in range(max(1, min(sides).bit_length() - 3))]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers = [nn.Conv2d(inputs, widths[0], 3, padding=1), nn.SiLU()]
        for a, b in itertools.pairwise(widths):
            layers += [nn.Conv2d(a, b, 4, stride=2, padding=1), nn.SiLU()]
        layers += [nn.Conv2d(widths[-1], 16, 1), nn.Conv2d(16, widths[-1], 1), nn.SiLU()]
        for a, b in itertools.pairwise(widths[::-1]):
            layers += [nn.Upsample(scale_factor=2), nn.Conv2d(a, b, 3, padding=1), nn.SiLU()]
        return nn.Sequential(*layers, nn.Upsample(size=tuple(sides)), nn.Conv2d(widths[0], outputs, 3, padding=1))


def train_network(
    network: nn.Module,
    loss: Callable[[Tensor, torch.Generator], Tensor],
    images: Tensor,
    *,
    minutes: float = 3.0,
    steps: int | None = None,
    batch: int = 16,
    seed: int = 0,
) -> Iterator[Progress]:
    """Minimise ``loss(batch, generator)`` over images by AdamW with a cosine over the budget: ``steps``, or else
    ``minutes``, of which the last step may run over. Yields a record per step, in per cent of the budget, whose result
    is the loss. The same steps and seed give the same bits. Raises `TrainingError` if the loss is no longer finite."""
    network.train().to(images.device)
    optimizer = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE, weight_decay=1e-4)
    started, step, spent = time.perf_counter(), 0, 0.0
    while spent < 1:
        optimizer.param_groups[0]["lr"] = LEARNING_RATE * 0.5 * (1 + math.cos(math.pi * spent))
        generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
        value = loss(images[torch.randint(len(images), (batch,), generator=generator)], generator)
        if not math.isfinite(number := float(value.detach())):
            raise TrainingError(f"The loss became {number} at step {step + 1}: check the images for extreme values.")
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        step += 1
        spent = min(1.0, step / steps if steps else (time.perf_counter() - started) / (60 * minutes))
        yield Progress(round(100 * spent), 100, result=number)
    network.eval().requires_grad_(False)


ON_FIELD = ("mismatch", "one-step", "reconstruction", "time-reversed")
CLOSED = {
    "mahalanobis": fit_mahalanobis,
    "place-mahalanobis": fit_place_mahalanobis,
    "nearest": fit_nearest,
    "nearest-patch": fit_nearest_patch,
}
TRAINED = {"autoencoder": train_autoencoder, "tccm": train_tccm}
