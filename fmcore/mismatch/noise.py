"""Noise of the K paths of one image: independent draws, or draws that depend on each other to lower the variance.

Every single draw is exactly ``N(0, I)`` under every kind, so the mean over paths is an unbiased estimate of the
expected mismatch whatever the kind. Only the joint law of the K draws differs, and with it the variance of their
mean. (Sobol' points are rounded to 30 bits, far below what float32 noise resolves in its bulk.) An order statistic
(min, median, percentile) is *defined* by the joint law: for these another kind is another quantity.

- ``independent``: the baseline. Nested: the first k of a larger set equal the set of k.
- ``antithetic``: pairs ``(z, -z)``. Whatever is odd in the noise cancels, whatever is even is drawn half as often:
  a mismatch quadratic in the noise, ``(a z + b)^2``, has ``(2 a^4 + 4 a^2 b^2) / K`` for variance with independent
  draws and ``4 a^4 / K`` with pairs. That wins where ``b^2 > a^2 / 2`` (anomalies, small t) and loses a factor 2
  at ``b = 0``. Nested; with an odd K the last draw has no partner.
- ``orthogonal``: Gram-Schmidt on the independent draws, each keeping its own length, which is independent of every
  direction; in blocks of D where K exceeds the dimension D. Nested. Among few draws in many dimensions it changes
  next to nothing, since independent ones are nearly orthogonal already.
- ``latin``: Latin hypercube, any dimension: in every coordinate the K draws fall into K slices of equal
  probability, one each. It removes what is additive over coordinates (McKay, Beckman, Conover 1979), and the
  mismatch of a pixel depends on its own noise most. The kind to use at image size. Not nested.
- ``sobol``: scrambled Sobol' points (Owen 1998), which also spread evenly over planes; balanced where K is a power
  of two. Direction numbers exist for 21,201 dimensions (84 x 84 RGB pixels) and no further. Nested, but a K
  between two powers of two is less even.
"""

from __future__ import annotations

import math
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from fmcore.errors import SettingsError
from fmcore.path import draw_noise

NoiseKind = Literal["independent", "antithetic", "orthogonal", "latin", "sobol"]
NOISE_KINDS: tuple[NoiseKind, ...] = get_args(NoiseKind)


def path_noise(kind: NoiseKind, count: int, shape: tuple[int, ...], seed: int) -> Tensor:
    """Noise of ``count`` paths, ``(count, *shape)`` float32 on the CPU, each draw ``N(0, I)``.

    Args:
        kind: how the draws depend on each other; ``independent`` is `draw_noise`, bit for bit.
        count: K, at least 1.
        shape: of one image ``(C, H, W)`` or point ``(d,)``.
        seed: same seed, same bits; the global generators are left alone.

    Raises:
        SettingsError: for an unknown kind, or ``sobol`` in more dimensions than it has.
    """
    match kind:
        case "independent":
            return draw_noise(count, shape, seed)
        case "antithetic":
            half = draw_noise((count + 1) // 2, shape, seed)
            return torch.stack([half, -half], 1).flatten(0, 1)[:count]
        case "orthogonal":
            return _orthogonal(draw_noise(count, shape, seed))
        case "latin":
            return _normal(_latin(count, math.prod(shape), seed), shape)
        case "sobol":
            return _normal(_sobol(count, math.prod(shape), seed), shape)
    raise SettingsError(f"Unknown noise '{kind}': choose one of {', '.join(NOISE_KINDS)}.")


def _orthogonal(noise: Tensor) -> Tensor:
    rows = noise.flatten(1).double()
    blocks = []
    for block in rows.split(rows.shape[1]):
        directions, upper = torch.linalg.qr(block.T)
        # QR leaves the signs open; with those of Gram-Schmidt the first k directions do not depend on the rest.
        signs = upper.diagonal().sign()
        blocks.append((directions * signs).T * block.norm(dim=1, keepdim=True))
    return torch.cat(blocks).to(noise.dtype).view_as(noise)


def _latin(count: int, dimension: int, seed: int) -> np.ndarray:
    # Imported late, here and below: scipy.stats takes a second, and the default kind does not need it.
    from scipy.stats import qmc

    return qmc.LatinHypercube(dimension, rng=np.random.default_rng(seed)).random(count)


def _sobol(count: int, dimension: int, seed: int) -> np.ndarray:
    from scipy.stats import qmc

    if dimension > qmc.Sobol.MAXDIM:
        raise SettingsError(
            f"Noise 'sobol' has {qmc.Sobol.MAXDIM} dimensions, but the image has {dimension}: choose 'latin'."
        )
    engine = qmc.Sobol(dimension, scramble=True, rng=np.random.default_rng(seed))
    # A whole power of two is drawn, and cut: scipy warns of any other number.
    points = engine.random_base2(math.ceil(math.log2(count)))[:count]
    return points + 2.0 ** -(engine.bits + 1)  # the middle of the finest cell, so that no point is at 0


def _normal(uniform: np.ndarray, shape: tuple[int, ...]) -> Tensor:
    """Standard normal values by the inverse distribution function."""
    values = torch.from_numpy(np.ascontiguousarray(uniform)).clamp(2.0**-40, 1 - 2.0**-40)
    return torch.special.ndtri(values).float().view(-1, *shape)
