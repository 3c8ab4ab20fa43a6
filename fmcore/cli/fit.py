"""``fit``: a model from good images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fmcore.cli import notes, watch
from fmcore.cli.options import ADVANCED, Device, Given, check_device, check_writable, with_settings
from fmcore.data.check import in_both
from fmcore.data.folders import find_good_images
from fmcore.detector import fit as fitting
from fmcore.detector.calibration import describe
from fmcore.detector.model import FILE, save_model
from fmcore.detector.settings import FitSettings
from fmcore.errors import ModelError
from fmcore.fields import FIELDS
from fmcore.mismatch import HeatSettings, PathSettings
from fmcore.registry import options_of
from fmcore.training import TrainSettings
from fmcore.training.checkpoint import forget
from fmcore.views import VIEWS


@with_settings(
    basic=("field", "encoder", "resolution", "false_alarm_rate", "minutes", "seed"),
    defaults={"paths": "4, encoders: 0", "aggregator": "min, encoders: mean", "smoothing": "the view's"},
    fit=FitSettings,
    view=[options_of(cls) for cls in VIEWS.kinds.values()],
    options=[options_of(cls) for cls in FIELDS.kinds.values()],
    training=TrainSettings,
    paths=PathSettings,
    heat=HeatSettings,
)
def fit(
    data: Annotated[Path, typer.Argument(help="Folder of good images, MVTec layout or VisA; one category or all.")],
    out: Annotated[Path, typer.Option(help="Model folder to write.")],
    fit: Given,
    view: Given,
    options: Given,
    training: Given,
    paths: Given,
    heat: Given,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a finished model in --out.")] = False,
    device: Device = "auto",
    half: Annotated[bool, typer.Option("--half", help="Store float16 weights.", rich_help_panel=ADVANCED)] = False,
) -> None:
    """Make a detector from good images, in seconds; with --field unet a network learns on top, for minutes.

    A training that was interrupted goes on where it stopped when the same command is given again.

    Example: python -m fmcore fit parts/good --out models/parts
    """
    train = TrainSettings.parse(**training)
    settings = FitSettings.parse(**fit, view=view, options=options, paths=paths, heat=heat, training=train).checked()
    if (out / FILE).exists() and not overwrite:
        raise ModelError(f"'{out}' already holds a finished model: give another --out, or add --overwrite.")
    target, good = check_device(device), find_good_images(data)
    check_writable(out, folder=True)
    notes.print(good.summary())
    for name in good.categories:
        for sentence in in_both(good, name):
            notes.print(f"{name}: {sentence}")
    remedy = f"Repeat the same command to go on from here ('{out}')." if settings.field_class.trained else ""
    skipped = False
    for record in watch(fitting.fit(good.categories, settings, device=target, folder=out), _label, remedy):
        skipped |= record.note.startswith("Skipped")
    save_model(out, record.model, half=half)
    forget(out)
    for name, info in record.model.info.categories.items():
        notes.print(
            f"{name}: {record.model.view(name).describe()}{record.model.view(name).depth}.\n{name}: {describe(info)}"
        )
    notes.print(f"Model written to '{out}'.")
    raise typer.Exit(1 if skipped else 0)


def _label(record: fitting.FitRecord) -> tuple[str, str]:
    loss = f", loss {record.train.loss:.3f}, {record.train.images_per_second:.0f} images/s" if record.train else ""
    return record.stage, loss
