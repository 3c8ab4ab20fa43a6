"""A model, for each category a view, a field and a threshold; and its folder: ``model.json`` and safetensors files.

Nothing is pickled. ``model.json`` is written last and names the other files, so that a folder that was interrupted
half-way has none and is refused.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import torch
from huggingface_hub import split_torch_state_dict_into_shards
from pydantic import ValidationError
from torch import Tensor

import fmcore
from fmcore.detector.calibration import NormalRange, Stored, Threshold
from fmcore.detector.hub import HubModel
from fmcore.detector.score import Verdict, score
from fmcore.errors import ModelError, SettingsError
from fmcore.fields import FIELDS
from fmcore.fields.field import Field, VelocityField
from fmcore.mismatch import HeatSettings, PathSettings
from fmcore.registry import Part, Registry
from fmcore.training.checkpoint import read_safetensors, save_atomically, write_atomically
from fmcore.views import VIEWS, View

FILE, FORMAT = "model.json", 3
SHARD_BYTES = 9_000_000  # the Hub takes larger files by LFS only; a larger tensor has a file of its own
RANGE = ("times", "lower", "upper")


class PartInfo(Stored):
    """What rebuilds an empty view or field."""

    kind: str
    config: dict[str, Any]

    @classmethod
    def of(cls, part: Part) -> Self:
        return cls(kind=part.kind, config=part.config)


class CategoryInfo(Stored):
    """One category; ``field`` is None where the model has one field for all. ``note`` says why there is no threshold;
    ``unlike`` names the good images that are unlike the others and did not count for it; ``scores`` are those of the
    held-out ones that did."""

    view: PartInfo
    field: PartInfo | None = None
    threshold: Threshold | None = None
    note: str = ""
    unlike: tuple[str, ...] = ()
    scores: tuple[float, ...] = ()


class ModelInfo(Stored):
    """The JSON beside the weights."""

    format: Literal[3] = FORMAT
    categories: dict[str, CategoryInfo]
    shared: PartInfo | None = None
    paths: PathSettings
    heat: HeatSettings
    training: dict[str, Any] = {}
    versions: dict[str, str] = {}
    files: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        """The kind of the field, of the first category where there are several."""
        return (self.shared or next(iter(self.categories.values())).field).kind


@dataclass(frozen=True)
class Model(HubModel):
    """``views`` and ``fields`` by category; ``shared`` is the field of all categories, where there is one."""

    info: ModelInfo
    views: dict[str, View]
    fields: dict[str, Field]
    shared: Field | None
    normal_ranges: dict[str, NormalRange]

    @property
    def categories(self) -> tuple[str, ...]:
        return tuple(self.info.categories)

    def category(self, name: str | None = None) -> str:
        """``name``, or the only one there is. Raises `SettingsError` if it is unknown, or needed and None."""
        known = self.categories
        if name is None and len(known) == 1:
            return known[0]
        if name not in known:
            said = "This model has several categories" if name is None else f"This model has no category '{name}'"
            raise SettingsError(f"{said}: choose one of {', '.join(known)}.")
        return name

    def view(self, category: str | None = None) -> View:
        return self.views[self.category(category)]

    def field(self, category: str | None = None) -> VelocityField:
        """The velocity field ``(x, t) -> v`` of a category."""
        name = self.category(category)
        return self.shared.conditioned(self.categories.index(name)) if self.shared is not None else self.fields[name]

    def threshold(self, category: str | None = None) -> Threshold | None:
        return self.info.categories[self.category(category)].threshold

    def note(self, category: str | None = None) -> str:
        """Why there is no threshold."""
        return self.info.categories[self.category(category)].note

    def is_own(self, paths: PathSettings | None, heat: HeatSettings | None) -> bool:
        """Whether these are the settings that the thresholds were measured with; None: the model's own."""
        return (paths or self.info.paths, heat or self.info.heat) == (self.info.paths, self.info.heat)

    @property
    def device(self) -> torch.device:
        return next(iter(self.views.values())).device

    def to(self, device: str | torch.device) -> Self:
        """Itself, moved there."""
        for part in self.parts().values():
            part.to(device)
        return self

    def parts(self) -> dict[str, Part]:
        """Views and fields, by the prefix of their tensors in the folder."""
        views = {f"view.{index}.": self.views[name] for index, name in enumerate(self.categories)}
        if self.shared is not None:
            return views | {"shared.": self.shared}
        return views | {f"field.{index}.": self.fields[name] for index, name in enumerate(self.categories)}

    def score(self, pictures: Any, category: str | None = None) -> Verdict | list[Verdict]:
        """`fmcore.detector.score.score` of one picture, or a list of verdicts for a list of them."""
        if isinstance(pictures, Sequence) and not isinstance(pictures, str):
            return [score(self, picture, category) for picture in pictures]
        return score(self, pictures, category)

    def save(self, folder: str | Path, *, half: bool = False) -> None:
        """Write a model folder. ``half`` stores all weights as float16; what a field says is exact in half precision is
        always stored so. Raises `ModelError` if it cannot be written."""
        folder = Path(folder)
        try:
            (folder / FILE).unlink(missing_ok=True)
        except OSError as error:
            raise ModelError(f"'{folder / FILE}' cannot be replaced ({error}): give another folder.") from None
        tensors: dict[str, Tensor] = {}
        for prefix, part in self.parts().items():
            exact = getattr(part, "stored_as_half", ())
            for name, tensor in part.state_dict().items():
                to_half = name in exact or (half and tensor.is_floating_point())
                tensors[prefix + name] = tensor.half() if to_half else tensor
        for index, name in enumerate(self.categories):
            if (known := self.normal_ranges.get(name)) is not None:
                tensors |= {f"range.{index}.{part}": torch.from_numpy(getattr(known, part)) for part in RANGE}
        shards = split_torch_state_dict_into_shards(tensors, max_shard_size=SHARD_BYTES).filename_to_tensors.values()
        files = tuple(f"weights-{number:02d}.safetensors" for number in range(len(shards)))
        for file, names in zip(files, shards, strict=True):
            save_atomically(folder / file, {name: tensors[name] for name in names}, {})
        save_info(folder, self.info.model_copy(update={"files": files, "versions": current_versions()}))
        # A larger model that was here before leaves files that nothing names any more, a killed process parts of files.
        parts = [path for pattern in (".weights-*", f".{FILE}.*") for path in folder.glob(pattern)]
        for old in {*parts, *folder.glob("weights-*.safetensors")} - {folder / name for name in files}:
            old.unlink()


def save_info(folder: str | Path, info: ModelInfo) -> None:
    """Write only the JSON of a model folder, whose weights stay as they are. Raises `ModelError`."""
    text = json.dumps(info.model_dump(mode="json"), indent=1)
    write_atomically(Path(folder) / FILE, text.encode())


def current_versions() -> dict[str, str]:
    """Versions that a figure may depend on."""
    return {"fmcore": fmcore.__version__, "torch": torch.__version__, "python": platform.python_version()}


def load_model(folder: str | Path, device: str | torch.device = "cpu") -> Model:
    """Read a model folder, which may be somebody else's. Raises `ModelError` if it is missing, unfinished, damaged, of
    another version of the format, or needs an encoder, view or field that is not here."""
    folder, tensors = Path(folder), {}
    info = read_info(folder)
    for name in info.files:
        tensors |= read_safetensors(folder / Path(name).name)[1]  # never a file outside the folder
    try:
        views, fields, ranges = {}, {}, {}
        for index, (name, category) in enumerate(info.categories.items()):
            views[name] = _filled(VIEWS, category.view, f"view.{index}.", tensors)
            if info.shared is None:
                fields[name] = _filled(FIELDS, category.field, f"field.{index}.", tensors)
            stored = [tensors.get(f"range.{index}.{part}") for part in RANGE]
            if all(part is not None for part in stored):
                ranges[name] = NormalRange(*(part.numpy() for part in stored))
        shared = _filled(FIELDS, info.shared, "shared.", tensors) if info.shared else None
        return Model(info, views, fields, shared, ranges).to(device)
    except ModelError:
        raise
    except (KeyError, RuntimeError, ValueError, TypeError, AttributeError):
        said = f"The weights in '{folder}' do not fit its {FILE}: fit the model again or copy it anew."
        raise ModelError(said) from None


def read_info(folder: str | Path) -> ModelInfo:
    """Only the JSON of a model folder; raises as `load_model`."""
    folder = Path(folder)
    if not folder.is_dir():
        raise ModelError(f"There is no model folder '{folder}': check the path, or fit a model first.")
    path = folder / FILE
    if not path.is_file():
        raise ModelError(f"'{folder}' holds no finished model ({FILE} is missing): fit it to the end first.")
    try:
        text = path.read_text(encoding="utf-8")
        found = json.loads(text).get("format")
        if isinstance(found, int) and found != FORMAT:
            by = f"{'an older' if found < FORMAT else 'a newer'} version of this program"
            raise ModelError(f"'{folder}' was made by {by} (format {found}, here {FORMAT}): fit it again.")
        return ModelInfo.model_validate_json(text)
    except PermissionError as error:
        raise ModelError(f"'{path}' cannot be read ({error.strerror}): give yourself the right to read it.") from None
    except (ValidationError, json.JSONDecodeError, UnicodeDecodeError, AttributeError, OSError, RecursionError):
        raise ModelError(f"'{path}' is damaged or of another format: fit the model again or copy it anew.") from None


def _filled(registry: Registry, part: PartInfo, prefix: str, tensors: dict[str, Tensor]) -> Part:
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
