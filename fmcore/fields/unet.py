"""`VelocityUNet`: the learned velocity field, a small class-conditional U-Net.

What is notable in it:

- A patchify stem: the image is cut into ``patch x patch`` pixels by one strided convolution and put
  together by pixel shuffle, so that 64 to 256 px images all run on a grid of about 32 x 32.
- It can start from a closed form. With ``start="gaussian"`` the network predicts only the residual to the
  Gaussian field of its category, in units of that field's own root-mean-square error at t:

      v(x, t) = v_G(x, t) + t^2 s(t) F(x, t),      s(t)^2 = mean Var_G(u | x_t),

  so an untrained network (F = 0 at initialisation) already is the Gaussian field, and the error of every t
  is counted in units of what the closed form leaves over. (The idea of EDM's preconditioning, Karras et al.
  2022.) The gate t^2 says that nothing beyond the Gaussian can be known from a state that is nearly noise:
  without it the unpredictable targets of small t hold F at zero for many hundred steps.
- Its input is the whitened state beside the Gaussian field's estimate of the clean image: of unit scale at
  every t, where the raw state hides what matters (a few per cent of it at large t).
- With ``start="none"`` it is the plain recipe of the paper: a U-Net that predicts v.

It lives on whitened images where its source is not white noise; `fmcore.detector.model` maps it back.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from fmcore.errors import SettingsError
from fmcore.fields.gaussian import GaussianField
from fmcore.path import expand_time
from fmcore.settings import Settings


class UNetSettings(Settings):
    """Architecture of a `VelocityUNet`."""

    size: int = Field(128, ge=32, le=256, description="image width and height in pixels")
    channels: int = Field(3, ge=1, le=3, description="1 gray or 3 RGB")
    categories: int = Field(1, ge=1, le=1000, description="classes the network is conditioned on")
    patch: int = Field(4, ge=1, le=16, description="pixels per side of a stem patch")
    widths: tuple[int, ...] = Field((64, 128, 192), description="channels per level, each at half the resolution")
    blocks: int = Field(1, ge=1, le=8, description="residual blocks per level")
    start: Literal["gaussian", "none"] = Field("gaussian", description="predict the residual to a Gaussian field, or v")


class VelocityUNet(nn.Module):
    """Velocity field ``(x, t, category) -> v`` for images ``(B, channels, size, size)``.

    Args:
        settings: the architecture.
        gaussians: one `GaussianField` per category; needed where ``start="gaussian"``. They are frozen.
    """

    def __init__(self, settings: UNetSettings, gaussians: list[GaussianField] | None = None):
        super().__init__()
        _check(settings, gaussians)
        self.settings = settings
        self.gaussians = nn.ModuleList(gaussians or [])
        residual = settings.start == "gaussian"
        self.core = _UNet(settings, in_channels=settings.channels * (2 if residual else 1))

    def forward(self, x: Tensor, t: float | Tensor, category: int | Tensor = 0) -> Tensor:
        """Velocity ``(B, C, H, W)``; ``t`` a float or ``(B,)``, ``category`` an index or ``(B,)`` of them."""
        times, labels = self._batch(x, t, category)
        if self.settings.start == "none":
            return self.core(x, times, labels).float()
        start, scale, inputs = self.prepare(x, times, labels)
        return start + expand_time(scale, x) * self.residual(inputs, times, labels)

    def residual(self, inputs: Tensor, times: Tensor, labels: Tensor) -> Tensor:
        """The gated network output ``t^2 F``, the residual in units of ``s(t)``, shaped as ``x``."""
        return expand_time(times**2, inputs) * self.core(inputs, times, labels).float()

    def prepare(self, x: Tensor, times: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The closed-form part: ``v_G`` shaped as ``x``, ``s(t)`` ``(B,)``, and the network's input
        ``(B, 2 C, H, W)``: the standardised state beside the Gaussian field's estimate of the clean image."""
        start, scale = torch.empty_like(x), torch.empty_like(times)
        inputs = x.new_empty(len(x), 2 * x.shape[1], *x.shape[2:])
        for index in labels.unique().tolist():
            chosen = labels == index
            gaussian, state, time = self.gaussians[index], x[chosen], times[chosen]
            column = expand_time(time, state)
            start[chosen] = velocity = gaussian(state, time)
            scale[chosen] = gaussian.residual_variance(time).sqrt()
            inputs[chosen] = torch.cat([gaussian.whiten(state, time), state + (1 - column) * velocity], 1)
        return start, scale, inputs

    def conditioned(self, category: int) -> ConditionedField:
        """This network as a plain field ``(x, t) -> v`` of one category."""
        return ConditionedField(self, category)

    def _batch(self, x: Tensor, t: float | Tensor, category: int | Tensor) -> tuple[Tensor, Tensor]:
        times = torch.as_tensor(t, dtype=x.dtype, device=x.device).expand(len(x))
        return times, torch.as_tensor(category, device=x.device).expand(len(x))


class ConditionedField:
    """A class-conditional network with its category fixed: a velocity field ``(x, t) -> v``."""

    def __init__(self, network: VelocityUNet, category: int):
        self.network, self.category = network, category

    def __call__(self, x: Tensor, t: float | Tensor) -> Tensor:
        return self.network(x, t, self.category)


class _UNet(nn.Module):
    def __init__(self, settings: UNetSettings, in_channels: int):
        super().__init__()
        widths, grid = settings.widths, settings.size // settings.patch
        embedding = 4 * widths[0]
        self.patch = settings.patch
        self.stem = nn.Conv2d(in_channels, widths[0], settings.patch, stride=settings.patch)
        # Aligned objects look different at each place; a learned position lets the network use that.
        self.position = nn.Parameter(torch.zeros(1, widths[0], grid, grid))
        self.time = nn.Sequential(nn.Linear(64, embedding), nn.SiLU(), nn.Linear(embedding, embedding))
        self.category = nn.Embedding(settings.categories, embedding)
        nn.init.normal_(self.category.weight, std=0.02)

        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        skips, width = [widths[0]], widths[0]
        for level, out in enumerate(widths):
            if level:
                self.down.append(nn.Conv2d(width, width, 3, stride=2, padding=1))
                skips.append(width)
            for _ in range(settings.blocks):
                self.down.append(_ResidualBlock(width, out, embedding))
                skips.append(width := out)
        self.middle = nn.ModuleList(
            [_ResidualBlock(width, width, embedding), _Attention(width), _ResidualBlock(width, width, embedding)]
        )
        for level, out in reversed(list(enumerate(widths))):
            for _ in range(settings.blocks + 1):
                self.up.append(_ResidualBlock(width + skips.pop(), out, embedding))
                width = out
            if level:
                self.up.append(_Upsample(width))
        self.norm = nn.GroupNorm(_groups(width), width)
        self.head = nn.Conv2d(width, settings.channels * settings.patch**2, 3, padding=1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        self.to(memory_format=torch.channels_last)

    def forward(self, x: Tensor, times: Tensor, labels: Tensor) -> Tensor:
        condition = F.silu(self.time(_fourier(times)) + self.category(labels))
        h = self.stem(x.contiguous(memory_format=torch.channels_last)) + self.position
        skips = [h]
        for layer in self.down:
            h = layer(h, condition) if isinstance(layer, _ResidualBlock) else layer(h)
            skips.append(h)
        for layer in self.middle:
            h = layer(h, condition) if isinstance(layer, _ResidualBlock) else layer(h)
        for layer in self.up:
            h = layer(torch.cat([h, skips.pop()], 1), condition) if isinstance(layer, _ResidualBlock) else layer(h)
        return F.pixel_shuffle(self.head(F.silu(self.norm(h))), self.patch)


class _ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions; the condition scales and shifts the second normalisation."""

    def __init__(self, width: int, out: int, embedding: int):
        super().__init__()
        self.norm1, self.conv1 = nn.GroupNorm(_groups(width), width), nn.Conv2d(width, out, 3, padding=1)
        self.norm2, self.conv2 = nn.GroupNorm(_groups(out), out), nn.Conv2d(out, out, 3, padding=1)
        self.condition = nn.Linear(embedding, 2 * out)
        self.skip = nn.Conv2d(width, out, 1) if width != out else nn.Identity()
        # Each block starts as (nearly) its skip path, which makes the first steps stable.
        nn.init.zeros_(self.conv2.weight)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        scale, shift = self.condition(condition)[:, :, None, None].chunk(2, 1)
        h = self.conv2(F.silu(self.norm2(h) * (1 + scale) + shift))
        return self.skip(x) + h


class _Attention(nn.Module):
    """Self-attention over all positions of the coarsest grid, one head per 64 channels."""

    def __init__(self, width: int):
        super().__init__()
        self.heads = max(1, width // 64)
        self.norm, self.qkv = nn.GroupNorm(_groups(width), width), nn.Conv2d(width, 3 * width, 1)
        self.out = nn.Conv2d(width, width, 1)
        nn.init.zeros_(self.out.weight)

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        q, k, v = (
            part.reshape(b, self.heads, -1, h * w).transpose(2, 3) for part in self.qkv(self.norm(x)).chunk(3, 1)
        )
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(2, 3).reshape(b, c, h, w)
        return x + self.out(mixed.contiguous(memory_format=torch.channels_last))


class _Upsample(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2, mode="nearest"))


def _fourier(times: Tensor) -> Tensor:
    """``(B, 64)`` sines and cosines of t in [0, 1] at frequencies from 1/2 to 500 turns."""
    frequencies = torch.exp(torch.linspace(math.log(math.pi), math.log(1000 * math.pi), 32, device=times.device))
    angles = times[:, None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], 1)


def _groups(width: int) -> int:
    return next(g for g in (16, 8, 4, 2, 1) if width % g == 0)


def _check(settings: UNetSettings, gaussians: list[GaussianField] | None) -> None:
    step = settings.patch * 2 ** (len(settings.widths) - 1)
    if not settings.widths or settings.size % step:
        raise SettingsError(
            f"Setting 'size' = {settings.size} must be a multiple of {step} for patch and widths given."
        )
    if settings.channels == 2:
        raise SettingsError("Setting 'channels' = 2 is not usable: it is 1 for gray or 3 for RGB.")
    if settings.start == "gaussian" and len(gaussians or []) != settings.categories:
        raise SettingsError(f"A start from Gaussian fields needs one per category ({settings.categories}).")
