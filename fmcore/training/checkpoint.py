"""Resumable training checkpoints: one safetensors file, written atomically; no pickle anywhere."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from fmcore.errors import ModelError
from fmcore.settings import Settings

if TYPE_CHECKING:
    from fmcore.training.loop import TrainingState

FILE = "checkpoint.safetensors"


def save(folder: str | Path, state: TrainingState, settings: Settings, step: int) -> None:
    """Write weights, moving average and optimiser state after ``step`` steps, replacing the last ones."""
    tensors = {f"network.{k}": v for k, v in state.network.core.state_dict().items()}
    tensors |= {f"average.{k}": v for k, v in state.average.state_dict().items()}
    for index, values in state.optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{k}": torch.as_tensor(v) for k, v in values.items()}
    metadata = {"step": str(step), "settings": settings.model_dump_json(), "seconds": repr(state.seconds)}
    save_atomically(Path(folder) / FILE, tensors, metadata)


def load(folder: str | Path, state: TrainingState, settings: Settings) -> int:
    """Restore ``state`` in place from ``folder``; returns the number of finished steps, 0 if there is none.

    Raises:
        ModelError: if the checkpoint is damaged, or was made with other settings.
    """
    path = Path(folder) / FILE
    if not path.exists():
        return 0
    metadata, tensors = read_safetensors(path)
    try:
        step, used = int(metadata["step"]), json.loads(metadata["settings"])
        seconds = float(metadata.get("seconds", 0))
    except (KeyError, ValueError):
        raise ModelError(f"'{path}' is not a checkpoint of this program: use another folder.") from None
    wanted = settings.model_dump(mode="json")
    if changed := [k for k in wanted | used if k not in used or k not in wanted or used[k] != wanted[k]]:
        raise ModelError(
            f"The unfinished run in '{folder}' used other settings ({', '.join(changed)}): use them, or another folder."
        )

    def part(name: str) -> dict[str, Tensor]:
        return {k.removeprefix(name): v for k, v in tensors.items() if k.startswith(name)}

    try:
        state.network.core.load_state_dict(part("network."))
        state.average.load_state_dict(part("average."))
        moments: dict[int, dict[str, Tensor]] = {}
        for key, value in part("optimizer.").items():
            index, name = key.split(".", 1)
            moments.setdefault(int(index), {})[name] = value
        state.optimizer.load_state_dict({**state.optimizer.state_dict(), "state": moments})
    except (RuntimeError, KeyError, ValueError):
        raise ModelError(f"The checkpoint in '{folder}' does not fit this network: use another folder.") from None
    state.seconds = seconds
    return step


def save_atomically(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Write a safetensors file; raises and leaves things as `write_atomically` does."""
    # Cloned because safetensors refuses tensors that share memory; contiguous because it refuses strides.
    plain = {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}
    write_atomically(path, lambda temporary: save_file(plain, temporary, metadata))


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Have ``write`` make a file under a temporary name and rename it, so that no reader ever sees a part.

    Raises:
        ModelError: if it cannot be written; what was there before is left as it was.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(temporary)
        os.replace(temporary, path)
    except (OSError, SafetensorError) as error:
        with suppress(OSError):
            temporary.unlink()
        raise ModelError(f"'{path}' cannot be written ({error}): free space there, or give another folder.") from None


def read_safetensors(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Metadata and tensors of a safetensors file.

    Raises:
        ModelError: if it is missing or damaged.
    """
    try:
        with safe_open(path, framework="pt") as file:
            return file.metadata() or {}, {key: file.get_tensor(key) for key in file.keys()}
    except (SafetensorError, OSError):
        raise ModelError(f"'{path}' is missing or damaged: fit the model again or copy it anew.") from None
