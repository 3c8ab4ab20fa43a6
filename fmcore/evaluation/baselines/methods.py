"""The methods of the benchmark by name, and what builds them from a category's normal images.

``<detector>:<field>`` puts a detector on a velocity field, for instance ``mismatch:gaussian`` or
``reconstruction:unet``; ``with-tiles:unet`` is the recommended recipe; the others stand alone. A field is fitted once
and shared by all detectors on it. The tiles of ``gaussian-tiles`` are half as wide as the image.
"""

from __future__ import annotations

import difflib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field
from torch import Tensor

from fmcore.detector.fit import fit
from fmcore.detector.model import FILE, load_model, save_model
from fmcore.detector.settings import FitSettings
from fmcore.detector.tiles import fit_tiles
from fmcore.errors import ModelError, SettingsError
from fmcore.evaluation.baselines.autoencoder import AutoencoderDetector, AutoencoderSettings, train_autoencoder
from fmcore.evaluation.baselines.detector import Detector
from fmcore.evaluation.baselines.mahalanobis import MahalanobisDetector
from fmcore.evaluation.baselines.mismatch_detector import MismatchDetector
from fmcore.evaluation.baselines.nearest import NearestDetector
from fmcore.evaluation.baselines.one_step import OneStepDetector, OneStepSettings
from fmcore.evaluation.baselines.pixel_gaussian import PixelGaussianDetector
from fmcore.evaluation.baselines.reconstruction import ReconstructionDetector, ReconstructionSettings
from fmcore.evaluation.baselines.tccm import train_tccm
from fmcore.evaluation.baselines.time_reversed import TimeReversedDetector, TimeReversedSettings
from fmcore.evaluation.baselines.trainer import BudgetSettings
from fmcore.evaluation.baselines.two_scale import TwoScaleDetector, halved
from fmcore.evaluation.baselines.wt_flow import WTFlowSettings, train_wt_flow
from fmcore.evaluation.normalisation import DenoisingFloor
from fmcore.fields.gaussian import fit_gaussian
from fmcore.fields.patch_gaussian import fit_patch_gaussian
from fmcore.fields.patch_mixture import PatchMixtureField
from fmcore.fields.source import mapped_back, whiten
from fmcore.fields.stationary import fit_stationary
from fmcore.fields.tiled import fit_tiled_gaussian
from fmcore.mismatch.mismatch import STRUCTURE, TILES, Mismatch, PathSettings, VelocityField, mismatch_steps
from fmcore.settings import Settings

CLOSED = ("gaussian", "gaussian-natural", "gaussian-tiles", "patch", "patch-mixture", "stationary")
# What each network differs in from the recommended recipe; the last is the paper's.
NETWORKS: dict[str, dict] = {
    "unet": {},
    "unet-all-components": {"least_gain": 0.0},
    "unet-white": {"source": "white"},
    "unet-no-defects": {"defects": 0.0},
    "unet-white-no-defects": {"source": "white", "defects": 0.0},
    "unet-plain": {"start": "none", "time_power": 0.0, "source": "white", "defects": 0.0},
}
FIELDS = (*CLOSED, *NETWORKS)
ON_FIELDS = (
    "mismatch",
    "structural",
    "with-tiles",
    "normalised",
    "two-scale",
    "reconstruction",
    "one-step",
    "time-reversed",
)
ALONE = ("mahalanobis", "pixel-gaussian", "nearest", "autoencoder-mse", "autoencoder-ssim", "tccm", "wt-flow")


class MethodSettings(Settings):
    """What all methods share: budget, paths and seed."""

    minutes: float = Field(3.0, gt=0, le=100_000, description="training time of each network")
    steps: int | None = Field(None, ge=1, description="training steps of each network, instead of minutes")
    paths: int = Field(4, ge=1, le=64, description="K, noise draws per image")
    times: int = Field(12, ge=1, le=100, description="T; detectors on a field may call it K T times per image")
    patch: int = Field(8, ge=1, le=64, description="side of Gaussian patches; mixture patches: half")
    seed: int = Field(0, ge=0, lt=2**31)


@dataclass(frozen=True)
class BuildRecord:
    """Progress of a training: ``done`` of ``total`` steps of ``stage``."""

    stage: str
    done: int
    total: int


def method_names() -> list[str]:
    """Every method there is."""
    return [f"{detector}:{field}" for field in FIELDS for detector in ON_FIELDS] + list(ALONE)


def check_methods(names: tuple[str, ...]) -> None:
    """Raises `SettingsError` for a name that is no method, with a suggestion where one fits."""
    known = method_names()
    for name in names:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean '{close[0]}'?" if close else f"choose from {', '.join(known)}."
            raise SettingsError(f"There is no method '{name}': {hint}")


def keeps_recommended(name: str) -> bool:
    """Whether a method can't be judged by the synthetic defects that settings are chosen with. A network that was
    trained on them would choose no blur at all; tiles see more pixels than such a defect is made of."""
    changes = NETWORKS.get(name.partition(":")[2])
    return has_tiles(name) or (changes is not None and changes.get("defects", FitSettings().defects) > 0)


def has_tiles(name: str) -> bool:
    """Whether Gaussian tiles stand beside a method's field, which see finer images."""
    return name.startswith("with-tiles:")


class Workshop:
    """Builds detectors for one category and keeps its fields.

    Args:
        train: ``(N, C, H, H)`` normal images in [-1, 1] that methods are fitted to.
        held: held-out normal images, from which only the denoising floor of ``normalised`` and the threshold of a
            network are taken.
        folder: where a trained network is kept, and found again by a later run; None: nowhere.
        fine: the images of ``train`` as tiles beside a field see them; None: ``train``.
    """

    def __init__(
        self,
        category: str,
        train: Tensor,
        held: Tensor,
        settings: MethodSettings,
        folder: Path | None = None,
        fine: Tensor | None = None,
    ):
        self.fine = train if fine is None else fine
        self.category, self.train, self.held, self.settings, self.folder = category, train, held, settings, folder
        self._fields: dict[str, tuple[VelocityField, float]] = {}
        self.seconds = 0.0

    def build(self, name: str) -> Iterator[BuildRecord | Detector]:
        """Progress, and last the detector; `seconds` is then what fitting it took, its field included.

        Raises:
            SettingsError: for an unknown method. TrainingError: if a training fails.
        """
        check_methods((name,))
        started = time.perf_counter()
        earlier = 0.0
        if ":" in name:
            kind, field_name = name.split(":")
            if field_name in self._fields:
                earlier = self._fields[field_name][1]
            else:
                field, spent = yield from self._fit_field(field_name)
                self._fields[field_name] = (field, spent or time.perf_counter() - started)
                earlier = max(0.0, spent - (time.perf_counter() - started)) if spent else 0.0
            if kind == "with-tiles":
                detector = MismatchDetector(
                    self._fields[field_name][0],
                    self._paths().replace(structure=STRUCTURE, tiles=TILES),
                    tiles=fit_tiles(self.fine, seed=self.settings.seed),
                    view=self.fine.shape[-1],
                )
            elif kind == "two-scale":
                detector = yield from self._two_scale(field_name)
            else:
                detector = self._on_field(kind, self._fields[field_name][0])
        else:
            detector = yield from self._alone(name)
        self.seconds = earlier + time.perf_counter() - started
        yield detector

    def _two_scale(self, field_name: str) -> Iterator[BuildRecord]:
        """The mismatch at this size and at half of it; the smaller field is fitted here."""
        folder = self.folder / "half" if self.folder is not None else None
        small = Workshop(self.category, halved(self.train), halved(self.held), self.settings, folder)
        half = None
        for record in small.build(f"mismatch:{field_name}"):
            if isinstance(record, Detector):
                half = record
            else:
                yield record
        return TwoScaleDetector(self._on_field("mismatch", self._fields[field_name][0]), half, self.held)

    def _on_field(self, kind: str, field: VelocityField) -> Detector:
        s, paths = self.settings, self._paths()
        match kind:
            case "mismatch":
                return MismatchDetector(field, paths)
            case "structural":
                return MismatchDetector(field, paths.replace(structure=STRUCTURE))
            case "normalised":
                records = (Mismatch.collect(mismatch_steps(field, image, paths)) for image in self.held)
                return MismatchDetector(field, paths, floor=DenoisingFloor.measure(records))
            case "reconstruction":
                return ReconstructionDetector(
                    field, ReconstructionSettings.parse(paths=s.paths, steps=s.times, noise_seed=s.seed)
                )
            case "one-step":
                return OneStepDetector(field, OneStepSettings.parse(paths=s.paths * s.times, noise_seed=s.seed))
        steps = tuple(sorted({1, s.times, s.paths * s.times}))
        return TimeReversedDetector(field, TimeReversedSettings.parse(steps=steps))

    def _paths(self) -> PathSettings:
        s = self.settings
        return PathSettings.parse(paths=s.paths, times=s.times, noise_seed=s.seed)

    def _alone(self, name: str) -> Iterator[BuildRecord]:
        s = self.settings
        budget = BudgetSettings.parse(minutes=s.minutes, steps=s.steps, seed=s.seed)
        match name:
            case "mahalanobis":
                return MahalanobisDetector(fit_gaussian(self.train, seed=s.seed))
            case "pixel-gaussian":
                return PixelGaussianDetector(self.train)
            case "nearest":
                return NearestDetector(self.train)
            case "tccm":
                return (yield from _last(name, train_tccm(self.train, budget)))
            case "wt-flow":
                return (yield from _last(name, train_wt_flow(self.train, budget, WTFlowSettings())))
        objective = name.removeprefix("autoencoder-")
        training = train_autoencoder(self.train, AutoencoderSettings.parse(objective=objective), budget)
        return AutoencoderDetector((yield from _last(name, training)))

    def _natural_gaussian(self) -> VelocityField:
        return mapped_back(fit_gaussian(whiten("natural", self.train), seed=self.settings.seed), "natural")

    def _fit_field(self, name: str) -> Iterator[BuildRecord]:
        """Returns the field and, for a network trained earlier, the seconds that took (0: take the time yourself)."""
        s = self.settings
        closed: dict[str, Callable] = {
            "gaussian": lambda: fit_gaussian(self.train, seed=s.seed),
            "gaussian-natural": self._natural_gaussian,
            "gaussian-tiles": lambda: fit_tiled_gaussian(self.train, tile=self.train.shape[-1] // 2, seed=s.seed),
            "patch": lambda: fit_patch_gaussian(self.train, patch=s.patch),
            "patch-mixture": lambda: PatchMixtureField(self.train, patch=max(1, s.patch // 2)),
            "stationary": lambda: fit_stationary(self.train),
        }
        if name in closed:
            yield BuildRecord(name, 0, 1)
            return closed[name](), 0.0
        folder = self.folder / name if self.folder is not None else None
        wanted = FitSettings.parse(
            field="unet",
            size=self.train.shape[-1],
            minutes=s.minutes,
            steps=s.steps,
            seed=s.seed,
            paths=PathSettings.parse(paths=s.paths, times=s.times),
            **NETWORKS[name],
        )
        if folder is not None and (folder / FILE).is_file():
            model = load_model(folder)
            if model.info.training.get("fit") != wanted.model_dump(mode="json"):
                raise ModelError(f"The network in '{folder}' was fitted with other settings: give another folder.")
        else:
            model = None
            for record in fit({self.category: self.train}, wanted, folder=folder, held_out={self.category: self.held}):
                model = record.model
                yield BuildRecord(f"{name} {record.stage}", record.done, record.total)
            if folder is not None:
                save_model(folder, model)
        return model.field(), float(model.info.training.get("seconds", 0.0))


def _last(stage: str, training: Iterator) -> Iterator[BuildRecord]:
    """Progress of a training; returns its last item."""
    item = None
    for item in training:
        if hasattr(item, "steps") and hasattr(item, "loss"):
            yield BuildRecord(stage, item.step, item.steps)
    return item
