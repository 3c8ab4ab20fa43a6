"""What begins with a data folder: ``fit``, ``check``, ``benchmark``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fmcore.cli import notes, watch
from fmcore.cli.options import ADVANCED, Device, Given, JsonFile, check_device, check_writable, save_json, with_settings
from fmcore.data.check import check as run_check
from fmcore.data.check import in_both
from fmcore.data.folders import find_good_images
from fmcore.detector import fit as fitting
from fmcore.detector.calibration import describe
from fmcore.detector.model import FILE
from fmcore.detector.settings import FitSettings
from fmcore.errors import ModelError
from fmcore.evaluation import benchmark as bench
from fmcore.fields import FIELDS
from fmcore.mismatch import HeatSettings, PathSettings
from fmcore.registry import options_of
from fmcore.training import TrainSettings
from fmcore.training.checkpoint import forget
from fmcore.views import VIEWS

LISTED = 20  # lines printed per list; --json holds all


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
    record.model.save(out, half=half)
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


def check(
    data: Annotated[Path, typer.Argument(help="Flat folder, MVTec layout or VisA; one category or all.")],
    json_file: JsonFile = None,
) -> None:
    """Say what a data folder holds, what is missing and what is damaged (exit code 1).

    Layouts: flat; train/good, test/good, test/DEFECT, ground_truth/DEFECT/NAME_mask.png (MVTec AD, LOCO, BTAD); VisA;
    good or normal or ok beside bad or abnormal or defect and mask.

    Example: python -m fmcore check parts
    """
    check_writable(json_file)
    *_, record = watch(run_check(data), "reading")
    report, found = record.result, record.result.as_json()
    print(f"Found {report.layout}.")
    for name, part in found["categories"].items():
        defects = ", ".join(f"{kind} {number}" for kind, number in part["defects"].items())
        sizes = ", ".join(list(part["sizes"])[:3]) + (" ..." if len(part["sizes"]) > 3 else "")
        print(
            f"{name}: {part['train_good']} good to train on, {part['test_good']} good and {part['test_defective']} "
            f"defective to test on{f' ({defects})' if defects else ''}, {part['masks']} masks; "
            f"{sizes} {' and '.join(part['channels'])}".rstrip()
        )
    for title, lines in (("Damaged", report.damaged), ("Missing", report.missing), ("Note", report.notes)):
        for line in lines[:LISTED]:
            print(f"{title}: {line}")
        if len(lines) > LISTED:
            print(f"{title}: and {len(lines) - LISTED} more; --json FILE holds them all.")
    print(f"Fitting takes at most about {report.memory / 1e9:.1f} GB of memory at the defaults.")
    if not report.damaged:
        print("Nothing is damaged.")
    save_json(json_file, found)
    raise typer.Exit(1 if report.damaged else 0)


@with_settings(options=bench.BenchmarkSettings, basic=("methods", "seeds", "minutes", "steps"))
def benchmark(
    data: Annotated[list[Path], typer.Argument(help="MVTec-layout categories, or folders of them.")],
    out: Annotated[Path, typer.Option(help="Folder of results; what is finished there is not run again.")],
    options: Given,
    device: Device = "auto",
) -> None:
    """Compare methods on test sets, with one budget for all; other settings are fixed per method.

    Example: python -m fmcore benchmark parts --out out/benchmark --methods mismatch:unet,nearest:encoder --seeds 0,1
    """
    settings, categories = bench.BenchmarkSettings.parse(**options), bench.find_categories(data)
    check_writable(out, folder=True)
    found = [f"{name}: {len(good)} good, {len(items)} test images" for name, (good, items) in categories.items()]
    notes.print(f"Found {', '.join(found)}.")
    remedy, results = f"Repeat the same command to go on from here ('{out}').", []
    try:
        records = bench.benchmark(categories, settings, out, device=check_device(device))
        for record in watch(records, lambda r: (f"{r.category} {r.method} seed {r.seed}", f": {r.stage}"), remedy):
            results += [] if record.result is None else [record.result]
    finally:
        print(table := bench.markdown(bench.make_table(results)))
    (out / "table.md").write_text(table + "\n", encoding="utf-8", errors="backslashreplace")
    unreadable = dict.fromkeys(item["reason"] for result in results for item in result["unreadable"])
    for reason in unreadable:
        notes.print(f"Left out: {reason}")
    raise typer.Exit(1 if unreadable else 0)
