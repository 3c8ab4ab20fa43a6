"""The camera: light, lens and sensor between a painted scene and the stored 8-bit image.

The steps up to ``expose`` are deterministic for a given camera, so one scene photographed with and without
its defect differs by the defect alone; ``digitise`` adds the sensor noise last.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy import ndimage

from fmcore.data.rendered.raster import Field, grid


@dataclass(frozen=True)
class Camera:
    """One shot's settings: brightness factor, light fall-off, white balance, lens blur and sensor noise."""

    gain: float  # overall brightness factor
    slope: tuple[float, float]  # relative change of the light across the image, along x and along y
    vignette: float  # relative loss of light in the corners
    balance: tuple[float, float, float]  # factor per colour channel
    blur: float  # Gaussian sigma of the lens, as a fraction of the image side
    noise: float  # standard deviation of the sensor noise at mid grey, in 0..1

    @classmethod
    def draw(cls, rng: np.random.Generator, *, steadiness: float = 1.0) -> Camera:
        """A random camera; a larger ``steadiness`` gives a smaller spread of the light."""
        angle, strength = rng.uniform(0, 2 * np.pi), rng.uniform(0.0, 0.16) / steadiness
        warm = rng.normal(0, 0.012)
        return cls(
            gain=float(np.exp(rng.normal(0, 0.06 / steadiness))),
            slope=(strength * np.cos(angle), strength * np.sin(angle)),
            vignette=rng.uniform(0.03, 0.12),
            balance=(1 + warm, 1.0, 1 - warm),
            blur=rng.uniform(0.0022, 0.0046),
            noise=rng.uniform(0.006, 0.012),
        )

    def expose(self, scene: Field, size: int) -> Field:
        """The noise-free image (size, size, 3) in 0..1 of a scene (n, n, 3), n a multiple of ``size``."""
        factor = scene.shape[0] // size
        channels = []
        x, y = grid(size)
        light = 1 + np.float32(self.slope[0]) * (x - 0.5) + np.float32(self.slope[1]) * (y - 0.5)
        light = light * (1 - np.float32(2 * self.vignette) * ((x - 0.5) ** 2 + (y - 0.5) ** 2))
        for channel, factor_of_channel in enumerate(self.balance):
            plane = np.asarray(Image.fromarray(np.ascontiguousarray(scene[..., channel])).reduce(factor))
            plane = ndimage.gaussian_filter(plane, self.blur * size, truncate=3, mode="nearest")
            channels.append(plane * light * np.float32(self.gain * factor_of_channel))
        return _shoulder(np.stack(channels, axis=-1))

    def digitise(self, exposed: Field, rng: np.random.Generator) -> np.ndarray:
        """Add sensor noise (a part common to the channels, a part of each) and round to uint8."""
        side = exposed.shape[0]
        common = rng.standard_normal((side, side, 1), dtype=np.float32)
        own = rng.standard_normal(exposed.shape, dtype=np.float32)
        shot = np.sqrt(np.float32(0.25) + np.float32(1.5) * np.clip(exposed, 0, 1))
        noisy = exposed + np.float32(self.noise) * shot * (np.float32(0.8) * common + np.float32(0.6) * own)
        return np.rint(np.clip(noisy, 0, 1) * 255).astype(np.uint8)


def _shoulder(image: Field) -> Field:
    """Roll highlights off smoothly above 0.8, as a camera's tone curve does, instead of clipping them."""
    excess = np.maximum(image - np.float32(0.8), 0)
    return np.maximum(np.minimum(image, np.float32(0.8)) + np.float32(0.2) * np.tanh(excess / np.float32(0.25)), 0)
