"""The state of a training run, and its checkpoint: one safetensors file, written atomically; no pickle anywhere."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import Dataset

from fmcore.errors import ModelError
from fmcore.fields.unet import VelocityUNet
from fmcore.training import TrainSettings

FILE = "checkpoint.safetensors"
WEIGHT_DECAY = 0.01
EMA = 0.998  # final decay of the moving average of weights

Images = Sequence[Tensor] | Dataset[Tensor] | Tensor


@dataclass
class TrainingState:
    """Everything that `train` changes. ``seconds`` is the time spent in ``step`` steps, before a resume too."""

    network: VelocityUNet
    average: AveragedModel
    optimizer: torch.optim.Optimizer
    step: int = 0
    seconds: float = 0.0


def start_training(network: VelocityUNet) -> TrainingState:
    """A fresh state: the moving average starts as a copy of the network."""
    optimizer = torch.optim.AdamW(network.core.parameters(), betas=(0.9, 0.99), weight_decay=WEIGHT_DECAY)

    @torch.no_grad()
    def average(averaged: list[Tensor], current: list[Tensor], count: Tensor) -> None:
        # A short run must not average over its first steps: the window grows with the step count.
        torch._foreach_lerp_(averaged, current, 1 - min(EMA, (1 + int(count)) / (10 + int(count))))

    return TrainingState(network, AveragedModel(network.core, multi_avg_fn=average), optimizer)


def save_state(folder: str | Path, state: TrainingState, settings: TrainSettings, data: str) -> None:
    """Write weights, moving average and optimiser state, replacing the last ones; ``data`` as in `load_state`."""
    tensors = {f"network.{k}": v for k, v in state.network.core.state_dict().items()}
    tensors |= {f"average.{k}": v for k, v in state.average.state_dict().items()}
    for index, values in state.optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{k}": torch.as_tensor(v) for k, v in values.items()}
    counts = {"step": str(state.step), "seconds": repr(state.seconds)}
    save_atomically(Path(folder) / FILE, tensors, counts | {"settings": settings.model_dump_json(), "images": data})


def load_state(folder: str | Path, state: TrainingState, settings: TrainSettings, data: str) -> None:
    """Restore ``state`` in place from ``folder``; nothing changes if there is no checkpoint. Raises `ModelError` if it
    is damaged, or was made with other settings or of other images, which ``data``, any text, tells apart."""
    path = Path(folder) / FILE
    if not path.exists():
        return
    metadata, tensors = read_safetensors(path)
    try:
        step, seconds = int(metadata["step"]), float(metadata["seconds"])
        used = json.loads(metadata["settings"]) | {"images": metadata["images"]}
    except (KeyError, ValueError):
        raise ModelError(f"'{path}' is not a checkpoint of this program: use another folder.") from None
    wanted = settings.model_dump(mode="json") | {"images": data}
    if changed := ", ".join(k for k in wanted | used if k not in used or k not in wanted or used[k] != wanted[k]):
        raise ModelError(f"The unfinished run in '{folder}' differs in {changed}: use the same, or another folder.")

    def part(name: str) -> dict[str, Tensor]:
        return {k.removeprefix(name): v for k, v in tensors.items() if k.startswith(name)}

    try:
        state.network.core.load_state_dict(part("network."))
        state.average.load_state_dict(part("average."))
        moments = {i: part(f"optimizer.{i}.") for i in range(len(state.optimizer.param_groups[0]["params"]))}
        state.optimizer.load_state_dict({**state.optimizer.state_dict(), "state": moments})
    except (RuntimeError, KeyError, ValueError):
        raise ModelError(f"The checkpoint in '{folder}' does not fit this network: use another folder.") from None
    state.step, state.seconds = step, seconds


def forget(folder: str | Path) -> None:
    """Remove the checkpoint of a run that has become a model, and what a killed process left."""
    for path in (Path(folder) / FILE, *Path(folder).glob(f".{FILE}.*")):
        path.unlink(missing_ok=True)


def save_atomically(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Write a safetensors file as `write_atomically` does."""
    # Cloned because safetensors refuses tensors that share memory; contiguous because it refuses strides.
    plain = {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}
    write_atomically(path, save(plain, metadata))


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file under a temporary name and rename it, so that no reader ever sees a part. Raises `ModelError` if it
    cannot be written; what was there before is left as it was."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(content)
        os.replace(temporary, path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        remedy = "change its permissions" if isinstance(error, PermissionError) else "free space there"
        raise ModelError(f"'{path}' cannot be written ({error}): {remedy}, or give another folder.") from None


def read_safetensors(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Metadata and tensors of a file; raises `ModelError` if it is missing or damaged, or may not be read."""
    try:
        path.open("rb").close()  # safetensors does not tell why it cannot open a file
        with safe_open(path, framework="pt") as file:
            return file.metadata() or {}, {key: file.get_tensor(key) for key in file.keys()}
    except PermissionError:
        raise ModelError(f"'{path}' may not be read by this user: change its permissions.") from None
    except (SafetensorError, OSError):
        raise ModelError(f"'{path}' is missing or damaged: fit the model again or copy it anew.") from None
