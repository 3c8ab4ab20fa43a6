"""What to fit and how: one object, whose parts stand where they are used."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from fmcore.errors import SettingsError
from fmcore.fields import FIELDS
from fmcore.fields.field import Field as FieldPart
from fmcore.mismatch import HeatSettings, PathSettings, has_exact_mean
from fmcore.registry import options_of
from fmcore.settings import Settings
from fmcore.training import TrainSettings
from fmcore.views import VIEWS, View
from fmcore.views.encoder import DEFAULT

PIXELS = "none"  # --encoder none
PATHS = 4  # K of fields without an exact mean


class FitSettings(Settings):
    """A fit. ``view``, ``options``, ``paths`` and ``heat`` hold only what was given: all else has its default where it
    is used."""

    field: str = Field("gaussian", description="gaussian: closed form, seconds; unet: learned on top, minutes")
    encoder: str = Field(DEFAULT, description=f"pretrained encoder ({DEFAULT}, a Hub id or a folder); none: pixels")
    roi: str = Field("", description="mask of the region of interest, white; outside nothing counts")
    seed: int = Field(0, ge=0, lt=2**31, description="seed of all randomness")
    false_alarm_rate: float = Field(0.05, gt=0, lt=1, description="of the threshold, on new normal images")
    view: dict[str, Any] = Field({}, description="options of the view")
    options: dict[str, Any] = Field({}, description="options of the field")
    paths: dict[str, Any] = Field({}, description="path settings other than the view's own")
    heat: dict[str, Any] = Field({}, description="heat-map settings other than the view's own")
    training: TrainSettings = TrainSettings()

    @property
    def view_class(self) -> type[View]:
        """Pixels, an encoder, or another registered view that ``view`` names as its ``kind``."""
        return VIEWS[self.view.get("kind", "pixels" if self.encoder == PIXELS else "encoder")]

    @property
    def field_class(self) -> type[FieldPart]:
        """``gaussian`` is the closed form that suits the view; any other registered field goes by its own name."""
        return FIELDS[self.view_class.closed_form if self.field == "gaussian" else self.field]

    def view_options(self) -> dict[str, Any]:
        """For `View.fit`. Raises `SettingsError`."""
        kind, given = options_of(self.view_class), {k: v for k, v in self.view.items() if k != "kind"}
        return dict(kind.parse(**({"encoder": self.encoder} if "encoder" in kind.model_fields else {}) | given))

    def field_options(self) -> dict[str, Any]:
        """For `Field.fit`. Raises `SettingsError`."""
        return dict(options_of(self.field_class).parse(**self.options))

    def path_settings(self) -> PathSettings:
        """Those of the model. Raises `SettingsError`."""
        exact = has_exact_mean(self.field_class)
        paths = PathSettings.parse(**{"paths": self.view_class.paths if exact else PATHS} | self.paths)
        if paths.paths == 0 and not exact:
            raise SettingsError(f"Setting 'paths' = 0 is not usable: the field '{self.field}' has no exact mean.")
        return paths

    def heat_settings(self, view: View) -> HeatSettings:
        """Those of the model; with an exact mean the aggregator has nothing left to choose."""
        exact = {"aggregator": "mean"} if self.path_settings().paths == 0 else {}
        return HeatSettings.parse(**{"smoothing": view.smoothing} | exact | self.heat)

    def checked(self) -> FitSettings:
        """Itself, after every group was checked: before the work, not in the middle. Raises `SettingsError`."""
        self.view_options(), self.field_options(), self.path_settings(), HeatSettings.parse(**self.heat)
        return self
