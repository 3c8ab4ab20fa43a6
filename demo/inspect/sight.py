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
    """``states`` and ``guesses`` ``(T, h, w, 3)`` uint8 along the first noise draw, and what they lead to, ``seen``
    ``(1, h, w, 3)``; nothing for a view that is no picture, or a large one."""
    view, field = model.view(category), model.field(category)
    times = interior_times(paths.times)
    if not isinstance(view, PixelView) or len(times) * view.height * view.width > MOST:
        return {}
    states, guesses = [], []
    with torch.inference_mode():
        y = view(picture)[None]
        x0 = draw_noise(1, tuple(y.shape[1:]), paths.noise_seed).to(y.device)
        for t in times:
            states.append(interpolate(x0, y, t))
            guesses.append(clean_guess(states[-1], field(states[-1], t), t))
    return {name: _bytes(torch.cat(parts)) for name, parts in (("states", states), ("guesses", guesses), ("seen", [y]))}


def _bytes(pictures: torch.Tensor) -> np.ndarray:
    levels = ((pictures + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).cpu().numpy()
    return np.ascontiguousarray(np.moveaxis(np.broadcast_to(levels, (len(levels), 3, *levels.shape[2:])), 1, 3))
