"""A model: velocity fields of one or more categories with all that scoring needs, and its folder on disk.

The folder holds ``model.json`` (settings, categories, thresholds, training summary, versions) and
safetensors files of at most 9 MB each, which the Hub takes without LFS. Nothing is pickled.
"""

from __future__ import annotations

import json
import os
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor

import fmcore
from fmcore.detector.calibration import NormalRange, Threshold
from fmcore.detector.tiles import tile_side
from fmcore.errors import ModelError, SettingsError
from fmcore.fields.gaussian import GaussianField
from fmcore.fields.source import SourceKind, mapped_back
from fmcore.fields.tiled import TiledField, tile_corners
from fmcore.fields.unet import UNetSettings, VelocityUNet
from fmcore.mismatch.mismatch import HeatSettings, PathSettings, VelocityField
from fmcore.settings import Settings
from fmcore.training.checkpoint import read_safetensors, save_atomically

FILE = "model.json"
SHARD_BYTES = 9_000_000


class ModelInfo(Settings):
    """The JSON beside the weights."""

    format: Literal[1, 2] = 2
    kind: Literal["gaussian", "unet"]
    size: int = Field(ge=8, le=512)
    channels: int = Field(ge=1, le=3)
    categories: tuple[str, ...] = Field(min_length=1)
    paths: PathSettings = PathSettings()
    heat: HeatSettings = HeatSettings()
    thresholds: dict[str, Threshold | None] = {}
    notes: dict[str, str] = Field({}, description="by category, why there is no threshold")
    source: SourceKind = "white"
    unet: UNetSettings | None = None
    tile_view: int = Field(
        0, ge=0, le=512, description="pixels per side of an image as the tiles beside the network see it; 0: no tiles"
    )
    training: dict = Field({}, description="what was trained on what, for how long")
    versions: dict[str, str] = {}
    files: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _measured_as_now(self) -> ModelInfo:
        if self.format == 1 and self.tile_view:
            raise ValueError("format 1 compared tiles otherwise, and its thresholds would not hold")
        return self


@dataclass(frozen=True)
class Model:
    """Fields of all categories: one `GaussianField` per category, and a `VelocityUNet` where it was learned, with
    or without Gaussian ``tiles``, one `TiledField` per category (`PathSettings.tiles`).

    With another source than white noise the first two are fields of whitened images; `field` maps them back."""

    info: ModelInfo
    gaussians: tuple[GaussianField, ...]
    network: VelocityUNet | None
    normal_ranges: dict[str, NormalRange]
    tiles: tuple[TiledField, ...] = ()

    def category(self, name: str | None = None) -> str:
        """``name`` checked against the model's categories; the only one there is if None.

        Raises:
            SettingsError: if it is unknown, or not given though the model has several.
        """
        known = self.info.categories
        if name is None and len(known) == 1:
            return known[0]
        if name not in known:
            said = "This model has several categories" if name is None else f"This model has no category '{name}'"
            raise SettingsError(f"{said}: choose one of {', '.join(known)}.")
        return name

    def field(self, category: str | None = None) -> VelocityField:
        """The velocity field ``(x, t) -> v`` of a category."""
        index = self.info.categories.index(self.category(category))
        field = self.network.conditioned(index) if self.network is not None else self.gaussians[index]
        return mapped_back(field, self.info.source)

    def tiles_of(self, category: str | None = None) -> TiledField | None:
        """The Gaussian tiles of a category, None where the model has none."""
        return self.tiles[self.info.categories.index(self.category(category))] if self.tiles else None

    def paths(self, **given: Any) -> PathSettings:
        """The model's own path settings, some replaced.

        Raises:
            SettingsError: for values out of range, or tiles that the model does not have.
        """
        paths = self.info.paths.replace(**given)
        if paths.tiles and not self.tiles:
            raise SettingsError(
                f"Setting 'tiles' = {paths.tiles} is not usable: this model has no Gaussian tiles; set tiles = 0, or "
                "fit a unet anew."
            )
        return paths

    @property
    def device(self) -> torch.device:
        return self.gaussians[0].mean.device if self.gaussians else next(self.network.parameters()).device


def current_versions() -> dict[str, str]:
    """Versions that a figure may depend on."""
    return {"fmcore": fmcore.__version__, "torch": torch.__version__, "python": platform.python_version()}


def save_model(folder: str | Path, model: Model, *, half: bool = False) -> None:
    """Write a model folder; ``model.json`` comes last and names the weight files, so a folder that was
    interrupted half-way has none and is refused. ``half`` stores weights as float16."""
    folder = Path(folder)
    (folder / FILE).unlink(missing_ok=True)
    tensors: dict[str, Tensor] = {}
    for index, gaussian in enumerate(model.gaussians):
        tensors |= {f"gaussian.{index}.{k}": v for k, v in gaussian.state_dict().items()}
    for index, tiled in enumerate(model.tiles):
        for number, gaussian in enumerate(tiled.fields):
            state = gaussian.state_dict()
            tensors |= {f"tile.{index}.{number}.{k}": v for k, v in state.items()}
            tensors[f"tile.{index}.{number}.components"] = state["components"].half()
    if model.network is not None:
        tensors |= {f"core.{k}": v for k, v in model.network.core.state_dict().items()}
    if half:
        tensors = {k: v.half() if v.is_floating_point() else v for k, v in tensors.items()}
    for index, category in enumerate(model.info.categories):
        if category in model.normal_ranges:
            r = model.normal_ranges[category]
            tensors |= {
                f"range.{index}.lower": torch.from_numpy(r.lower),
                f"range.{index}.upper": torch.from_numpy(r.upper),
            }
            tensors[f"range.{index}.times"] = torch.from_numpy(r.times)
    files = []
    for number, shard in enumerate(_shards(tensors)):
        files.append(f"weights-{number:02d}.safetensors")
        save_atomically(folder / files[-1], shard, {})
    info = model.info.replace(files=tuple(files), versions=current_versions())
    temporary = folder / f".{FILE}.{os.getpid()}"
    temporary.write_text(json.dumps(info.model_dump(mode="json"), indent=1))
    os.replace(temporary, folder / FILE)
    # A larger model that was here before leaves files that nothing names any more.
    for old in set(folder.glob("weights-*.safetensors")) - {folder / name for name in files}:
        old.unlink()


def load_model(folder: str | Path, device: str | torch.device = "cpu") -> Model:
    """Read a model folder.

    Raises:
        ModelError: if it is missing, unfinished, damaged, or made by another version of the format.
    """
    folder = Path(folder)
    info = read_info(folder)
    tensors: dict[str, Tensor] = {}
    for name in info.files:
        # The names come from a file that may be somebody else's: keep them inside the folder.
        tensors |= read_safetensors(folder / Path(name).name)[1]
    tensors = {k: v.float() if v.is_floating_point() and not k.startswith("range.") else v for k, v in tensors.items()}
    try:
        return _assemble(info, tensors, torch.device(device))
    except (KeyError, RuntimeError, ValueError, TypeError, AttributeError):
        raise ModelError(
            f"The weights in '{folder}' do not fit its {FILE}: fit the model again or copy it anew."
        ) from None


def read_info(folder: str | Path) -> ModelInfo:
    """Only the JSON of a model folder; raises as `load_model`."""
    folder = Path(folder)
    if not folder.is_dir():
        raise ModelError(f"There is no model folder '{folder}': check the path, or fit a model first.")
    if not (folder / FILE).is_file():
        raise ModelError(f"'{folder}' holds no finished model ({FILE} is missing): fit it to the end first.")
    try:
        return ModelInfo.model_validate_json((folder / FILE).read_text())
    except (ValueError, OSError):
        raise ModelError(
            f"'{folder / FILE}' is damaged or of another format: fit the model again or copy it anew."
        ) from None


def _shards(tensors: dict[str, Tensor]) -> list[dict[str, Tensor]]:
    shards: list[dict[str, Tensor]] = [{}]
    used = 0
    for key, tensor in tensors.items():
        # Principal components can exceed a shard on their own; rows of one tensor are split and rejoined.
        rows = max(1, SHARD_BYTES // max(1, tensor[:1].nbytes)) if tensor.ndim else 1
        parts = [tensor] if tensor.nbytes <= SHARD_BYTES else list(tensor.split(rows))
        for number, part in enumerate(parts):
            if shards[-1] and used + part.nbytes > SHARD_BYTES:
                shards.append({})
                used = 0
            shards[-1][key if len(parts) == 1 else f"{key}#{number:04d}"] = part
            used += part.nbytes
    return shards


def _assemble(info: ModelInfo, stored: dict[str, Tensor], device: torch.device) -> Model:
    tensors: dict[str, Tensor] = {k: v for k, v in stored.items() if "#" not in k}
    for key in sorted({k.split("#")[0] for k in stored if "#" in k}):
        tensors[key] = torch.cat([stored[k] for k in sorted(stored) if k.startswith(f"{key}#")])

    def part(prefix: str) -> dict[str, Tensor]:
        return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}

    def gaussian(prefix: str, side: int) -> GaussianField:
        field = GaussianField(**part(prefix))
        count = field.variances.numel()
        expected = ((info.channels, side, side), (count, field.mean.numel()), (count,), ())
        if tuple(tuple(v.shape) for v in field.buffers()) != expected:
            raise ValueError("shapes of a Gaussian field")
        return field.to(device)

    every, tile = range(len(info.categories)), tile_side(info.tile_view)
    gaussians, tiles = [], []
    if info.kind == "gaussian" or info.unet.start == "gaussian":
        gaussians = [gaussian(f"gaussian.{index}.", info.size) for index in every]
    if info.tile_view:
        count = len(tile_corners(info.tile_view, info.tile_view, tile))
        tiles = [TiledField([gaussian(f"tile.{i}.{n}.", tile) for n in range(count)], tile) for i in every]
    network = None
    if info.kind == "unet":
        network = VelocityUNet(info.unet, gaussians)
        network.core.load_state_dict(part("core."))
        network.to(device).eval()
    ranges = {}
    for index, category in enumerate(info.categories):
        if values := {k: v.numpy() for k, v in part(f"range.{index}.").items()}:
            ranges[category] = NormalRange(values["times"], values["lower"], values["upper"])
    return Model(info, tuple(gaussians), network, ranges, tuple(tiles))
