"""``fit``: a model from good images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from torch import Tensor

from fmcore.cli.console import notes, progress_bar, stop_between_steps
from fmcore.cli.options import Device, Given, check_device, check_folder, with_settings
from fmcore.data.folders import detect_channels, find_good_images, load_views, split_views
from fmcore.detector.fit import fit as run_fit
from fmcore.detector.held_out import held_out_count
from fmcore.detector.model import FILE, Model, save_model
from fmcore.detector.settings import LEAST_GAIN, FitSettings, recommended_heat, recommended_paths
from fmcore.detector.tiles import recommended_sizes
from fmcore.errors import ModelError, SettingsError
from fmcore.mismatch.mismatch import LATE, STRUCTURE, TILES, HeatSettings, PathSettings
from fmcore.training.run_plan import forget_run, most_steps
from fmcore.training.team import Team, join, one_sentence_if_another_ends

HELP = {
    "field": "unet: learned, best; gaussian: closed form, seconds",
    "size": "pixels per side that the model sees (default: unet 128, gaussian 64)",
    "start": "gaussian; none: the paper's plain network, which predicts v",
    "least_gain": "least share of the rest a component must explain in held-out images "
    f"(default: unet {LEAST_GAIN}, gaussian 0)",
    "batch": "images per training step",
    "smoothing": "Gaussian blur of the map, sigma in model pixels (default: size / 32)",
    "exponent": f"r of the time weight t^r (default: {LATE:g} with tiles, else 2); the paper: 2",
    "learning_rate": "peak learning rate",
    "structure": f"exponent p of the structural mismatch (default: {STRUCTURE}); the paper: 0",
    "tiles": "exponent q of the mismatch of Gaussian tiles beside the network "
    f"(default: unet {TILES}, gaussian 0); the paper: 0",
    "seed": "seed of all randomness",
}


@with_settings(options=FitSettings, paths=PathSettings, heat=HeatSettings, help=HELP)
def fit(
    data: Annotated[
        Path, typer.Argument(help="Flat folder of good images, MVTec layout or VisA; one category or all.")
    ],
    out: Annotated[Path, typer.Option(help="Model folder to write.")],
    options: Given,
    paths: Given,
    heat: Given,
    widths: Annotated[
        str | None, typer.Option(help="Channels per level of the unet, comma-separated (default: 64,128,192).")
    ] = None,
    half: Annotated[bool, typer.Option(help="Store weights as float16, half the size.")] = False,
    overwrite: Annotated[bool, typer.Option(help="Replace a finished model in --out.")] = False,
    device: Device = "auto",
) -> None:
    """Fit a model to good images. A unet resumes where an interrupted run in --out stopped.

    On several GPUs: accelerate launch --multi_gpu --num_processes N -m fmcore fit DATA --out MODEL
    """
    small = {"size": 64} if options.get("field") == "gaussian" else {}
    options |= {} if widths is None else {"widths": _numbers("widths", widths)}
    settings = FitSettings.parse(**small | options, paths=recommended_paths(options.get("field", "unet"), **paths))
    settings = settings.replace(heat=recommended_heat(settings.size, settings.paths, **heat))
    check_folder(out)
    if (out / FILE).exists() and not overwrite:
        raise ModelError(f"'{out}' already holds a finished model: give another --out, or add --overwrite.")
    target = check_device(device)
    team = join(target)
    good = find_good_images(data)
    notes.print(good.summary())
    channels = detect_channels([path for found in good.categories.values() for path in found])
    sizes = recommended_sizes(settings.size, tiles=settings.paths.tiles > 0)
    images, fine, unreadable = _read_all(good.categories, sizes, channels)
    notes.print(
        f"Training on {'gray' if channels == 1 else 'RGB'} images at {settings.size} x {settings.size} on {target}"
        + (f", in {team.size} processes." if team.size > 1 else ".")
    )
    for name, batch in images.items():
        if why := settings.why_no_threshold(len(batch)):
            notes.print(f"{name}: {why}")
    with one_sentence_if_another_ends():
        model = _run(images, fine, settings, target, out, team)
        if team.main:
            save_model(out, model, half=half)
            forget_run(out)
        team.leave()
    _print_thresholds(model)
    notes.print(f"Model written to '{out}'.")
    raise typer.Exit(1 if unreadable else 0)


def _read_all(
    categories: dict[str, list[Path]], sizes: tuple[int, ...], channels: int
) -> tuple[dict[str, Tensor], dict[str, Tensor], bool]:
    """Images as the network and as the tiles see them, and whether any could not be read."""
    images, fine, any_unreadable = {}, {}, False
    with progress_bar() as progress:
        for name, paths in categories.items():
            reading = load_views(paths, sizes=sizes, channels=channels)
            views, unreadable = split_views(list(progress.track(reading, len(paths), description=name)))
            images[name], fine[name] = views[0], views[-1]
            any_unreadable |= bool(unreadable)
            for item in unreadable:
                notes.print(f"Skipped: {item.reason}")
    return images, fine, any_unreadable


def _run(
    images: dict[str, Tensor], fine: dict[str, Tensor], settings: FitSettings, target: str, out: Path, team: Team
) -> Model:
    model = None
    with progress_bar() as progress, stop_between_steps() as stopping:
        tasks: dict[str, Any] = {}
        folder = out if settings.field == "unet" else None
        records = run_fit(images, settings, device=target, folder=folder, team=team, fine=fine)
        for record in records:
            model = record.model
            if record.stage not in tasks:
                tasks[record.stage] = progress.add_task(record.stage, total=record.total)
                if record.stage == "training":
                    _say_why_it_ends_early(images, settings, record.total)
            text = record.stage
            if record.train:
                text += f", loss {record.train.loss:.3f}, {record.train.images_per_second:.0f} images/s"
            progress.update(tasks[record.stage], completed=record.done, total=record.total, description=text)
            if team.any(stopping()):
                records.close()
                notes.print(f"Interrupted. Repeat the same command to go on from here ('{out}').")
                raise typer.Exit(130)
    return model


def _say_why_it_ends_early(images: dict[str, Tensor], settings: FitSettings, steps: int) -> None:
    trained = sum(len(batch) - held_out_count(len(batch), settings.false_alarm_rate) for batch in images.values())
    if settings.steps is None and steps == most_steps(settings, trained):
        notes.print(
            f"Training ends after {steps} steps, {settings.passes:g} passes over {trained} images: more would learn so "
            "few images by heart. To train longer give --passes or --steps."
        )


def _numbers(name: str, text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise SettingsError(f"Setting '{name}' = '{text}' is not usable: give whole numbers, as 64,128,192.") from None


def _print_thresholds(model: Model) -> None:
    for name in model.info.categories:
        if (threshold := model.info.thresholds.get(name)) is not None:
            notes.print(
                f"{name}: threshold {threshold.value:.6g} from {threshold.held_out} held-out good images "
                f"(false-alarm rate at most {threshold.false_alarm_rate:.0%})."
            )
        else:
            notes.print(f"{name}: {model.info.notes.get(name, '')}")
