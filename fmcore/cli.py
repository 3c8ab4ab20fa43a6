"""The command line: parse, call, print. Nothing is computed here.

Exit codes: 0 done; 1 done, but some files could not be read; 2 bad input, nothing was done; 130 interrupted.
"""

from __future__ import annotations

import csv
import itertools
import json
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from fmcore.errors import DataError, FlowMismatchingError, ImageError, ModelError

app = typer.Typer(
    add_completion=False, no_args_is_help=True, help="Flow Mismatching: find anomalies with a model of normal images."
)
notes = Console(stderr=True, soft_wrap=True, highlight=False, markup=False)

Category = Annotated[str | None, typer.Option(help="Category, where the model has several.")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
Paths = Annotated[int | None, typer.Option(help="K, noise draws per image.")]
Times = Annotated[int | None, typer.Option(help="T, interior times.")]
Aggregator = Annotated[str | None, typer.Option(help="Over paths: min, mean, median or percentile.")]
Percentile = Annotated[float | None, typer.Option(help="alpha of the percentile aggregator.")]
Exponent = Annotated[float | None, typer.Option(help="r of the time weight t^r.")]
Smoothing = Annotated[float | None, typer.Option(help="Blur of the map, sigma in model pixels.")]


@app.command()
def fit(
    data: Annotated[
        Path, typer.Argument(help="Folder of good images, an MVTec-layout category, or a folder of these.")
    ],
    out: Annotated[Path, typer.Option(help="Model folder to write.")],
    field: Annotated[str, typer.Option(help="unet: learned, best. gaussian: closed form, seconds.")] = "unet",
    size: Annotated[int | None, typer.Option(help="Pixels per side. [default: unet 128, gaussian 64]")] = None,
    minutes: Annotated[float, typer.Option(help="Training time of a unet.")] = 20.0,
    steps: Annotated[int | None, typer.Option(help="Training steps of a unet, instead of minutes.")] = None,
    start: Annotated[str, typer.Option(help="gaussian, or none: the paper's plain network.")] = "gaussian",
    time_power: Annotated[float, typer.Option(help="Density t^power of training times; the paper: 0.")] = 2.0,
    components: Annotated[int, typer.Option(help="Most principal components per Gaussian field.")] = 100,
    least_gain: Annotated[float, typer.Option(help="Least share of the rest a component must explain.")] = 0.0,
    batch: Annotated[int, typer.Option(help="Images per training step.")] = 16,
    learning_rate: Annotated[float, typer.Option(help="Peak learning rate.")] = 1e-3,
    seed: Annotated[int, typer.Option(help="Seed of all randomness.")] = 0,
    false_alarm_rate: Annotated[float, typer.Option(help="Of the threshold, on new good images.")] = 0.05,
    half: Annotated[bool, typer.Option(help="Store weights as float16, half the size.")] = False,
    overwrite: Annotated[bool, typer.Option(help="Replace a finished model in --out.")] = False,
    device: Device = "auto",
    paths: Paths = None,
    times: Times = None,
    aggregator: Aggregator = None,
    percentile: Percentile = None,
    exponent: Exponent = None,
    smoothing: Smoothing = None,
) -> None:
    """Fit a model to good images. A unet resumes where an interrupted run in --out stopped."""
    from fmcore.datasets import detect_channels, find_good_images
    from fmcore.fitting import RUN_FILE, FitSettings
    from fmcore.fitting import fit as run_fit
    from fmcore.model import FILE, save_model

    settings = FitSettings.parse(
        field=field,
        size=size if size is not None else (64 if field == "gaussian" else 128),
        minutes=minutes,
        steps=steps,
        start=start,
        time_power=time_power,
        components=components,
        least_gain=least_gain,
        batch=batch,
        learning_rate=learning_rate,
        seed=seed,
        false_alarm_rate=false_alarm_rate,
        paths=_path_settings(paths, times),
        heat=_heat_settings(aggregator, percentile, exponent, smoothing),
    )
    _check_folder(out)
    if (out / FILE).exists() and not overwrite:
        raise ModelError(f"'{out}' already holds a finished model: give another --out, or add --overwrite.")
    target = _device(device)
    good = find_good_images(data)
    notes.print(good.summary())
    every = [path for found in good.categories.values() for path in found]
    channels = detect_channels(every)
    images, unreadable = _read_all(good.categories, settings.size, channels)
    notes.print(
        f"Training on {'gray' if channels == 1 else 'RGB'} images at {settings.size} x {settings.size} on {target}."
    )
    if overwrite and (out / FILE).exists():
        (out / FILE).unlink()
    model = None
    with _progress() as progress, _stop_between_steps() as stopping:
        tasks: dict[str, Any] = {}
        records = run_fit(images, settings, device=target, folder=out if field == "unet" else None)
        for record in records:
            model = record.model
            task = tasks.setdefault(record.stage, None)
            if task is None:
                task = tasks[record.stage] = progress.add_task(record.stage, total=record.total)
            text = record.stage
            if record.train:
                text += f", loss {record.train.loss:.3f}, {record.train.images_per_second:.0f} images/s"
            progress.update(task, completed=record.done, total=record.total, description=text)
            if stopping():
                records.close()
                notes.print(f"Interrupted. Repeat the same command to go on from here ('{out}').")
                raise typer.Exit(130)
    save_model(out, model, half=half)
    for leftover in ("checkpoint.safetensors", RUN_FILE):
        (out / leftover).unlink(missing_ok=True)
    for name in model.info.categories:
        if (threshold := model.info.thresholds.get(name)) is not None:
            notes.print(
                f"{name}: threshold {threshold.value:.6g} from {threshold.held_out} held-out good images "
                f"(false-alarm rate at most {threshold.false_alarm_rate:.0%})."
            )
        else:
            notes.print(f"{name}: {model.info.notes.get(name, '')}")
    notes.print(f"Model written to '{out}'.")
    raise typer.Exit(1 if unreadable else 0)


@app.command()
def score(
    model: Annotated[Path, typer.Argument(help="Model folder.")],
    images: Annotated[list[Path], typer.Argument(help="Images or folders of images.")],
    out: Annotated[Path, typer.Option(help="Folder for heat maps and scores.csv.")],
    category: Category = None,
    device: Device = "auto",
    paths: Paths = None,
    times: Times = None,
    aggregator: Aggregator = None,
    percentile: Percentile = None,
    exponent: Exponent = None,
    smoothing: Smoothing = None,
) -> None:
    """Score images: a heat-map PNG each, and scores.csv."""
    from fmcore.heatmap_file import HeatmapWriter
    from fmcore.images import read_picture
    from fmcore.mismatch import Mismatch
    from fmcore.model import load_model
    from fmcore.scoring import judge, score_steps

    loaded = load_model(model, _device(device))
    category = loaded.category(category)
    path_settings = _path_settings(paths, times, loaded.info.paths)
    heat = _heat_settings(aggregator, percentile, exponent, smoothing, loaded.info.heat)
    files = _expand(images)
    _check_folder(out)
    out.mkdir(parents=True, exist_ok=True)
    writer = HeatmapWriter(out, loaded.normal_ranges.get(category), heat)
    failed = 0
    remarks = set()
    with (out / "scores.csv").open("w", newline="") as file, _progress() as progress:
        table = csv.writer(file)
        table.writerow(["file", "score", "threshold", "verdict", "error"])
        for path, name in progress.track(files, description="scoring"):
            try:
                picture = read_picture(path)
                mismatch = Mismatch.collect(score_steps(loaded, picture, path_settings, category))
                verdict = judge(loaded, mismatch, path_settings, heat, category)
                writer.write(name, verdict.heatmap, height=picture.height, width=picture.width)
            except ImageError as error:
                failed += 1
                table.writerow([path, "", "", "", error])
                notes.print(str(error))
            else:
                said = {True: "anomalous", False: "normal", None: ""}[verdict.anomalous]
                # repr keeps every bit, so that a score can be compared exactly.
                limit = "" if verdict.threshold is None else repr(verdict.threshold)
                table.writerow([path, repr(verdict.score), limit, said, ""])
                remarks.add(verdict.note)
            file.flush()
    for remark in remarks - {""}:
        notes.print(remark)
    notes.print(f"{len(files) - failed} of {len(files)} images scored; heat maps and scores.csv in '{out}'.")
    notes.print(writer.legend)
    raise typer.Exit(1 if failed else 0)


@app.command()
def evaluate(
    model: Annotated[Path, typer.Argument(help="Model folder.")],
    data: Annotated[Path, typer.Argument(help="MVTec-layout category, or a folder of them.")],
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures here.")] = None,
    category: Category = None,
    device: Device = "auto",
    paths: Paths = None,
    times: Times = None,
    aggregator: Aggregator = None,
    percentile: Percentile = None,
    exponent: Exponent = None,
    smoothing: Smoothing = None,
) -> None:
    """Image and pixel AUROC on a test set."""
    from fmcore.evaluate import EvaluateSettings, mean_of, test_categories
    from fmcore.evaluate import evaluate as run_evaluate
    from fmcore.model import load_model

    loaded = load_model(model, _device(device))
    results = {}
    for name, items in test_categories(data, loaded, category).items():
        settings = EvaluateSettings.parse(
            category=name,
            paths=_path_settings(paths, times, loaded.info.paths),
            heat=_heat_settings(aggregator, percentile, exponent, smoothing, loaded.info.heat),
        )
        with _progress() as progress:
            task = progress.add_task(name, total=len(items))
            for record in run_evaluate(loaded, items, settings):
                progress.update(task, completed=record.done)
        results[name] = record.result
        _print_result(record.result)
    result = next(iter(results.values())) if len(results) == 1 else mean_of(results)
    if len(results) > 1:
        _print_result(result)
    if json_file is not None:
        json_file.parent.mkdir(parents=True, exist_ok=True)
        json_file.write_text(json.dumps(result, indent=1))
    raise typer.Exit(1 if any(r["unreadable"] for r in results.values()) else 0)


@app.command()
def render(
    out: Annotated[Path, typer.Argument(help="Folder to write, one MVTec-layout category each.")],
    train: Annotated[int, typer.Option(help="Good training images per category.")] = 300,
    test_good: Annotated[int, typer.Option(help="Good test images per category.")] = 30,
    test_per_defect: Annotated[int, typer.Option(help="Test images per kind of defect.")] = 12,
    size: Annotated[int, typer.Option(help="Pixels per side.")] = 128,
    seed: Annotated[int, typer.Option(help="Seed of the renderer.")] = 0,
) -> None:
    """Render the embedded data set: brick, grass, gravel, gear, chip."""
    from fmcore.synthetic import RenderSettings, write_dataset

    settings = RenderSettings.parse(
        train=train, test_good=test_good, test_per_defect=test_per_defect, size=size, seed=seed
    )
    with _progress() as progress:
        task = progress.add_task("rendering", total=None)
        for record in write_dataset(out, settings):
            progress.update(task, completed=record.done, total=record.total, description=record.category)


def main() -> None:
    """Run the command line; known errors become one sentence and exit code 2."""
    try:
        app()
    except FlowMismatchingError as error:
        notes.print(str(error), style="red")
        sys.exit(2)
    except KeyboardInterrupt:
        notes.print("Interrupted.")
        sys.exit(130)


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=notes
    )


def _read_all(categories: dict[str, list[Path]], size: int, channels: int) -> tuple[dict[str, Any], bool]:
    from fmcore.datasets import load_images, split_loaded

    images, any_unreadable = {}, False
    with _progress() as progress:
        for name, paths in categories.items():
            loaded = list(
                progress.track(load_images(paths, size=size, channels=channels), len(paths), description=name)
            )
            images[name], unreadable = split_loaded(loaded)
            any_unreadable |= bool(unreadable)
            for item in unreadable:
                notes.print(f"Skipped: {item.reason}")
    return images, any_unreadable


def _expand(given: list[Path]) -> list[tuple[Path, str]]:
    """Files with the output name of each: its path below the folder that was given, made unique."""
    from fmcore.datasets import list_images

    found: list[tuple[Path, Path]] = []
    for path in given:
        if path.is_dir():
            below = (p for p in path.rglob("*") if p.is_dir())
            folders = [path, *sorted(p for p in below if not any(x.startswith(".") for x in p.relative_to(path).parts))]
            inside = [image for folder in folders for image in list_images(folder)]
            if not inside:
                raise DataError(f"There is no image in '{path}': check the path.")
            found += [(image, image.relative_to(path).with_suffix("")) for image in inside]
        elif path.exists():
            found.append((path, Path(path.stem)))
        else:
            raise DataError(f"There is no file or folder '{path}': check the path.")
    names: dict[str, Path] = {}
    for path, name in found:
        free = (str(name) if count == 1 else f"{name}_{count}" for count in itertools.count(1))
        names[next(candidate for candidate in free if candidate not in names)] = path
    return [(path, name) for name, path in names.items()]


def _check_folder(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise DataError(f"'{out}' is a file: give the name of a folder for --out.")


def _device(name: str) -> str:
    import torch

    if name not in ("auto", "cpu", "cuda"):
        raise DataError(f"There is no device '{name}': choose auto, cpu or cuda.")
    if name == "cuda" and not torch.cuda.is_available():
        raise DataError("No CUDA device is available here: choose --device cpu.")
    return "cuda" if name != "cpu" and torch.cuda.is_available() else "cpu"


def _path_settings(paths: int | None, times: int | None, base: Any = None) -> Any:
    from fmcore.mismatch import PathSettings

    return (base or PathSettings()).replace(**_given(paths=paths, times=times))


def _heat_settings(
    aggregator: str | None, percentile: float | None, exponent: float | None, smoothing: float | None, base: Any = None
) -> Any:
    from fmcore.mismatch import HeatSettings

    given = _given(aggregator=aggregator, percentile=percentile, exponent=exponent, smoothing=smoothing)
    return (base or HeatSettings()).replace(**given)


def _given(**options: Any) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


@contextmanager
def _stop_between_steps() -> Iterator[Any]:
    """Ctrl-C is only noted, so that a step is never cut in half; a second one interrupts at once."""
    requested = []

    def note(number: int, frame: Any) -> None:
        if requested:
            raise KeyboardInterrupt
        requested.append(number)

    before = signal.signal(signal.SIGINT, note)
    try:
        yield lambda: bool(requested)
    finally:
        signal.signal(signal.SIGINT, before)


def _print_result(result: dict) -> None:
    def figure(value: float | None) -> str:
        return "n/a" if value is None else f"{value:.4f}"

    print(
        f"{result['category']}: image AUROC {figure(result['image_auroc'])}, "
        f"pixel AUROC {figure(result['pixel_auroc'])} ({result['n_good']} good, {result['n_defective']} defective, "
        f"{result['seconds_per_image']:.3f} s per image)"
    )
    for item in result.get("unreadable", ()):
        notes.print(f"Left out: {item['reason']}")
