"""Feature maps of a pretrained encoder: the space in which unlike parts and textures have a simple law.

The maps of several depths are brought to one grid (averaged down, interpolated up) `FINER` than that of the view, every
place takes the mean of its 3 x 3 neighbourhood, and what falls on a place of the view is averaged. Each channel is
brought to mean 0 and deviation `SPREAD` over the set. Noise, paths and velocities then live in *this* space: a path
from noise to a picture's features is no fading picture."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field as Range
from torch import Tensor

from fmcore.data.picture import Picture
from fmcore.errors import ModelError
from fmcore.views.efficientnet import load_efficientnet_lite0
from fmcore.views.view import VIEWS, View, sides_of

DEFAULT = "efficientnet-lite0"
# Channels taken from the second, fourth, fifth and sixth stage (strides 4, 16, 16, 32). A full covariance of all would
# not fit, and the channels of a stage are as good as each other.
CHANNELS = {1: 24, 3: 40, 4: 72, 5: 40}
MOST_CHANNELS = sum(CHANNELS.values())
FINEST, COARSEST = 4, 16  # strides of the maps that are used of another encoder, where it has several
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
SPREAD = 2.0  # of a channel, in units of the noise
PLACES = 576
FINER = 4 / 3  # per side
MOST_ENLARGED = 2.0  # pictures are not enlarged further: it adds no detail, and moves what the encoder sees

Resolution = Annotated[int, Range(ge=64, le=1024, description="pixels: square root of the area the encoder sees")]
Places = Annotated[int, Range(ge=16, le=4096, description="cells of the grid, about")]
Name = Annotated[str, Range(description="pretrained encoder, a Hub id or folder for transformers; none: pixels")]


@VIEWS.register
class EncoderView(View):
    """Standardised feature maps on one grid; see `fit`."""

    kind = "encoder"
    closed_form = "place-gaussian"
    paths = 0
    smoothing = 0.5

    def __init__(
        self, encoder: str, digest: str, channels: int, height: int, width: int, pixel_height: int, pixel_width: int
    ):
        """Raises `ModelError` if the encoder cannot be had, or has other weights than the stored ones."""
        grid, pixels = {"height": height, "width": width}, {"pixel_height": pixel_height, "pixel_width": pixel_width}
        super().__init__(encoder=encoder, digest=digest, channels=channels, **grid, **pixels)
        if (found := load_encoder(encoder).digest) != digest:
            raise ModelError(
                f"The encoder '{encoder}' has other weights here than those this model was fitted with (SHA-256 "
                f"{found[:12]} instead of {digest[:12]}): install the same ones, or fit the model again."
            )
        self.register_buffer("mean", torch.zeros(channels, 1, 1))
        self.register_buffer("scale", torch.ones(channels, 1, 1))

    @classmethod
    def fit(
        cls,
        sample: Sequence[Picture],
        height: int,
        width: int,
        gray: bool,
        *,
        encoder: Name = DEFAULT,
        resolution: Resolution = 384,
        places: Places = PLACES,
    ) -> EncoderView:
        """Input and grid follow the median aspect ratio; pictures are enlarged by `MOST_ENLARGED` at the most."""
        loaded = load_encoder(encoder)
        area = min(resolution**2, MOST_ENLARGED**2 * height * width)
        pixel_height, pixel_width = sides_of(area, height, width, loaded.step)
        grid = sides_of(places, pixel_height, pixel_width, 1)
        loaded.network.cpu()
        with torch.no_grad():
            shown = (picture.resized(pixel_height, pixel_width, 3)[None] for picture in sample)
            values = torch.stack([_features(loaded, x, grid) for x in shown])
        view = cls(encoder, loaded.digest, values.shape[1], *grid, pixel_height, pixel_width)
        view.mean.copy_(values.mean((0, 2, 3))[:, None, None])
        view.scale.copy_(values.std((0, 2, 3))[:, None, None].clamp_min(1e-6) / SPREAD)
        return view

    def forward(self, picture: Picture) -> Tensor:
        load_encoder(self.encoder).network.to(self.device)
        with torch.no_grad():
            return self.of_pixels(picture.resized(self.pixel_height, self.pixel_width, 3)[None].to(self.device))

    def of_pixels(self, x: Tensor) -> Tensor:
        """Of a picture at the size that the encoder sees, ``(1, 3, H', W')`` in [-1, 1]."""
        return (_features(load_encoder(self.encoder), x, self.shape[1:]) - self.mean) / self.scale

    def describe(self) -> str:
        grid, pixels = f"{self.width} x {self.height}", f"{self.pixel_width} x {self.pixel_height}"
        return f"{self.channels} channels of {self.encoder} on {grid} places, pictures at {pixels}"


def _features(loaded: Encoder, x: Tensor, grid: tuple[int, int]) -> Tensor:
    """Feature maps ``(C, *grid)`` of a picture ``(1, 3, H', W')``, not standardised."""
    fine = tuple(round(FINER * side) for side in grid)
    joined = torch.cat([_on_grid(each, fine) for each in loaded.maps(x)], 1)
    smooth = F.avg_pool2d(joined, 3, 1, 1, count_include_pad=False)
    return F.adaptive_avg_pool2d(smooth, grid)[0].contiguous()


def _on_grid(values: Tensor, grid: tuple[int, int]) -> Tensor:
    if values.shape[2] >= grid[0] and values.shape[3] >= grid[1]:
        return F.adaptive_avg_pool2d(values, grid)
    return F.interpolate(values, grid, mode="bilinear", align_corners=False)


@dataclass(frozen=True)
class Encoder:
    """A frozen network. ``maps(x)`` takes ``(1, 3, H, W)`` in [-1, 1], sides multiples of ``step``, to feature maps
    ``(1, C, h, w)``; ``digest`` is the SHA-256 of its weights."""

    digest: str
    step: int
    network: torch.nn.Module
    maps: Callable[[Tensor], list[Tensor]]


@functools.lru_cache(maxsize=2)
def load_encoder(name: str = DEFAULT) -> Encoder:
    """`DEFAULT`, or a Hub id or local folder for transformers' ``AutoBackbone``; `ModelError` if it cannot be had, or
    gives no feature maps."""
    return _bundled() if name == DEFAULT else _backbone(name)


def _bundled() -> Encoder:
    network, digest = load_efficientnet_lite0()
    network.to(memory_format=torch.channels_last)

    def maps(x: Tensor) -> list[Tensor]:
        found = network(x.contiguous(memory_format=torch.channels_last), max(CHANNELS) + 1)
        return [found[stage][:, :count] for stage, count in CHANNELS.items()]

    return Encoder(digest, 32, network, maps)


def _backbone(name: str) -> Encoder:
    unusable = f"The encoder '{name}' cannot be used"
    try:
        from transformers import AutoBackbone, AutoConfig
        from transformers.image_processing_utils import ImageProcessingMixin
    except ImportError:
        remedy = f"pip install transformers, or use {DEFAULT}"
        raise ModelError(f"The encoder '{name}' needs the package transformers: {remedy}.") from None
    try:
        config = AutoConfig.from_pretrained(name)
        # The stem is left out: it sees colours and edges only.
        config.out_indices = list(range(1, len(config.stage_names)))
        # AutoBackbone itself takes no local folder: ask it for the class only.
        network = type(AutoBackbone.from_config(config)).from_pretrained(name, config=config)
        network.eval().requires_grad_(False)
    except (OSError, ValueError, AttributeError, KeyError, ImportError, TypeError) as error:
        reason, *_ = [*str(error).strip().splitlines(), type(error).__name__]
        remedy = f"give the Hub id or the folder of a backbone with feature maps, or {DEFAULT}"
        raise ModelError(f"{unusable} ({reason}): {remedy}.") from None
    mean, deviation = IMAGENET
    if Path(name).is_dir() and (Path(name) / "preprocessor_config.json").is_file():
        stated = ImageProcessingMixin.get_image_processor_dict(name)[0]
        mean, deviation = stated.get("image_mean", mean), stated.get("image_std", deviation)
    scale = [torch.tensor(part).view(1, 3, 1, 1) for part in (mean, deviation)]
    step = getattr(network.config, "patch_size", 32)
    step = step if isinstance(step, int) and step > 4 else 32

    def maps(x: Tensor) -> list[Tensor]:
        found = list(network((((x + 1) / 2).cpu() - scale[0]).div(scale[1]).to(x.device)).feature_maps)
        strides = [x.shape[-1] / each.shape[-1] for each in found]
        fine = [each for each, stride in zip(found, strides, strict=True) if FINEST <= stride <= COARSEST]
        # A plain transformer has one grid for all depths: its middle and last layers.
        chosen = fine if len(set(strides)) > 1 and fine else [found[len(found) // 2], found[-1]]
        return [each[:, : MOST_CHANNELS // len(chosen)] for each in chosen]

    try:
        with torch.no_grad():
            maps(torch.zeros(1, 3, 4 * step, 4 * step))
    except (RuntimeError, ValueError, AttributeError, TypeError, IndexError) as error:
        raise ModelError(f"{unusable} ({error}): it gives no feature maps of pictures.") from None
    digest = hashlib.sha256()
    for key, value in sorted(network.state_dict().items()):
        digest.update(key.encode() + value.detach().contiguous().cpu().numpy().tobytes())
    return Encoder(digest.hexdigest(), step, network, maps)
