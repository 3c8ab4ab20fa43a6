"""What a visitor takes away: scores and verdicts as CSV, heat maps as pictures and as numbers, in one zip file."""

from __future__ import annotations

import csv
import io
import json
import re
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from demo.inspect import scoring
from fmcore.data.heatmap_file import HeatmapWriter
from fmcore.errors import SettingsError
from fmcore.mismatch import HeatSettings

NAME = "flow-mismatching.zip"
COLUMNS = ("number", "name", "category", "score", "threshold", "anomalous", "note")


def write_zip(folder: Path, tokens: Sequence, heat: HeatSettings) -> Path:
    """Write the results of these tokens, as they are under these heat settings, into an existing empty folder.

    Raises:
        SettingsError: if there are none, or they are gone.
    """
    results = [result for token in tokens if (result := scoring.RESULTS.get(token)) is not None]
    if not results:
        raise SettingsError("There is no result to download: score a picture first.")
    first = results[0]
    normal_range = first.model.normal_ranges.get(first.category)
    writer = HeatmapWriter(folder, normal_range.scale(heat.exponent) if normal_range else None)
    table = io.StringIO(newline="")
    rows = csv.writer(table)
    rows.writerow(COLUMNS)
    with zipfile.ZipFile(folder / NAME, "w", zipfile.ZIP_DEFLATED) as archive:
        for number, result in enumerate(results, 1):
            verdict = result.judged(heat)
            name = f"{number:02d}_{re.sub(r'[^A-Za-z0-9.-]+', '_', result.picture.name)[:80]}"
            height, width = result.picture.pixels.shape[:2]
            picture = writer.write(name, verdict.heatmap, height=height, width=width)
            archive.write(picture, f"heatmaps/{picture.name}")
            numbers = io.BytesIO()
            np.save(numbers, verdict.heatmap)
            archive.writestr(f"maps/{name}.npy", numbers.getvalue())
            threshold, anomalous = ("" if v is None else v for v in (verdict.threshold, verdict.anomalous))
            about = (number, result.picture.name, result.category)
            rows.writerow((*about, repr(verdict.score), threshold, anomalous, verdict.note))
        archive.writestr("results.csv", table.getvalue())
        settings = json.dumps({**first.paths.model_dump(), **heat.model_dump()}, indent=1)
        archive.writestr(
            "about.txt", f"{writer.legend}\nmaps/: the same as float32, on the model's grid.\n{settings}\n"
        )
    return folder / NAME
