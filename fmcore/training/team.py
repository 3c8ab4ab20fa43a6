"""One training run in several processes, started by ``accelerate launch`` and held together by Accelerate:

    accelerate launch --multi_gpu --num_processes 4 -m fmcore fit DATA --out MODEL
    accelerate launch --multi_gpu --num_processes 2 -m fmcore fit DATA --out MODEL --device cpu

``--multi_gpu`` is what makes Accelerate start several processes, on processors too; with its own ``--cpu`` it
starts one, which is refused here. Threads of each process: ``--num_cpu_threads_per_process``. Several machines
need ``--num_machines``, ``--machine_rank``, ``--main_process_ip`` and a disk that they share.

Data-parallel: every process holds the whole model and all images, draws the random numbers of the whole step and
computes its part of the batch; gradients are averaged. A run of N processes therefore sees what a run of one
process sees and ends with the same weights up to the order of sums, which shows in bfloat16 and hardly in float32
(``--precision float32``). Only the main process writes; one on each machine prints.

Accelerate is imported only where several processes were started: nothing else needs it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from fmcore.errors import SettingsError, TrainingError


class Team:
    """The processes of a run. Every method but `part` is collective: all processes call it alike.

    Without an ``accelerator`` it is the team of a single process, whose methods give back what they are given.
    """

    def __init__(self, accelerator: Any = None):
        self._accelerator = accelerator
        self.size: int = accelerator.num_processes if accelerator else 1
        self.rank: int = accelerator.process_index if accelerator else 0

    @property
    def main(self) -> bool:
        """Whether this process is the one that writes and prints."""
        return self.rank == 0

    def wrap(self, module: nn.Module) -> nn.Module:
        """The module with its gradients averaged over processes; it starts from the main process's weights."""
        if self._accelerator is None:
            return module
        self._accelerator.clear()  # forget what was wrapped before: each wrapper holds a copy of the gradients
        return self._accelerator.prepare_model(module)

    def part(self, count: int) -> slice:
        """Which of ``count`` items this process computes; parts differ by one item at most."""
        return slice(count * self.rank // self.size, count * (self.rank + 1) // self.size)

    def whole(self, values: Tensor, count: int) -> Tensor:
        """``(count, ...)`` from the `part` that each process computed."""
        if self._accelerator is None:
            return values
        filled = values.new_zeros(count, *values.shape[1:])
        filled[self.part(count)] = values
        return self._accelerator.reduce(filled, "sum")

    def any(self, flag: bool) -> bool:
        """Whether ``flag`` holds in at least one process."""
        if self._accelerator is None:
            return flag
        return bool(self._accelerator.reduce(torch.tensor(float(flag), device=self._accelerator.device), "sum"))

    def text_of_main(self, text: str) -> str:
        """The main process's ``text``."""
        if self._accelerator is None:
            return text
        from accelerate.utils import broadcast

        # As numbers: the ready-made way to send an object pickles it.
        data = text.encode()
        length = int(broadcast(torch.tensor(len(data), device=self._accelerator.device)))
        buffer = torch.tensor(list(data[:length].ljust(length)), dtype=torch.uint8, device=self._accelerator.device)
        return bytes(broadcast(buffer).tolist()).decode()

    def require_same(self, text: str, what: str) -> None:
        """Raise `TrainingError` in all processes where ``text`` differs in one."""
        if self.any(self.text_of_main(text) != text):
            raise TrainingError(
                f"The processes of this run do not find the same {what}: put it on a disk that all machines share."
            )

    def leave(self) -> None:
        """Wait for the others and end the run."""
        if self._accelerator is not None:
            self._accelerator.wait_for_everyone()
            self._accelerator.end_training()


ALONE = Team()


def local_rank() -> int:
    """This process's number on its machine, known before any process has met another; 0 in an ordinary run."""
    return int(os.environ.get("LOCAL_RANK", 0)) if _launched() else 0


def join(device: str) -> Team:
    """The team that this process was started in; `ALONE` in an ordinary run. It makes "cuda" mean this process's GPU.

    Args:
        device: ``cpu`` or ``cuda``, for all processes.

    Raises:
        TrainingError: if Accelerate is not installed, or was told to do what is not data-parallel training.
        SettingsError: if there are fewer GPUs than processes.
    """
    if not _launched():
        # Set by `accelerate launch --cpu --num_processes N` for N > 1, which then starts one process.
        if os.environ.get("ACCELERATE_USE_CPU", "").lower() == "true" and "MASTER_ADDR" in os.environ:
            raise TrainingError(
                "`accelerate launch --cpu` has started one process only: launch with --multi_gpu in its place, and add "
                "--device cpu to the options of fit."
            )
        return ALONE
    try:
        from accelerate import Accelerator
        from accelerate.utils import DistributedType
    except ImportError:
        raise TrainingError(
            "A run of several processes needs Accelerate, which is not installed: pip install accelerate."
        ) from None
    here = int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    if device == "cuda" and here > torch.cuda.device_count():
        raise SettingsError(
            f"{here} processes were started for {torch.cuda.device_count()} GPU(s): start one per GPU "
            "(--num_processes), or add --device cpu."
        )
    accelerator = Accelerator(cpu=device == "cpu", mixed_precision="no")  # precision is a setting of ours
    if accelerator.distributed_type not in (DistributedType.MULTI_CPU, DistributedType.MULTI_GPU):
        raise TrainingError(
            f"Training is data-parallel only: launch with --multi_gpu, not for {accelerator.distributed_type.value}."
        )
    return Team(accelerator)


@contextmanager
def one_sentence_if_another_ends() -> Iterator[None]:
    """Turn the many errors of a lost connection into a `TrainingError`."""
    try:
        yield
    except RuntimeError as error:
        lost = isinstance(error, torch.distributed.DistError) or any(n in str(error) for n in ("gloo", "NCCL", "nccl"))
        if not lost:
            raise
        raise TrainingError(
            "Another process of this run has ended, so this one stops too: see its message, then repeat the same "
            "command to go on from the last checkpoint."
        ) from None


def _launched() -> bool:
    return int(os.environ.get("WORLD_SIZE") or 1) > 1
