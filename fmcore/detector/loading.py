"""Reading a model's folder, which may be somebody else's."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from fmcore.detector.calibration import NormalRange
from fmcore.detector.model import FORMAT, Model, ModelInfo, PartInfo
from fmcore.detector.saving import FILE
from fmcore.errors import ModelError
from fmcore.fields import FIELDS
from fmcore.registry import Registry
from fmcore.training.checkpoint import read_safetensors
from fmcore.views import VIEWS


def load_model(folder: str | Path, device: str | torch.device = "cpu") -> Model:
    """Read a model folder.

    Raises:
        ModelError: if it is missing, unfinished, damaged, made by another version of the format, or needs an encoder,
            view or field that is not here.
    """
    folder = Path(folder)
    info = read_info(folder)
    tensors: dict[str, Tensor] = {}
    for name in info.files:
        # The names come from a file that may be somebody else's: keep them inside the folder.
        tensors |= read_safetensors(folder / Path(name).name)[1]

    def filled(registry: Registry, part: PartInfo, prefix: str) -> nn.Module:
        state = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
        if registry is FIELDS:
            # A config is somebody's text: no memory for shapes that the stored tensors do not have.
            with torch.device("meta"):
                expected = registry.build(part.kind, part.config).state_dict()
            if {k: v.shape for k, v in expected.items()} != {k: v.shape for k, v in state.items()}:
                raise ValueError("shapes")
        built = registry.build(part.kind, part.config)
        built.load_state_dict(state)
        return built.eval()

    try:
        views, fields, ranges = {}, {}, {}
        for index, (name, category) in enumerate(info.categories.items()):
            views[name] = filled(VIEWS, category.view, f"view.{index}.")
            if info.shared is None:
                fields[name] = filled(FIELDS, category.field, f"field.{index}.")
            stored = [tensors.get(f"range.{index}.{part}") for part in ("times", "lower", "upper")]
            if all(part is not None for part in stored):
                ranges[name] = NormalRange(*(np.asarray(part) for part in stored))
        shared = filled(FIELDS, info.shared, "shared.") if info.shared else None
        return Model(info, views, fields, shared, ranges).to(device)
    except (KeyError, RuntimeError, ValueError, TypeError, AttributeError) as error:
        if isinstance(error, ModelError):
            raise
        raise ModelError(
            f"The weights in '{folder}' do not fit its {FILE}: fit the model again or copy it anew."
        ) from None


def read_info(folder: str | Path) -> ModelInfo:
    """Only the JSON of a model folder; raises as `load_model`."""
    folder = Path(folder)
    if not folder.is_dir():
        raise ModelError(f"There is no model folder '{folder}': check the path, or fit a model first.")
    path = folder / FILE
    if not path.is_file():
        raise ModelError(f"'{folder}' holds no finished model ({FILE} is missing): fit it to the end first.")
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        found = stored.get("format")
        if isinstance(found, int) and found != FORMAT:
            age = "an older" if found < FORMAT else "a newer"
            raise ModelError(
                f"'{folder}' was made by {age} version of this program (format {found}, here {FORMAT}): fit it again."
            )
        # Validated as text: tuples are lists in JSON, which strict settings accept from there only.
        return ModelInfo.model_validate_json(json.dumps(stored))
    except PermissionError as error:
        raise ModelError(f"'{path}' cannot be read ({error.strerror}): give yourself the right to read it.") from None
    except (ValidationError, json.JSONDecodeError, UnicodeDecodeError, AttributeError, OSError):
        raise ModelError(f"'{path}' is damaged or of another format: fit the model again or copy it anew.") from None
