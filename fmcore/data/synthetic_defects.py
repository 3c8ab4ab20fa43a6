"""Plausible defects pasted onto any normal images, with masks: what settings are chosen on instead of test labels.

Five kinds, all drawn from the images themselves or from simple brushes, none made for a data set: ``scratch``,
``stain``, ``foreign`` (a piece of another place of another image), ``missing`` (a piece filled with what
surrounds it, or with the background) and ``warp`` (a local displacement). Sizes and strengths reach from hardly
visible to plain, so that a detector is neither perfect nor blind on them. They are a stand-in: the best setting on
them need not be the best on real defects, and `fmcore.evaluation.benchmark` reports what the difference costs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from fmcore.data.rendered.defects import blob, curve, taper
from fmcore.data.rendered.raster import Stencil, smooth_noise
from fmcore.errors import DataError, SettingsError

KINDS = ("scratch", "stain", "foreign", "missing", "warp")
_VISIBLE = 16 / 255  # smallest change, in any channel of [0, 1], that belongs to the mask
_ATTEMPTS = 40


@dataclass(frozen=True)
class SyntheticDefects:
    """Defective copies of normal images: ``images`` ``(M, C, H, W)`` in [-1, 1], ``masks`` ``(M, H, W)`` bool, the
    ``kinds`` and the index of the ``sources`` of each."""

    images: Tensor
    masks: np.ndarray
    kinds: tuple[str, ...]
    sources: tuple[int, ...]


def paste_defects(images: Tensor, *, per_image: int = 5, seed: int = 0) -> SyntheticDefects:
    """``per_image`` defective copies of each image, the kinds in turn.

    Args:
        images: ``(N, C, H, H)`` square normal images in [-1, 1].
        per_image: copies of each image, at least 1.

    Raises:
        DataError: for an empty batch. SettingsError: for a count below one.
    """
    if not len(images):
        raise DataError("Synthetic defects need at least one normal image: add good images.")
    if per_image < 1:
        raise SettingsError(f"Setting 'per_image' = {per_image} is not usable: it must be at least 1.")
    made, masks, kinds, sources = [], [], [], []
    for index, image in enumerate(images):
        for copy in range(per_image):
            kind = KINDS[(index * per_image + copy) % len(KINDS)]
            donor = images[(index + 1 + copy) % len(images)]
            defective, mask = paste_defect(image, kind, donor=donor, seed=(seed * 100_003 + index) * 1_009 + copy)
            made.append(defective)
            masks.append(mask)
            kinds.append(kind)
            sources.append(index)
    return SyntheticDefects(torch.stack(made), np.stack(masks), tuple(kinds), tuple(sources))


def paste_defect(image: Tensor, kind: str, *, seed: int, donor: Tensor | None = None) -> tuple[Tensor, np.ndarray]:
    """One defective copy and its mask; the same arguments give the same bits.

    Args:
        image: ``(C, H, H)`` in [-1, 1], square.
        kind: one of `KINDS`.
        donor: image of the same shape from which a foreign piece is cut; by default ``image`` itself.

    Returns:
        The copy ``(C, H, H)`` and the mask ``(H, H)`` bool of the visibly changed pixels, never empty. Outside
        the mask the copy equals ``image``, up to a soft rim two pixels wide.

    Raises:
        SettingsError: for an unknown kind or an image that is not square.
    """
    if kind not in KINDS:
        raise SettingsError(f"There is no synthetic defect '{kind}': choose one of {', '.join(KINDS)}.")
    if image.ndim != 3 or image.shape[1] != image.shape[2]:
        raise SettingsError("Synthetic defects need a square image (C, H, H): resize it first.")
    scene = (image.numpy().astype(np.float32).transpose(1, 2, 0) + 1) / 2
    other = scene if donor is None else (donor.numpy().astype(np.float32).transpose(1, 2, 0) + 1) / 2
    for attempt in range(_ATTEMPTS):
        rng = np.random.default_rng([seed, KINDS.index(kind), attempt])
        changed = np.clip(_PAINTERS[kind](scene, other, rng), 0, 1)
        mask = np.abs(changed - scene).max(axis=-1) > _VISIBLE
        if mask.sum() >= max(4, round(0.0006 * mask.size)):
            break
    else:  # nothing shows on this image (it may be one flat colour): a plain stain always does
        cover = blob(rng, len(scene), (0.5, 0.5), 0.12)
        changed = scene + (np.where(scene > 0.5, -0.4, 0.4) * cover[..., None]).astype(np.float32)
        mask = np.abs(changed - scene).max(axis=-1) > _VISIBLE
    mask = ndimage.binary_closing(np.pad(mask, 2), iterations=1)[2:-2, 2:-2] | mask
    near = ndimage.binary_dilation(mask, iterations=2)
    changed = np.where(near[..., None], changed, scene)
    return torch.from_numpy(np.ascontiguousarray(changed.transpose(2, 0, 1)) * 2 - 1), mask


def _place(scene: np.ndarray, rng: np.random.Generator) -> tuple[float, float]:
    """A centre (x, y) that prefers what differs from the colour of the border: the object, where there is one."""
    n = len(scene)
    rim = max(1, n // 32)
    border = np.concatenate([scene[:rim].reshape(-1, scene.shape[2]), scene[-rim:].reshape(-1, scene.shape[2])])
    apart = ndimage.gaussian_filter(np.abs(scene - np.median(border, axis=0)).max(axis=-1), n / 32)
    inner = np.zeros((n, n))
    edge = n // 16
    inner[edge : n - edge, edge : n - edge] = 1
    weight = inner * (np.clip(apart / 0.15, 0, 1) ** 2 + 0.02)
    pick = rng.choice(n * n, p=(weight / weight.sum()).ravel())
    return (pick % n + 0.5) / n, (pick // n + 0.5) / n


def _cover(scene: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Coverage ``(n, n, 1)`` of a ragged piece of 0.2 to 4 % of the image."""
    radius = np.exp(rng.uniform(np.log(0.025), np.log(0.11)))
    return blob(rng, len(scene), _place(scene, rng), radius, soft=rng.uniform(0.1, 0.6))[..., None]


def _scratch(scene: np.ndarray, other: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    x, y = _place(scene, rng)
    angle, half = rng.uniform(0, 2 * np.pi), rng.uniform(0.04, 0.18)
    dx, dy = half * np.cos(angle), half * np.sin(angle)
    path = curve(rng, (x - dx, y - dy), (x + dx, y + dy))
    line = Stencil(len(scene)).stroke(path, taper(rng, len(path), rng.uniform(0.006, 0.018))).coverage()[..., None]
    tone = rng.choice([-1, 1]) * rng.uniform(0.12, 0.5)
    return scene + np.float32(tone) * line


def _stain(scene: np.ndarray, other: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    cover = _cover(scene, rng)
    colour = rng.uniform(0, 1, scene.shape[2]).astype(np.float32)
    mottle = 1 + np.float32(0.15) * smooth_noise(rng, len(scene), 12, octaves=2)[..., None]
    opacity = np.clip(cover * np.float32(rng.uniform(0.15, 0.7)) * mottle, 0, 1)
    return scene * (1 - opacity) + colour * opacity


def _foreign(scene: np.ndarray, other: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    n = len(scene)
    cover = _cover(scene, rng)
    piece = np.rot90(other, rng.integers(4), axes=(0, 1))
    shift = rng.integers(n // 8, n - n // 8, 2)
    return scene * (1 - cover) + np.roll(piece, tuple(shift), axis=(0, 1)) * cover


def _missing(scene: np.ndarray, other: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    cover = _cover(scene, rng)
    if rng.random() < 0.5:  # broken off: what lies behind shows
        fill = np.median(np.concatenate([scene[0], scene[-1], scene[:, 0], scene[:, -1]]), axis=0)
    else:  # worn off: the structure is gone, the colour stays
        fill = ndimage.gaussian_filter(scene, (len(scene) / 20, len(scene) / 20, 0))
    return scene * (1 - cover) + fill.astype(np.float32) * cover


def _warp(scene: np.ndarray, other: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    n = len(scene)
    radius = rng.uniform(0.06, 0.15)
    cover = ndimage.gaussian_filter(blob(rng, n, _place(scene, rng), radius), n * radius / 4)
    angle, far = rng.uniform(0, 2 * np.pi), rng.uniform(0.02, 0.07) * n
    rows, columns = np.mgrid[:n, :n].astype(np.float32)
    rows, columns = rows + far * np.sin(angle) * cover, columns + far * np.cos(angle) * cover
    channels = [
        ndimage.map_coordinates(scene[..., c], (rows, columns), order=1, mode="nearest") for c in range(scene.shape[2])
    ]
    return np.stack(channels, axis=-1)


_PAINTERS = {"scratch": _scratch, "stain": _stain, "foreign": _foreign, "missing": _missing, "warp": _warp}
