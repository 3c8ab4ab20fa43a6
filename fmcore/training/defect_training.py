"""Synthetic defects in training: a state of a defective image whose end is still the clean one.

A network that has seen normal images only still copies much of what is not normal, since near t = 1 a denoiser of
any image is a denoiser of normal ones. So a share of every batch is shown with a synthetic defect
(`fmcore.data.synthetic_defects`), of a strength between hardly visible and plain, while the target stays that of the
clean image. With ``y`` the defective copy of ``x1``,

    x_t = (1 - t) x0 + t y,        target x1 - x0,

so that the mismatch of an image whose defect is recognised is the defect itself, ``|x1 - y|^2``. It is an extension
of the paper (off with ``defects = 0``): the field is then no longer the velocity field of the normal images alone,
and theory that rests on that does not cover it. The idea of learning to remove more than white noise is that of
Kascenas et al. 2022, in one-step denoising autoencoders.
"""

from __future__ import annotations

import math

import numpy as np
from torch import Tensor

from fmcore.data.synthetic_defects import KINDS, paste_defect

WEAKEST = 0.1  # strength of the weakest defect, as a share of the full change


def spoil(pool: Tensor, chosen: Tensor, share: float, seed: int, part: slice = slice(None)) -> Tensor:
    """The images ``pool[chosen]``, a random ``share`` of them with a synthetic defect.

    Args:
        pool: ``(N, C, H, H)`` normal images in [-1, 1], any device.
        chosen: ``(B,)`` indices. The same arguments give the same bits, whatever ``part`` is asked for.
        part: of the batch to return.

    Returns:
        ``(B', C, H, H)`` on the device of ``pool``.
    """
    rng = np.random.default_rng(seed)
    count = len(chosen)
    spoilt = rng.permutation(count) < round(share * count)
    kinds, donors = rng.integers(len(KINDS), size=count), rng.integers(len(pool), size=count)
    seeds = rng.integers(2**31, size=count)
    strengths = np.exp(rng.uniform(math.log(WEAKEST), 0, count))
    seen = pool[chosen[part]].clone()
    for position, index in enumerate(range(count)[part]):
        if spoilt[index]:
            clean = seen[position].cpu()
            defective, _ = paste_defect(
                clean, KINDS[kinds[index]], seed=int(seeds[index]), donor=pool[int(donors[index])].cpu()
            )
            seen[position] = (clean + float(strengths[index]) * (defective - clean)).to(seen.device)
    return seen
