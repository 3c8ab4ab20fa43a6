"""``score``: heat maps and a table of scores; ``threshold``: the threshold of a model, or another one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fmcore.cli.console import notes, watch
from fmcore.cli.options import OF_MODEL, Category, Device, Given, check_device, check_writable, with_settings
from fmcore.data.layouts import not_read
from fmcore.detector.loading import load_model
from fmcore.detector.saving import FILE
from fmcore.detector.score_files import EXTRAS, TABLE, name_files, score_files
from fmcore.detector.thresholds import describe, of_folder, of_rate, of_value, store
from fmcore.errors import SettingsError
from fmcore.mismatch import HeatSettings, PathSettings


@with_settings(paths=PathSettings, heat=HeatSettings, defaults=OF_MODEL)
def score(
    model: Annotated[Path, typer.Argument(help="Model folder.")],
    images: Annotated[list[Path], typer.Argument(help="Images or folders of images.")],
    out: Annotated[Path, typer.Option(help="Folder for heat maps and scores.csv.")],
    paths: Given,
    heat: Given,
    category: Category = None,
    threshold: Annotated[float | None, typer.Option(help="Instead of the model's, in this run.")] = None,
    masks: Annotated[bool, typer.Option("--masks", help="Also NAME_mask.png, white where anomalous.")] = False,
    raw: Annotated[bool, typer.Option("--raw", help="Also NAME_map.npy, the heat map as float32.")] = False,
    regions: Annotated[bool, typer.Option("--regions", help="Also regions.jsonl, anomalous regions.")] = False,
    device: Device = "auto",
) -> None:
    """Score images: a heat-map PNG each, and scores.csv.

    \b
    Columns of scores.csv:
    file       path of the image
    score      the larger, the more anomalous
    threshold  the largest score still called normal
    verdict    normal or anomalous; empty where no threshold applies
    error      why the image could not be scored, or its results not be written
    With --masks, --raw or --regions also the names of all files written, below --out.

    A line of regions.jsonl is a region: file, box (left, top, width, height) and area in pixels of the image, peak.

    Example: python -m fmcore score models/parts parts/new --out out/parts
    """
    loaded = load_model(model, check_device(device))
    category = loaded.category(category)
    paths, heat = loaded.info.paths.replace(**paths), loaded.info.heat.replace(**heat)
    files, left_out = name_files(images)
    check_writable(out, folder=True)
    check_writable(out / TABLE)
    extras = [name for name, asked in zip(EXTRAS, (masks, raw, regions), strict=True) if asked]
    options = {"category": category, "paths": paths, "heat": heat, "threshold": threshold, "extras": extras}
    *_, done = watch(score_files(loaded, files, out, **options), "scoring")
    if unread := not_read(*(path for path in images if path.is_dir())):
        notes.print(unread)
    if left_out:
        notes.print(f"Left out {left_out} heat maps of an earlier run.")
    if done.failed == done.total:
        notes.print(f"None of the {done.total} images could be scored; {TABLE} in '{out}' says why.")
    else:
        notes.print(f"{done.total - done.failed} of {done.total} images scored; heat maps and {TABLE} in '{out}'.")
        notes.print(done.legend)
    raise typer.Exit(1 if done.failed else 0)


@with_settings()
def threshold(
    model: Annotated[Path, typer.Argument(help="Model folder; its model.json is changed.")],
    false_alarm_rate: Annotated[float | None, typer.Option(help="Share of new good images above it.")] = None,
    value: Annotated[float | None, typer.Option(help="The threshold itself.")] = None,
    good: Annotated[Path | None, typer.Option("--from", help="Folder of good images that the model never saw.")] = None,
    category: Category = None,
    device: Device = "auto",
) -> None:
    """Show the threshold of a model and where it comes from, or set another.

    Example: python -m fmcore threshold models/parts --false-alarm-rate 0.01
    """
    if value is not None and (good is not None or false_alarm_rate is not None):
        raise SettingsError("Option --value is the threshold itself: give it alone.")
    loaded, skipped = load_model(model, check_device(device)), False
    several = category is None and value is None and good is None
    chosen = {n: loaded.info.categories[n] for n in (loaded.categories if several else [loaded.category(category)])}
    if (value, good, false_alarm_rate) != (None, None, None):
        check_writable(model / FILE)
        for name, info in chosen.items():
            if value is not None:
                chosen[name] = of_value(info, value)
            elif good is None:
                chosen[name] = of_rate(info, false_alarm_rate)
            else:
                records = list(watch(of_folder(loaded, name, good, false_alarm_rate), "scoring"))
                skipped |= any(record.note.startswith("Skipped") for record in records)
                chosen[name] = records[-1].info
        store(model, loaded, chosen)
    for name, info in chosen.items():
        print(f"{name}: {describe(info)}")
    raise typer.Exit(1 if skipped else 0)
