"""Writing a model's folder: ``model.json`` (settings, categories, thresholds, versions) and safetensors files.

Nothing is pickled. ``model.json`` is written last and names the other files, so that a folder that was interrupted
half-way has none and is refused.
"""

from __future__ import annotations

import json
import platform
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

import fmcore
from fmcore.errors import ModelError
from fmcore.training.checkpoint import save_atomically, write_atomically

if TYPE_CHECKING:
    from fmcore.detector.model import Model

FILE = "model.json"
SHARD_BYTES = 9_000_000  # the Hub takes larger files by LFS only; a larger tensor has a file of its own


def save_model(folder: str | Path, model: Model, *, half: bool = False) -> None:
    """Write a model folder. ``half`` stores all weights as float16; what a field says is exact in half precision is
    always stored so.

    Raises:
        ModelError: if it cannot be written.
    """
    folder = Path(folder)
    try:
        (folder / FILE).unlink(missing_ok=True)
    except OSError as error:
        raise ModelError(f"'{folder / FILE}' cannot be replaced ({error}): give another folder.") from None
    tensors: dict[str, Tensor] = {}
    for index, name in enumerate(model.categories):
        tensors |= _state(f"view.{index}.", model.views[name])
        if model.shared is None:
            tensors |= _state(f"field.{index}.", model.fields[name])
    if model.shared is not None:
        tensors |= _state("shared.", model.shared)
    if half:
        tensors = {k: v.half() if v.is_floating_point() else v for k, v in tensors.items()}
    for index, name in enumerate(model.categories):
        if (r := model.normal_ranges.get(name)) is not None:
            for part in ("times", "lower", "upper"):
                tensors[f"range.{index}.{part}"] = torch.from_numpy(getattr(r, part))
    files = []
    for number, shard in enumerate(_shards(tensors)):
        files.append(f"weights-{number:02d}.safetensors")
        save_atomically(folder / files[-1], shard, {})
    info = model.info.model_copy(update={"files": tuple(files), "versions": current_versions()})
    text = json.dumps(info.model_dump(mode="json"), indent=1)
    write_atomically(folder / FILE, lambda path: path.write_text(text, encoding="utf-8"))
    # A larger model that was here before leaves files that nothing names any more.
    for old in set(folder.glob("weights-*.safetensors")) - {folder / name for name in files}:
        old.unlink()


def current_versions() -> dict[str, str]:
    """Versions that a figure may depend on."""
    return {"fmcore": fmcore.__version__, "torch": torch.__version__, "python": platform.python_version()}


def _state(prefix: str, part: nn.Module) -> dict[str, Tensor]:
    exact = getattr(part, "stored_as_half", ())
    return {f"{prefix}{k}": v.half() if k in exact else v for k, v in part.state_dict().items()}


def _shards(tensors: dict[str, Tensor]) -> list[dict[str, Tensor]]:
    """Whole tensors in files of about `SHARD_BYTES`; a larger tensor has a file of its own."""
    from huggingface_hub import split_torch_state_dict_into_shards

    plan = split_torch_state_dict_into_shards(tensors, max_shard_size=SHARD_BYTES)
    return [{key: tensors[key] for key in keys} for keys in plan.filename_to_tensors.values()]
