"""The settings of a fit; their defaults are the recipe we recommend."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from fmcore.detector.held_out import fewest_held_out, fewest_images, least_rate
from fmcore.errors import SettingsError
from fmcore.fields.source import SourceKind
from fmcore.mismatch.mismatch import TILES, HeatSettings, PathSettings, recommended_exponent
from fmcore.settings import Settings
from fmcore.training.loop import MOST_STEPS

LEAST_GAIN = 0.01  # of a network's start
MOST_CALIBRATED = 60  # held-out images scored where the threshold does not need more
USEFUL_RATE = 0.2  # a threshold that more good images than that exceed is not worth suggesting
Width = Annotated[int, Field(ge=8, le=2048)]


def recommended_paths(field: str, **given: Any) -> PathSettings:
    """The paths we recommend for a model, some replaced: with structure, and for a unet with Gaussian tiles.

    Raises:
        SettingsError: for tiles beside a gaussian, which has none.
    """
    if field == "gaussian" and given.get("tiles"):
        raise SettingsError(
            f"Setting 'tiles' = {given['tiles']} is not usable: tiles stand beside a unet, not a gaussian."
        )
    return PathSettings.recommended(**({"tiles": TILES} if field == "unet" else {}) | given)


def recommended_heat(size: int, paths: PathSettings, **given: Any) -> HeatSettings:
    """The heat map we recommend for a model of ``size`` pixels that is compared along ``paths``, some settings
    replaced."""
    return HeatSettings.for_size(size, **{"exponent": recommended_exponent(paths)} | given)


class FitSettings(Settings):
    """What to fit, and how long. Defaults are the recipe we recommend for unknown data."""

    field: Literal["gaussian", "unet"] = "unet"
    size: int = Field(128, ge=32, le=256, description="pixels per side that the model sees")
    minutes: float = Field(20.0, gt=0, le=100_000, description="training time of a unet")
    passes: float = Field(
        450.0, gt=0, description="most passes of a unet over its training images, however many minutes are left"
    )
    steps: int | None = Field(
        None, ge=1, le=MOST_STEPS, description="training steps of a unet, instead of minutes and passes"
    )
    start: Literal["gaussian", "none"] = Field("gaussian", description="none: predict v, as the paper does")
    time_power: float = Field(2.0, ge=0, le=8, description="t is drawn with density t^power; the paper: 0")
    source: Literal["auto", "white", "natural"] = Field(
        "auto", description="noise at t = 0; auto is natural for a unet, white for a gaussian (the paper: white)"
    )
    defects: float = Field(
        0.5, ge=0, le=1, description="share of training images shown with a synthetic defect; the paper: 0"
    )
    components: int = Field(100, ge=0, le=500, description="most principal components per Gaussian field")
    least_gain: float | None = Field(
        None, ge=0, lt=1, description="least share of the rest a component must explain in held-out images"
    )
    widths: tuple[Width, ...] = Field((64, 128, 192), min_length=1, max_length=6, description="channels per unet level")
    batch: int = Field(16, ge=1, le=4096)
    learning_rate: float = Field(1e-3, gt=0, le=1)
    precision: Literal["auto", "float32", "bfloat16"] = Field("auto", description="auto: bfloat16 where it is fast")
    save_every: int = Field(200, ge=1, description="training steps between checkpoints")
    seed: int = Field(0, ge=0, lt=2**31)
    false_alarm_rate: float = Field(0.05, gt=0, lt=1, description="of the threshold, on new normal images")
    calibration_images: int | None = Field(
        None, ge=1, description="most held-out images scored per category (default: 60, or what the threshold needs)"
    )
    paths: PathSettings = Field(default_factory=lambda before: recommended_paths(before["field"]))
    heat: HeatSettings = Field(default_factory=lambda before: recommended_heat(before["size"], before["paths"]))

    @field_validator("widths")
    @classmethod
    def _split_into_heads(cls, widths: tuple[int, ...]) -> tuple[int, ...]:
        if any(width > 128 and width % 64 for width in widths):
            raise ValueError("A width above 128 must be a multiple of 64")
        return widths

    @property
    def least_share(self) -> float:
        """``least_gain``, or what is best where none is given.

        A field that is used alone profits from all components. A network is trained on what its field leaves of the
        training images, and every component takes more from those than from a new image, so it starts from the
        leading few.
        """
        return self.least_gain if self.least_gain is not None else LEAST_GAIN if self.field == "unet" else 0.0

    @property
    def most_calibrated(self) -> int:
        """``calibration_images``, or where none is given what is enough for a threshold."""
        return self.calibration_images or max(MOST_CALIBRATED, fewest_held_out(self.false_alarm_rate))

    def why_no_threshold(self, count: int) -> str:
        """What keeps ``count`` good images of a category from giving a threshold, in a sentence; "" if nothing does.

        Known before a long training, so told before it.
        """
        rate = self.false_alarm_rate
        least = least_rate(self.field, count)
        enough = f"; they are enough for false_alarm_rate {least:g}" if least and least <= USEFUL_RATE else ""
        # Scores first: what is advised for too few images holds only where enough of them are scored.
        for what, given, needed, advice in (
            (f"calibration_images {self.most_calibrated}", self.most_calibrated, fewest_held_out(rate), ""),
            (f"{count} good images", count, fewest_images(self.field, rate), enough),
        ):
            if given < needed:
                return (
                    f"{what} will give no threshold, so no verdicts: a false-alarm rate of {rate:.0%} takes "
                    f"{needed}{advice}."
                )
        return ""

    @property
    def noise_source(self) -> SourceKind:
        """The source meant by ``auto``."""
        return self.source if self.source != "auto" else "natural" if self.field == "unet" else "white"
