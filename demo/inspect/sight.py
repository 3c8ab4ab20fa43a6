"""What a field on pixels has before its eyes: at each time the noisy state, and the clean picture that it guesses."""

from __future__ import annotations

import numpy as np
import torch

from fmcore.data.picture import Picture
from fmcore.detector.model import Model
from fmcore.mismatch import PathSettings
from fmcore.path import clean_guess, draw_noise, interior_times, interpolate
from fmcore.views.pixels import PixelView

MOST = 300_000  # pixels of all times together; more would make the message to the browser large


def sight(model: Model, category: str, picture: Picture, paths: PathSettings) -> dict[str, np.ndarray]:
    """``guesses`` ``(T, h, w, 3)`` uint8 along the first noise draw, and the two ends of that path: the ``noise`` and
    the picture as it is ``seen``, ``(h, w, 3)`` float16 and uint8, between which the states lie. Nothing for a view
    that is no picture, or a large one."""
    view, field = model.view(category), model.field(category)
    times = interior_times(paths.times)
    if not isinstance(view, PixelView) or len(times) * view.height * view.width > MOST:
        return {}
    with torch.inference_mode():
        y = view(picture)[None]
        x0 = draw_noise(1, tuple(y.shape[1:]), paths.noise_seed).to(y.device)
        states = (interpolate(x0, y, t) for t in times)
        guesses = torch.cat([clean_guess(x, field(x, t), t) for x, t in zip(states, times, strict=True)])
    noise = _colours(x0.cpu().numpy())[0].astype(np.float16)
    return {"guesses": _levels(guesses), "noise": np.ascontiguousarray(noise), "seen": _levels(y)[0]}


def _levels(pictures: torch.Tensor) -> np.ndarray:
    levels = ((pictures + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).cpu().numpy()
    return np.ascontiguousarray(_colours(levels))


def _colours(values: np.ndarray) -> np.ndarray:
    """``(n, 1 or 3, h, w)`` as ``(n, h, w, 3)``."""
    return np.moveaxis(np.broadcast_to(values, (len(values), 3, *values.shape[2:])), 1, 3)
