"""What uses a model: ``score``, ``threshold``, ``export``, ``evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fmcore.cli import notes, watch
from fmcore.cli.options import Category, Device, Given, JsonFile, check_device, check_writable, save_json, with_settings
from fmcore.data.folders import arriving, name_files, not_read, read_folder
from fmcore.detector.calibration import describe, of_folder, of_rate, of_value
from fmcore.detector.export import export as write_export
from fmcore.detector.model import FILE, load_model, save_info
from fmcore.detector.score_files import EXTRAS, TABLE, score_files
from fmcore.errors import SettingsError
from fmcore.evaluation import evaluate as evaluation
from fmcore.evaluation.metrics import TITLES
from fmcore.mismatch import HeatSettings, PathSettings

OF_MODEL = {"PathSettings": "the model's", "HeatSettings": "the model's"}  # defaults


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
    arrivals: Annotated[bool, typer.Option("--watch", help="Go on with what comes into a folder.")] = False,
    device: Device = "auto",
) -> None:
    """Score images: a heat-map PNG each, and scores.csv. What the same command has done before is kept.

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
    if arrivals and not (len(images) == 1 and images[0].is_dir()):
        raise SettingsError("Option --watch takes one folder.")
    files, left_out = (arriving(images[0]), 0) if arrivals else name_files(images)
    check_writable(out, folder=True)
    check_writable(out / TABLE)
    extras = [name for name, asked in zip(EXTRAS, (masks, raw, regions), strict=True) if asked]
    options = {"category": category, "paths": paths, "heat": heat, "threshold": threshold, "extras": extras}
    for done in watch(score_files(loaded, files, out, **options), "scoring", "The same command goes on from here."):
        if arrivals and done.row:
            row = done.row
            print(row["file"], row.get("score", "-"), row.get("verdict") or row.get("error", ""), sep="\t", flush=True)
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
                for record in watch(of_folder(loaded, name, good, false_alarm_rate), "scoring"):
                    skipped |= record.note.startswith("Skipped")
                chosen[name] = record.result
        save_info(model, loaded.info.model_copy(update={"categories": loaded.info.categories | chosen}))
    for name, info in chosen.items():
        print(f"{name}: {describe(info)}")
    raise typer.Exit(1 if skipped else 0)


def export(
    model: Annotated[Path, typer.Argument(help="Model folder: the closed form on feature maps.")],
    out: Annotated[Path, typer.Option(help="File to write, as parts.onnx.")],
    form: Annotated[str, typer.Option("--format", help="onnx, which OpenVINO and TensorRT read too.")] = "onnx",
    category: Category = None,
) -> None:
    """Write a detector with its encoder as one ONNX file: image in, heat map and score out.

    \b
    import numpy as np, onnxruntime
    from PIL import Image
    session = onnxruntime.InferenceSession("parts.onnx")
    height, width, _ = session.get_inputs()[0].shape
    picture = Image.open("017.png").convert("RGB").resize((width, height), Image.Resampling.BICUBIC)
    heatmap, score = session.run(None, {"image": np.asarray(picture, np.float32) / 255})
    threshold = float(session.get_modelmeta().custom_metadata_map["threshold"])
    print(score, score > threshold, heatmap.shape)

    Example: python -m fmcore export models/parts --out parts.onnx
    """
    if form != "onnx":
        raise SettingsError(f"Format '{form}' is not written: choose onnx, which OpenVINO and TensorRT read.")
    check_writable(out)
    print(write_export(load_model(model), out, category))


@with_settings(options=evaluation.EvaluateSettings, paths=PathSettings, heat=HeatSettings, defaults=OF_MODEL)
def evaluate(
    model: Annotated[Path, typer.Argument(help="Model folder.")],
    data: Annotated[Path, typer.Argument(help="MVTec layout or VisA; one category or all.")],
    options: Given,
    paths: Given,
    heat: Given,
    json_file: JsonFile = None,
    category: Category = None,
    device: Device = "auto",
) -> None:
    """Every figure of a model on a test set, with 95 % intervals over images.

    Example: python -m fmcore evaluate models/parts parts --json out/parts.json
    """
    loaded = load_model(model, check_device(device))
    paths, heat = loaded.info.paths.replace(**paths), loaded.info.heat.replace(**heat)
    settings = evaluation.EvaluateSettings.parse(**options, paths=paths, heat=heat)
    sets, results = evaluation.test_categories(data, loaded, category), {}
    check_writable(json_file)
    found = read_folder(data)
    notes.print(" ".join([f"Found {found.layout}.", *found.notes]))
    for name, items in sets.items():
        *_, record = watch(evaluation.evaluate(loaded, items, settings.replace(category=name)), name)
        results[name] = record.result
        _print(record.result)
    result = next(iter(results.values())) if len(results) == 1 else evaluation.mean_of(results)
    if len(results) > 1:
        _print(result)
    save_json(json_file, result)
    raise typer.Exit(1 if any(r["unreadable"] for r in results.values()) else 0)


def _print(result: dict) -> None:
    shown = {name: "n/a" if result[name] is None else f"{result[name]:.4f}" for name in TITLES}
    print(
        f"{result['category']}: image AUROC {shown['image_auroc']}, pixel AUROC {shown['pixel_auroc']} "
        f"({result['n_good']} good, {result['n_defective']} defective, {result['seconds_per_image']:.3f} s per image)"
    )
    for name, title in TITLES.items():
        interval = result["intervals"].get(name)
        print(f"  {title:<14}{shown[name]}" + ("" if interval is None else "   {:.4f} to {:.4f}".format(*interval)))
    for item in result.get("unreadable", ()):
        notes.print(f"Left out: {item['reason']}")
    for sentence in (*result.get("undefined", ()), *result.get("notes", ())):
        notes.print(sentence)
