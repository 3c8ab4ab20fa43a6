"""Scoring image files into a folder: a heat map each, a table, and on request masks, raw maps and regions."""

from __future__ import annotations

import csv
import itertools
import json
from collections.abc import Collection, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from fmcore.data.folders import list_images
from fmcore.data.heatmap_file import HeatmapWriter, is_heatmap
from fmcore.data.picture import read_picture
from fmcore.detector.calibration import check_value
from fmcore.detector.features import readable
from fmcore.detector.model import Model
from fmcore.detector.score import score
from fmcore.errors import DataError, ImageError, SettingsError
from fmcore.mismatch import HeatSettings, PathSettings

TABLE, REGIONS = "scores.csv", "regions.jsonl"
EXTRAS = ("mask", "raw", "regions")
_SAID = {True: "anomalous", False: "normal", None: ""}


class ScoreRecord(NamedTuple):
    """``done`` of ``total`` files, ``failed`` of them; ``note`` is a sentence worth showing, ``legend`` how to read the
    heat maps."""

    done: int
    total: int
    failed: int
    note: str
    legend: str


def score_files(
    model: Model,
    files: Sequence[tuple[Path, str]],
    out: Path,
    *,
    category: str | None = None,
    paths: PathSettings | None = None,
    heat: HeatSettings | None = None,
    threshold: float | None = None,
    extras: Collection[str] = (),
) -> Iterator[ScoreRecord]:
    """Write ``out/NAME_heat.png`` of each file and `TABLE`, a line per file, as they are done.

    Args:
        files: paths, and the name of each for what is written: see `name_files`.
        paths, heat, threshold: other than the model's.
        extras: of `EXTRAS`: ``NAME_mask.png``, ``NAME_map.npy`` (float32 at the picture's size), a line per region in
            `REGIONS`. Names of all files written are then columns of the table.

    Raises:
        SettingsError: for extras that need a threshold where none applies. OSError: if the table cannot be written. A
            file that cannot be read, or whose results cannot be written, is an error in the table.
    """
    if threshold is not None:
        check_value(threshold)
    elif {"mask", "regions"} & set(extras) and not (model.threshold(category) and model.is_own(paths, heat)):
        raise SettingsError("Masks and regions need a threshold, and none holds for these settings: add --threshold.")
    out.mkdir(parents=True, exist_ok=True)
    normal, failed, said = model.normal_ranges.get(model.category(category)), 0, {""}
    writer = HeatmapWriter(out, normal.scale((heat or model.info.heat).exponent) if normal else None)
    columns = ["file", "score", "threshold", "verdict", "error"]
    columns += ["heatmap", *(name for name in EXTRAS if name in extras)] if extras else []
    text = {"mode": "w", "encoding": "utf-8", "newline": ""}
    with (
        (out / TABLE).open(**text) as file,
        (out / REGIONS).open(**text) if "regions" in extras else nullcontext() as lines,
    ):
        table = csv.DictWriter(file, columns, restval="", extrasaction="ignore")
        table.writeheader()
        for done, (path, name) in enumerate(files, start=1):
            row, note = {"file": readable(path)}, ""
            try:
                picture = read_picture(path)
                found = score(model, picture, category, paths=paths, heat=heat, threshold=threshold)
                # repr keeps every bit, so that a score can be compared exactly.
                row |= {"score": repr(found.score), "verdict": _SAID[found.anomalous]}
                row["threshold"] = "" if found.threshold is None else repr(found.threshold)
                note = "" if found.note in said else found.note
                if remark := model.view(category).remark(picture):
                    note = f"'{path.name}': {remark}"
                said.add(note)
                height, width = found.heatmap.shape
                written = {"heatmap": writer.write(name, found.heatmap, height=height, width=width)}
                if "mask" in extras:
                    written["mask"] = out / f"{name}_mask.png"
                    Image.fromarray(found.mask).save(written["mask"])
                if "raw" in extras:
                    written["raw"] = out / f"{name}_map.npy"
                    np.save(written["raw"], found.heatmap)
                if "regions" in extras:
                    written["regions"] = out / REGIONS
                    for region in found.regions:
                        lines.write(json.dumps({"file": row["file"], **region._asdict()}) + "\n")
                    lines.flush()
                row |= {column: readable(made.relative_to(out).as_posix()) for column, made in written.items()}
            except ImageError as error:
                row["error"] = readable(error)
            except OSError as error:
                row["error"] = readable(f"The results of '{path.name}' cannot be written ({error.strerror}).")
            failed += "error" in row
            table.writerow(row)
            file.flush()
            yield ScoreRecord(done, len(files), failed, row.get("error", note), writer.legend)


def name_files(given: Sequence[Path]) -> tuple[list[tuple[Path, str]], int]:
    """Images among files and folders with the name of each for its results: its path below the folder that was given,
    made unique. What an earlier run wrote inside a folder is left out; the second value counts those heat maps.
    Raises `DataError` for a path that does not exist, or a folder without images."""
    found: list[tuple[Path, str]] = []
    left_out = 0
    for path in given:
        if path.is_dir():
            every = list_images(path, deep=True)
            maps = {image for image in every if is_heatmap(image)}
            own = maps | {m.with_name(m.name.removesuffix("_heat.png") + "_mask.png") for m in maps}
            left_out += len(maps)
            inside = [(image, str(image.relative_to(path).with_suffix(""))) for image in every if image not in own]
            if not inside:
                raise DataError(f"There is no image in '{path}': check the path.")
            found += inside
        elif path.exists():
            found.append((path, path.stem))
        else:
            raise DataError(f"There is no file or folder '{path}': check the path.")
    names: dict[str, Path] = {}
    for path, name in found:
        free = (name if count == 1 else f"{name}_{count}" for count in itertools.count(1))
        names[next(candidate for candidate in free if candidate not in names)] = path
    return [(path, name) for name, path in names.items()], left_out
