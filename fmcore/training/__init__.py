"""Training of a network (Eq. 1): its settings here, `train` in `fmcore.training.loop`."""

from __future__ import annotations

import math
from typing import Literal

import torch
from pydantic import Field

from fmcore.settings import Settings

MOST_STEPS = 10_000_000


class TrainSettings(Settings):
    """How long and how a `fmcore.fields.unet.VelocityUNet` is trained."""

    minutes: float = Field(20.0, gt=0, le=100_000, description="training time, those before a resume included")
    passes: float = Field(450.0, gt=0, description="most passes over the images, however many minutes are left")
    steps: int | None = Field(None, ge=1, le=MOST_STEPS, description="training steps, instead of minutes and passes")
    batch: int = Field(16, ge=1, le=4096)
    learning_rate: float = Field(1e-3, gt=0, le=1)
    precision: Literal["auto", "float32", "bfloat16"] = Field("auto", description="auto: bfloat16 where it is fast")
    save_every: int = Field(200, ge=1, description="training steps between checkpoints")
    seed: int = Field(0, ge=0, lt=2**31)

    def most_steps(self, images: int) -> int:
        """``steps``, or those of the most passes over so many images, the last pass counted whole."""
        return self.steps or min(math.ceil(self.passes * images / self.batch), MOST_STEPS)

    def progress(self, step: int, images: int, seconds: float) -> float:
        """How much of the run is over after ``step`` steps and ``seconds``, in [0, 1]."""
        done = step / self.most_steps(images)
        return min(1.0, done if self.steps else max(done, seconds / (60 * self.minutes)))

    def autocast_type(self, device: torch.device) -> torch.dtype:
        """What the network computes in; its weights are float32 always."""
        if self.precision != "auto":
            return getattr(torch, self.precision)
        cpu = torch.cpu.get_capabilities().get("avx512_bf16")
        return torch.bfloat16 if (torch.cuda.is_bf16_supported() if device.type == "cuda" else cpu) else torch.float32
