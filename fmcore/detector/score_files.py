"""Scoring image files into a folder: a heat map each, a table, and on request masks, raw maps and regions."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

import fmcore
from fmcore.data.heatmap_file import HEAT, PART, HeatmapWriter, replace, stored_in
from fmcore.data.picture import read_picture
from fmcore.detector.calibration import check_value
from fmcore.detector.features import readable
from fmcore.detector.model import Model
from fmcore.detector.score import score
from fmcore.errors import ImageError, SettingsError
from fmcore.mismatch import HeatSettings, PathSettings
from fmcore.parallel import in_parallel

TABLE, REGIONS = "scores.csv", "regions.jsonl"
EXTRAS = ("mask", "raw", "regions")
_Plan = tuple[dict[str, str], Path, dict[str, Path]]  # see `_plan`
_SAID = {True: "anomalous", False: "normal", None: ""}


class ScoreRecord(NamedTuple):
    """``done`` of ``total`` files, ``failed`` of them; ``note`` is a sentence worth showing, ``legend`` how to read the
    heat maps; ``row`` is the line of the table of a file that was scored just now."""

    done: int
    total: int
    failed: int
    note: str
    legend: str
    row: dict[str, str] | None = None


def score_files(
    model: Model,
    files: Iterable[tuple[Path, str] | None],
    out: Path,
    *,
    category: str | None = None,
    paths: PathSettings | None = None,
    heat: HeatSettings | None = None,
    threshold: float | None = None,
    extras: Collection[str] = (),
) -> Iterator[ScoreRecord]:
    """Write ``out/NAME_heat.png`` of each file and `TABLE`, a line per file, as they are done; at the end the lines
    stand in the order of the files. What an earlier call with the same model and settings finished, of files that have
    not changed since, is kept: a heat map, which is written last and whole, holds the line of its file.

    Args:
        files: paths, and the name of each for what is written: see `name_files` and `arriving` (None: nothing new).
        paths, heat, threshold: other than the model's.
        extras: of `EXTRAS`: ``NAME_mask.png``, ``NAME_map.npy`` (float32 at the picture's size), a line per region in
            `REGIONS`. Names of all files written are then columns of the table, as they are of files that arrive.

    Raises:
        SettingsError: for extras that need a threshold where none applies. OSError: if the table cannot be written. A
            file that cannot be read, or whose results cannot be written, is an error in the table.
    """
    if threshold is not None:
        check_value(threshold)
    elif {"mask", "regions"} & set(extras) and not (model.threshold(category) and model.is_own(paths, heat)):
        raise SettingsError("Masks and regions need a threshold, and none holds for these settings: add --threshold.")
    out.mkdir(parents=True, exist_ok=True)
    for left in out.rglob(f".*{PART}"):  # by a run that was killed
        left.unlink(missing_ok=True)
    normal, failed, said = model.normal_ranges.get(model.category(category)), 0, {""}
    columns = ["file", "score", "threshold", "verdict", "error"]
    known = files if isinstance(files, Sequence) else ()
    columns += ["heatmap", *(name for name in EXTRAS if name in extras)] if extras or not known else []
    asked = [fmcore.__version__, model.info.model_dump_json(), category, repr((paths, heat, threshold)), columns]
    key = hashlib.sha256(json.dumps(asked).encode()).hexdigest() if normal else ""  # else colours depend on the first
    writer = HeatmapWriter(out, normal.scale((heat or model.info.heat).exponent) if normal else None)
    lines, plans = _earlier(out, key), (given and _plan(out, *given, extras, columns) for given in files)
    if known:
        plans = list(plans)
        lines = {made["heatmap"]: lines[made["heatmap"]] for row, path, made in plans if _holds(lines, row, path, made)}
    _write(out, columns, lines.values())

    def scored(plan: _Plan | None) -> tuple[_Plan | None, str, list[dict[str, Any]] | None]:
        """With its row complete, a note, and its regions; None for these where there was nothing to do."""
        if plan is None or _holds(lines, *plan):
            return plan, "", None
        (row, path, made), note, regions = plan, "", []
        name = str(made["heatmap"].relative_to(out)).removesuffix(HEAT)
        try:
            picture = read_picture(path)
            found = score(model, picture, category, paths=paths, heat=heat, threshold=threshold)
            # repr keeps every bit, so that a score can be compared exactly.
            row |= {"score": repr(found.score), "verdict": _SAID[found.anomalous]}
            row["threshold"] = "" if found.threshold is None else repr(found.threshold)
            remark = model.view(category).remark(picture)
            note = f"'{path.name}': {remark}" if remark else found.note
            if "regions" in made:
                regions = [{"file": row["file"], **region._asdict()} for region in found.regions]
            made["heatmap"].parent.mkdir(parents=True, exist_ok=True)
            if "mask" in made:
                replace(made["mask"], partial(Image.fromarray(found.mask).save, format="PNG"))
            if "raw" in made:
                replace(made["raw"], partial(np.save, arr=found.heatmap))
            height, width = found.heatmap.shape
            line = json.dumps({"row": row, "regions": regions})
            writer.write(name, found.heatmap, height=height, width=width, made_with=key, line=line)
        except ImageError as error:
            row["error"] = readable(error)
        except OSError as error:
            row["error"] = readable(f"The results of '{path.name}' cannot be written ({error.strerror}).")
        if "error" in row:
            regions = []
            [row.pop(column, None) for column in made]
        return plan, note, regions

    # One by one where pictures are waited for, or the first one sets the colours of all.
    at_once = in_parallel if known and normal and model.device.type == "cpu" else map
    for done, (plan, note, regions) in enumerate(at_once(scored, plans), start=1):
        if regions is None:
            yield ScoreRecord(done, len(known) or done, failed, "", writer.legend)
            continue
        row, _, made = plan
        failed += "error" in row
        lines[made["heatmap"]] = {"row": row, "regions": regions}
        _write(out, columns, [lines[made["heatmap"]]], add=True)
        note = row.get("error", "" if note in said else note)
        said.add(note)
        yield ScoreRecord(done, len(known) or done, failed, note, writer.legend, row)
    _write(out, columns, [lines[made["heatmap"]] for _, _, made in plans])


def _plan(out: Path, path: Path, name: str, extras: Collection[str], columns: Collection[str]) -> _Plan:
    """The row of a picture so far, the picture, and the files of its results by the column of the table."""
    made = {"heatmap": out / f"{name}{HEAT}", "mask": out / f"{name}_mask.png", "raw": out / f"{name}_map.npy"}
    made = {column: path for column, path in made.items() if column in ("heatmap", *extras)}
    made |= {"regions": out / REGIONS} if "regions" in extras else {}
    named = {column: readable(file.relative_to(out).as_posix()) for column, file in made.items() if column in columns}
    return {"file": readable(path)} | named, path, made


def _earlier(out: Path, key: str) -> dict[Path, dict[str, Any]]:
    """The lines that an earlier run stored in its heat maps, by these, as they came; none without a ``key``."""
    own = {
        path: stored for path in out.rglob(f"*{HEAT}") if key and (stored := stored_in(path)).get("made_with") == key
    }
    return {path: json.loads(own[path]["line"]) for path in sorted(own, key=lambda p: (p.stat().st_mtime_ns, p))}


def _holds(lines: dict[Path, dict[str, Any]], row: dict[str, str], path: Path, made: dict[str, Path]) -> bool:
    """Whether all results of a picture are there, and newer than it."""
    try:
        changed = max(path.stat().st_mtime_ns, path.stat().st_ctime_ns)
        is_newer = all(file.exists() for file in made.values()) and made["heatmap"].stat().st_mtime_ns >= changed
        return is_newer and lines.get(made["heatmap"], {}).get("row", {}).get("file") == row["file"]
    except OSError:
        return False


def _write(out: Path, columns: list[str], lines: Iterable[dict[str, Any]], *, add: bool = False) -> None:
    """`TABLE`, and `REGIONS` where they are asked for, anew or with lines added at their end."""
    csv.DictWriter(table := io.StringIO(newline=""), columns, restval="").writerows(line["row"] for line in lines)
    texts = {TABLE: ("" if add else ",".join(columns) + "\r\n") + table.getvalue()}
    if "regions" in columns:
        texts[REGIONS] = "".join(f"{json.dumps(region)}\n" for line in lines for region in line["regions"])
    for name, text in texts.items():
        if add:
            with (out / name).open("a", encoding="utf-8", newline="") as file:
                file.write(text)
        else:
            replace(out / name, lambda file, text=text: file.write(text.encode()))
