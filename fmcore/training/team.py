"""One training run in several processes, started by ``accelerate launch`` and held together by Accelerate:

    accelerate launch --multi_gpu --num_processes 4 -m fmcore fit DATA --out MODEL
    accelerate launch --multi_gpu --num_processes 2 -m fmcore fit DATA --out MODEL --device cpu

Every process draws the random numbers of the whole step and computes its part of the batch; gradients are averaged. A
run of N processes therefore ends with the weights of a run of one, up to the order of sums, which shows in bfloat16 and
hardly in float32. Only the main process writes. In a run of one process ``accelerator`` is None, and Accelerate is not
imported.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from fmcore.errors import SettingsError, TrainingError

if TYPE_CHECKING:
    from accelerate import Accelerator


def join(device: str) -> Accelerator | None:
    """What this process was started in, or None; makes "cuda", if that is the ``device``, mean this process's GPU.
    Raises `TrainingError` if Accelerate is not installed, or has started one process in place of several, and
    `SettingsError` for fewer GPUs than processes."""
    if int(os.environ.get("WORLD_SIZE") or 1) == 1:
        # Set by `accelerate launch --cpu --num_processes N` for N > 1, which then starts one process.
        if os.environ.get("ACCELERATE_USE_CPU", "").lower() == "true" and "MASTER_ADDR" in os.environ:
            raise TrainingError("`accelerate launch --cpu` starts one process only: use --multi_gpu, and --device cpu.")
        return None
    try:
        from accelerate import Accelerator
    except ImportError:
        raise TrainingError("A run of several processes needs Accelerate: pip install accelerate.") from None
    here, gpus = int(os.environ.get("LOCAL_WORLD_SIZE", 1)), torch.cuda.device_count()
    if device == "cuda" and here > gpus:
        raise SettingsError(f"{here} processes were started for {gpus} GPU(s): start one per GPU, or add --device cpu.")
    return Accelerator(cpu=device == "cpu", mixed_precision="no")  # precision is a setting of ours


def part_of(count: int, accelerator: Accelerator | None) -> slice:
    """Which of ``count`` items this process computes; parts differ by one item at most."""
    rank, size = (accelerator.process_index, accelerator.num_processes) if accelerator else (0, 1)
    return slice(count * rank // size, count * (rank + 1) // size)


def total(values: Tensor, accelerator: Accelerator | None) -> Tensor:
    """The sum of all processes' ``values``, shaped as them; all processes call it alike."""
    return values if accelerator is None else accelerator.reduce(values, "sum")


def require_same(text: str, what: str, accelerator: Accelerator | None) -> None:
    """Raise `TrainingError` in all processes where ``text`` is not the same in all; all call it alike."""
    if accelerator is None:
        return
    from accelerate.utils import gather_object

    if len(set(gather_object([text]))) > 1:
        raise TrainingError(f"The processes of this run do not find the same {what}: use a disk that all share.")


@contextmanager
def one_sentence_if_another_ends() -> Iterator[None]:
    """Turn the many errors of a lost connection into a `TrainingError`."""
    try:
        yield
    except RuntimeError as error:
        lost = isinstance(error, torch.distributed.DistError) or any(n in str(error) for n in ("gloo", "NCCL", "nccl"))
        if not lost:
            raise
        raise TrainingError("Another process has ended: see its message, then repeat the command to go on.") from None
