"""`VelocityUNet`: the learned velocity field, a small class-conditional U-Net on the grid of any view.

A patchify stem takes ``patch x patch`` pixels at once, so that it runs on about 32 x 32 places; a grid that does not
halve evenly is padded by its edge values. It starts from a closed form and predicts only the residual F, in units of
the closed form's own error at t (the idea of EDM's preconditioning, Karras et al. 2022),

    v(x, t) = v_start(x, t) + t^2 s(t) F(x, t),      s(t)^2 = level(t) mean Var_start(u | x_t),

from the whitened state, of unit scale at every t, and the closed form's estimate of the clean image. Without the gate
t^2 the unpredictable targets of small t hold F at zero for many hundred steps. With ``start="none"`` it is the plain
recipe of the paper: a U-Net that predicts v."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from pydantic import Field as Range
from torch import Tensor, nn

from fmcore.errors import SettingsError
from fmcore.fields.field import FIELDS, Field, VelocityField
from fmcore.fields.place_gaussian import PlaceGaussianField
from fmcore.path import clean_guess, draw_noise, expand_time, interpolate

WIDTHS = (64, 128, 192)
SIDE = 32  # places per side of the grid behind the stem, about
BINS = 10  # of time, in which a start's level is measured

Width = Annotated[int, Range(ge=1, le=2048)]
Widths = Annotated[tuple[Width, ...], Range(min_length=1, max_length=6, description="channels per level of the unet")]
Blocks = Annotated[int, Range(ge=1, le=8, description="residual blocks per level of the unet")]
Start = Annotated[Literal["closed-form", "none"], Range(description="predict the residual to the closed form, or v")]
Shape = Sequence[int]


@FIELDS.register
class VelocityUNet(Field):
    """``(x, t, category) -> v``, the category an index or ``(B,)`` of them; made by `new`. ``starts`` are the closed
    forms, one per category, never trained; ``level`` ``(categories, BINS)`` is how much larger their squared error is
    than they expect, by time."""

    kind = "unet"
    trained = True

    def __init__(
        self, shape: Shape, categories: int, widths: Shape, blocks: int, patch: int, start: str, starts: Sequence[Any]
    ):
        """``start`` is the kind of ``starts``, given as fields or as configs of fields to be filled; or "none"."""
        if len(starts) != (0 if start == "none" else categories):
            raise SettingsError(f"A network of {categories} categories starts from {categories} fields or from none.")
        config = {"shape": list(shape), "categories": categories, "widths": list(widths), "blocks": blocks}
        configs = [s.config if isinstance(s, Field) else s for s in starts]
        super().__init__(**config, patch=patch, start=start, starts=configs)
        self.shape = tuple(shape)
        self.starts = nn.ModuleList(s if isinstance(s, Field) else FIELDS.build(start, s) for s in starts)
        self.register_buffer("level", torch.ones(categories, BINS))
        self.core = _UNet(shape[0] * (2 if starts else 1), shape, categories, widths, blocks, patch)

    @classmethod
    def new(
        cls, starts: Sequence[Field] | None, shape: Shape, categories: int, *, widths: Shape, blocks: int, seed: int
    ) -> VelocityUNet:
        """Untrained, for ``shape`` ``(C, H, W)``; the global random state is not touched. ``starts`` are a
        `fmcore.fields.gaussian.GaussianLaw` per category, of one kind (else `SettingsError`), or None."""
        patch, starts = max(1, round(math.sqrt(shape[1] * shape[2]) / SIDE)), starts or ()
        with torch.random.fork_rng(devices=()):
            torch.default_generator.manual_seed(seed)
            return cls(shape, categories, widths, blocks, patch, starts[0].kind if starts else "none", starts)

    @classmethod
    def fit(
        cls, tensors: Iterable[Tensor], *, widths: Widths = WIDTHS, blocks: Blocks = 1, start: Start = "closed-form"
    ) -> VelocityUNet:
        """The untrained network of one category, starting from a Gaussian per place, which suits any grid."""
        tensors = list(tensors)
        starts = [PlaceGaussianField.fit(tensors)] if start == "closed-form" else None
        return cls.new(starts, tensors[0].shape, 1, widths=widths, blocks=blocks, seed=0)

    def forward(self, x: Tensor, t: float | Tensor, category: int | Tensor = 0) -> Tensor:
        times = torch.as_tensor(t, dtype=x.dtype, device=x.device).expand(len(x))
        labels = torch.as_tensor(category, device=x.device).expand(len(x))
        if not self.starts:
            return self.core(x, times, labels).float()
        start, scale, inputs = self.prepare(x, times, labels)
        return start + expand_time(scale, x) * self.residual(inputs, times, labels)

    def residual(self, inputs: Tensor, times: Tensor, labels: Tensor) -> Tensor:
        """``t^2 F``, the residual in units of ``s(t)``, shaped as ``x``."""
        return expand_time(times**2, inputs) * self.core(inputs, times, labels).float()

    def prepare(self, x: Tensor, times: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """``v_start`` shaped as ``x``, ``s(t)`` ``(B,)``, and the network's input ``(B, 2 C, H, W)``."""
        start, white, scale = torch.empty_like(x), torch.empty_like(x), torch.empty_like(times)
        for index in labels.unique().tolist():
            mine, field = labels == index, self.starts[index]
            start[mine], white[mine] = field(x[mine], times[mine]), field.whiten(x[mine], times[mine])
            scale[mine] = self.scale(index, times[mine])
        return start, scale, torch.cat([white, clean_guess(x, start, times)], 1)

    def scale(self, category: int, times: Tensor) -> Tensor:
        """``s(t)``, shaped as ``times`` ``(B,)``; the level is interpolated between the centres of its bins."""
        place = (times * BINS - 0.5).clamp(0, BINS - 1)
        low, level = place.long(), self.level[category]
        level = torch.lerp(level[low], level[(low + 1).clamp_max(BINS - 1)], place - low)
        return (level * self.starts[category].residual_variance(times)).sqrt()

    @torch.no_grad()
    def measure_level(self, category: int, images: Iterable[Tensor]) -> None:
        """Set ``level`` by the start's squared error on images ``(C, H, W)`` that it was not fitted to."""
        t, start = (torch.arange(BINS).to(self.level) + 0.5) / BINS, self.starts[category]
        x0 = draw_noise(BINS, self.shape, seed=0).to(t.device)
        images = (image.to(t.device) for image in images)
        errors = [(start(interpolate(x0, y, t), t) - (y - x0)).square().mean((1, 2, 3)) for y in images]
        self.level[category] = torch.stack(errors).mean(0) / start.residual_variance(t)

    def conditioned(self, category: int) -> VelocityField:
        """This network as a plain field ``(x, t) -> v`` of one category."""
        return lambda x, t: self(x, t, category)


class _UNet(nn.Module):
    def __init__(self, inputs: int, shape: Shape, categories: int, widths: Shape, blocks: int, patch: int):
        super().__init__()
        self.patch, self.height, self.width = patch, *shape[1:]
        step, embedding = patch * 2 ** (len(widths) - 1), 4 * widths[0]
        self.padding = (0, -self.width % step, 0, -self.height % step)
        self.stem = nn.Conv2d(inputs, widths[0], patch, stride=patch)
        # Aligned objects look different at each place; a learned position lets the network use that.
        grid = (math.ceil(side / step) * step // patch for side in shape[1:])
        self.position = nn.Parameter(torch.zeros(1, widths[0], *grid))
        self.time = nn.Sequential(nn.Linear(64, embedding), nn.SiLU(), nn.Linear(embedding, embedding))
        self.category = nn.Embedding(categories, embedding)
        nn.init.normal_(self.category.weight, std=0.02)

        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        skips, width = [widths[0]], widths[0]
        for level, out in enumerate(widths):
            if level:
                self.down.append(nn.Conv2d(width, width, 3, stride=2, padding=1))
                skips.append(width)
            for _ in range(blocks):
                self.down.append(_ResidualBlock(width, out, embedding))
                skips.append(width := out)
        first, last = (_ResidualBlock(width, width, embedding) for _ in range(2))
        self.middle = nn.ModuleList([first, _Attention(width), last])
        for level, out in reversed(list(enumerate(widths))):
            for _ in range(blocks + 1):
                self.up.append(_ResidualBlock(width + skips.pop(), out, embedding))
                width = out
            if level:
                self.up.append(nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(width, width, 3, padding=1)))
        self.norm = nn.GroupNorm(math.gcd(width, 16), width)
        self.head = nn.Conv2d(width, shape[0] * patch**2, 3, padding=1)
        for parameter in self.head.parameters():
            nn.init.zeros_(parameter)
        self.to(memory_format=torch.channels_last)

    def forward(self, x: Tensor, times: Tensor, labels: Tensor) -> Tensor:
        condition = F.silu(self.time(_fourier(times)) + self.category(labels))
        x = F.pad(x, self.padding, mode="replicate")
        h = self.stem(x.contiguous(memory_format=torch.channels_last)) + self.position
        skips = [h]
        for layer in self.down:
            skips.append(h := layer(h, condition) if isinstance(layer, _ResidualBlock) else layer(h))
        first, attention, last = self.middle
        h = last(attention(first(h, condition)), condition)
        for layer in self.up:
            h = layer(torch.cat([h, skips.pop()], 1), condition) if isinstance(layer, _ResidualBlock) else layer(h)
        return F.pixel_shuffle(self.head(F.silu(self.norm(h))), self.patch)[..., : self.height, : self.width]


class _ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions; the condition scales and shifts the second normalisation."""

    def __init__(self, width: int, out: int, embedding: int):
        super().__init__()
        self.norm1, self.conv1 = nn.GroupNorm(math.gcd(width, 16), width), nn.Conv2d(width, out, 3, padding=1)
        self.norm2, self.conv2 = nn.GroupNorm(math.gcd(out, 16), out), nn.Conv2d(out, out, 3, padding=1)
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
    """Self-attention over all positions of the coarsest grid, one head per 64 channels or more."""

    def __init__(self, width: int):
        super().__init__()
        self.heads = math.gcd(width, max(1, width // 64))
        self.norm, self.qkv = nn.GroupNorm(math.gcd(width, 16), width), nn.Conv2d(width, 3 * width, 1)
        self.out = nn.Conv2d(width, width, 1)
        nn.init.zeros_(self.out.weight)

    def forward(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        q, k, v = (part.reshape(b, self.heads, -1, h * w).mT for part in self.qkv(self.norm(x)).chunk(3, 1))
        mixed = F.scaled_dot_product_attention(q, k, v).mT.reshape(b, c, h, w)
        return x + self.out(mixed.contiguous(memory_format=torch.channels_last))


def _fourier(times: Tensor) -> Tensor:
    """``(B, 64)`` sines and cosines of t in [0, 1] at frequencies from 1/2 to 500 turns."""
    frequencies = torch.exp(torch.linspace(math.log(math.pi), math.log(1000 * math.pi), 32, device=times.device))
    angles = times[:, None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], 1)
