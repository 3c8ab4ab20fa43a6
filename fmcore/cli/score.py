"""``score``: a heat-map PNG per image, and a table of scores."""

from __future__ import annotations

import csv
import itertools
from pathlib import Path
from typing import Annotated

import typer

from fmcore.cli.console import notes, progress_bar
from fmcore.cli.options import Category, Device, Given, check_device, check_folder, with_settings
from fmcore.data.folders import list_images
from fmcore.data.heatmap_file import HeatmapWriter, is_heatmap
from fmcore.data.picture import read_picture
from fmcore.detector.model import load_model
from fmcore.detector.score import judge, score_steps
from fmcore.errors import DataError, ImageError
from fmcore.mismatch.mismatch import HeatSettings, Mismatch, PathSettings


@with_settings(paths=PathSettings, heat=HeatSettings, of_model=("paths", "heat"))
def score(
    model: Annotated[Path, typer.Argument(help="Model folder.")],
    images: Annotated[list[Path], typer.Argument(help="Images or folders of images.")],
    out: Annotated[Path, typer.Option(help="Folder for heat maps and scores.csv.")],
    paths: Given,
    heat: Given,
    category: Category = None,
    device: Device = "auto",
) -> None:
    """Score images: a heat-map PNG each, and scores.csv."""
    loaded = load_model(model, check_device(device))
    category = loaded.category(category)
    path_settings, heat_settings = loaded.paths(**paths), loaded.info.heat.replace(**heat)
    files = _expand(images)
    check_folder(out)
    out.mkdir(parents=True, exist_ok=True)
    writer = HeatmapWriter(out, loaded.normal_ranges.get(category), heat_settings)
    failed = 0
    remarks = set()
    with (out / "scores.csv").open("w", newline="") as file, progress_bar() as progress:
        table = csv.writer(file)
        table.writerow(["file", "score", "threshold", "verdict", "error"])
        for path, name in progress.track(files, description="scoring"):
            try:
                picture = read_picture(path)
                mismatch = Mismatch.collect(score_steps(loaded, picture, path_settings, category))
                verdict = judge(loaded, mismatch, path_settings, heat_settings, category)
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
    if failed == len(files):
        notes.print(f"None of the {len(files)} images could be scored; scores.csv in '{out}' says why.")
    else:
        notes.print(f"{len(files) - failed} of {len(files)} images scored; heat maps and scores.csv in '{out}'.")
        notes.print(writer.legend)
    raise typer.Exit(1 if failed else 0)


def _expand(given: list[Path]) -> list[tuple[Path, str]]:
    """Files with the output name of each: its path below the folder that was given, made unique. Heat maps
    that an earlier run left inside a folder are not images to score."""
    found: list[tuple[Path, Path]] = []
    for path in given:
        if path.is_dir():
            inside = _images_below(path)
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


def _images_below(root: Path) -> list[Path]:
    below = (p for p in root.rglob("*") if p.is_dir())
    folders = [root, *sorted(p for p in below if not any(x.startswith(".") for x in p.relative_to(root).parts))]
    every = [image for folder in folders for image in list_images(folder)]
    kept = [image for image in every if not is_heatmap(image)]
    if len(kept) < len(every):
        notes.print(f"Left out {len(every) - len(kept)} heat maps of an earlier run in '{root}'.")
    return kept
