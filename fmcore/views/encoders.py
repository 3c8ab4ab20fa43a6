"""Pretrained encoders by name: the bundled EfficientNet-lite0, or any backbone that transformers can open."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from fmcore.errors import ModelError
from fmcore.views.efficientnet import load_efficientnet_lite0

DEFAULT = "efficientnet-lite0"
# Channels taken from the second, fourth, fifth and sixth stage (strides 4, 16, 16, 32). A full covariance of all would
# not fit, and the channels of a stage are as good as each other.
CHANNELS = {1: 24, 3: 40, 4: 72, 5: 40}
MOST_CHANNELS = sum(CHANNELS.values())
FINEST, COARSEST = 4, 16  # strides of the maps that are used of another encoder, where it has several
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@dataclass(frozen=True)
class Encoder:
    """A frozen network. ``maps(x)`` takes ``(1, 3, H, W)`` in [-1, 1], sides multiples of ``step``, to feature maps
    ``(1, C, h, w)``; ``digest`` is the SHA-256 of its weights."""

    name: str
    digest: str
    step: int
    network: torch.nn.Module
    maps: Callable[[Tensor], list[Tensor]]

    def to(self, device: torch.device) -> Encoder:
        """Itself, its network moved there."""
        self.network.to(device)
        return self


@functools.lru_cache(maxsize=2)
def load_encoder(name: str = DEFAULT) -> Encoder:
    """An encoder by name: `DEFAULT`, or a Hub id or local folder for transformers' ``AutoBackbone``.

    Raises:
        ModelError: if it cannot be had, or gives no feature maps.
    """
    return _bundled() if name == DEFAULT else _backbone(name)


def _bundled() -> Encoder:
    network, digest = load_efficientnet_lite0()
    network.to(memory_format=torch.channels_last)

    def maps(x: Tensor) -> list[Tensor]:
        found = network(x.contiguous(memory_format=torch.channels_last), max(CHANNELS) + 1)
        return [found[stage][:, :count] for stage, count in CHANNELS.items()]

    return Encoder(DEFAULT, digest, 32, network, maps)


def _backbone(name: str) -> Encoder:
    try:
        from transformers import AutoBackbone, AutoConfig
        from transformers.image_processing_utils import ImageProcessingMixin
    except ImportError:
        raise ModelError(
            f"The encoder '{name}' needs the package transformers: pip install 'flow-mismatching[encoders]', or use "
            f"{DEFAULT}."
        ) from None
    unusable = f"The encoder '{name}' cannot be used"
    try:
        config = AutoConfig.from_pretrained(name)
        # The stem is left out: it sees colours and edges only.
        config.out_indices = list(range(1, len(config.stage_names)))
        # AutoBackbone itself takes no local folder: ask it for the class only.
        network = type(AutoBackbone.from_config(config)).from_pretrained(name, config=config)
        network.eval().requires_grad_(False)
    except (OSError, ValueError, AttributeError, KeyError, ImportError, TypeError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelError(
            f"{unusable} ({reason}): give the Hub id or the folder of a backbone with feature maps, or {DEFAULT}."
        ) from None
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
    return Encoder(name, digest.hexdigest(), step, network, maps)
