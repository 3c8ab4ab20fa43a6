"""Resumable training checkpoints: one safetensors file, written atomically; no pickle anywhere."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from fmcore.errors import ModelError
from fmcore.settings import Settings

if TYPE_CHECKING:
    from fmcore.training import TrainingState

FILE = "checkpoint.safetensors"


def save(folder: str | Path, state: TrainingState, settings: Settings, step: int) -> None:
    """Write weights, moving average and optimiser state after ``step`` steps, replacing the last ones."""
    tensors = {f"network.{k}": v for k, v in state.network.core.state_dict().items()}
    tensors |= {f"average.{k}": v for k, v in state.average.state_dict().items()}
    for index, values in state.optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{k}": torch.as_tensor(v) for k, v in values.items()}
    metadata = {"step": str(step), "settings": settings.model_dump_json()}
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
    if metadata.get("settings") != settings.model_dump_json():
        changed = [
            k
            for k, v in json.loads(metadata.get("settings", "{}")).items()
            if v != settings.model_dump(mode="json").get(k)
        ]
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
    return int(metadata["step"])


def save_atomically(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Write a safetensors file under a temporary name and rename it, so that no reader ever sees a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    # Cloned because safetensors refuses tensors that share memory; contiguous because it refuses strides.
    save_file({k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}, temporary, metadata)
    os.replace(temporary, path)


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
