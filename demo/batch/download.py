"""What a visitor takes away of a batch: a table, heat maps, masks and raw maps, in one zip file."""

from __future__ import annotations

import csv
import io
import json
import re
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from demo.batch.batch import Batch
from fmcore.data.heatmap_file import HeatmapWriter
from fmcore.detector.score import find_regions, mark

NAME = "flow-mismatching-batch.zip"
COLUMNS = ("name", "label", "score", "threshold", "anomalous", "regions", "largest_region_pixels", "files")
MOST_SIDE = 1024  # pixels of the longer side of what is written; a photograph's own size would take minutes


def write_zip(folder: Path, batch: Batch, threshold: float | None) -> Path:
    """Write everything into an existing empty folder; ``threshold`` is that of the page, None for no verdicts."""
    rows, skipped = batch.finished()
    rows.sort(key=lambda row: -row.verdict.score)
    normal, view = batch.model.normal_ranges.get(batch.category), batch.model.view(batch.category)
    writer = HeatmapWriter(folder, normal.scale(batch.model.info.heat.exponent) if normal else None)
    table = io.StringIO(newline="")
    lines = csv.writer(table)
    lines.writerow(COLUMNS)
    with zipfile.ZipFile(folder / NAME, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for number, row in enumerate(rows, 1):
            verdict = row.verdict if threshold is None else row.verdict.against(threshold)
            name = f"{number:03d}_{re.sub(r'[^A-Za-z0-9.-]+', '_', row.name)[-80:]}"
            factor = min(1.0, MOST_SIDE / max(row.size))
            height, width = (max(1, round(side * factor)) for side in row.size)
            heat = writer.write(name, verdict.heatmap, height=height, width=width)
            archive.write(heat, f"heatmaps/{heat.name}")
            heat.unlink()
            whole = view.enlarge(verdict.heatmap, height, width)
            archive.writestr(f"maps/{name}.npy", _npy(whole))
            regions = []
            if threshold is not None:
                archive.writestr(f"masks/{name}_mask.png", _png(mark(whole, threshold)))
                regions = find_regions(whole, threshold)
            about = ("" if value is None else value for value in (row.label, repr(verdict.score), threshold))
            said = "" if threshold is None else verdict.anomalous
            largest = max((region.area for region in regions), default=0)
            lines.writerow((row.name, *about, said, len(regions), largest, name))
        archive.writestr("scores.csv", table.getvalue())
        archive.writestr("about.txt", _about(batch, writer.legend, threshold, skipped))
    return folder / NAME


def _about(batch: Batch, legend: str, threshold: float | None, skipped: list[str]) -> str:
    info = batch.model.info
    settings = json.dumps({**info.paths.model_dump(), **info.heat.model_dump(), "threshold": threshold}, indent=1)
    left_out = "".join(f"Skipped: {sentence}\n" for sentence in skipped)
    return (
        f"{batch.title}\n{legend}\nmaps/: the same as float32, at the picture's size, at most {MOST_SIDE} pixels; "
        f"masks/: where they exceed half the threshold.\n{settings}\n{left_out}"
    )


def _npy(values: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, values)
    return buffer.getvalue()


def _png(mask: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(mask).save(buffer, "PNG")
    return buffer.getvalue()
