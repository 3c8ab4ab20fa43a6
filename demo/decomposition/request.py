"""What a visitor asks to be decomposed: everything a request can carry, checked before anything is computed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from demo.common import checks, embedded
from demo.decomposition.view import LAWS
from fmcore.decomposition.sampled import DecompositionSettings
from fmcore.detector.model import Model
from fmcore.errors import SettingsError
from fmcore.mismatch import HeatSettings

ENDS = {"picture": "this picture", "mix": "every picture of the mix"}
OF_MIX = ("empirical", "gaussian", "network")
MAX_SAMPLES = 64
MAX_TIMES = 24
MAX_NOISE = 0.5


@dataclass(frozen=True)
class Request:
    """What was asked for, checked."""

    model: Model
    model_name: str
    category: str
    name: str
    path: Path
    mask: Path | None
    mix: tuple[Path, ...]
    law: str
    noise: float
    ends: str
    settings: DecompositionSettings
    example: int | None

    @property
    def key(self) -> tuple | None:
        """Names the result where visitors can share it, as they can for examples."""
        if self.example is None:
            return None
        noise = self.noise if self.law == "noisy" else None
        return (self.model_name, self.category, self.example, self.law, noise, self.ends, self.settings)


def check_request(
    files: object,
    example: object,
    model: object,
    category: object,
    law: object,
    noise: object,
    ends: object,
    samples: object,
    times: object,
    seed: object,
) -> Request:
    """Everything a request can carry, checked before anything is computed.

    Raises:
        SettingsError: for an unknown name, a wrong type or a value out of range.
    """
    if not isinstance(model, str) or not (category is None or isinstance(category, str)):
        raise SettingsError("Model and category must be names: choose one of the list.")
    if model not in (known := embedded.pixel_names()):
        raise SettingsError(f"There is no model '{model}' here: choose one of {', '.join(known) or '(none)'}.")
    found, category = embedded.find(model, category)
    law, ends = _choice("Law", law, LAWS), _choice("End of the paths", ends, ENDS)
    if isinstance(noise, bool) or not isinstance(noise, int | float) or not 0 < noise <= MAX_NOISE:
        raise SettingsError(f"Noise s = {noise!r} is not usable: choose a number above 0 and at most {MAX_NOISE}.")
    settings = DecompositionSettings.parse(samples=samples, times=times, seed=seed)
    for what, value, limit in (("paths", settings.samples, MAX_SAMPLES), ("times", settings.times, MAX_TIMES)):
        if value > limit:
            raise SettingsError(f"{value} {what} are more than the app allows: choose at most {limit}.")
    examples = embedded.examples(category)
    if files:
        paths = checks.uploads(files)
        name, path, mask, example = f"{paths[0].name}.", paths[0], None, None
    else:
        paths, item = [], embedded.example(category, example)
        name = f"Example: {category}, {item.defect.replace('_', ' ')}."
        path, mask = item.path, item.mask
    mix = tuple([item.path for item in examples] + paths)
    if law in OF_MIX and len(mix) < 3:
        raise SettingsError(f"A test mix needs at least 3 pictures, but there are {len(mix)}: upload more at once.")
    ends = ends if law in OF_MIX else "picture"
    return Request(found, model, category, name, path, mask, mix, law, float(noise), ends, settings, example)


def exponent_of(value: object) -> float:
    """The exponent r of the weight, checked; raises `SettingsError`."""
    return HeatSettings.parse(exponent=value).exponent


def _choice(what: str, value: object, known: dict[str, str]) -> str:
    if not isinstance(value, str) or value not in known:
        raise SettingsError(f"{what} {value!r} is not on offer: choose one of {', '.join(known)}.")
    return value
