"""The VisA data set as it is downloaded: one table, ``split_csv/1cls.csv``, says what each image is for.

Columns ``object,split,label,image,mask``: ``split`` is train or test, ``label`` normal or anomaly, ``image`` and
``mask`` are paths below the data set's folder, such as ``candle/Data/Images/Normal/0836.JPG``; no mask for normal
images. Zou, Jeong, Pemula, Zhang, Dabeer, "SPot-the-Difference Self-Supervised Pre-training for Anomaly Detection
and Segmentation", ECCV 2022. Its masks hold defect numbers, see `fmcore.data.picture.read_mask`.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from fmcore.errors import DataError

TABLE = Path("split_csv", "1cls.csv")
COLUMNS = ("object", "split", "label", "image", "mask")


@dataclass(frozen=True)
class VisaRow:
    """One line of the table; ``image`` and ``mask`` are below the root, and may be missing on disk."""

    category: str
    is_train: bool
    is_normal: bool
    image: Path
    mask: Path | None


@dataclass(frozen=True)
class VisaTable:
    """Rows by category, of the categories whose folder exists; ``absent`` are those whose folder does not."""

    root: Path
    rows: dict[str, list[VisaRow]]
    absent: tuple[str, ...]

    def good(self) -> dict[str, list[Path]]:
        """Normal training images by category."""
        return {name: [r.image for r in rows if r.is_train and r.is_normal] for name, rows in self.rows.items()}


def find_visa(data: Path) -> VisaTable | None:
    """The table of ``data``, a VisA folder or one category in it; None where ``data`` is neither.

    Raises:
        DataError: if the table cannot be used, names a value that is not known, or none of its categories is
            there.
    """
    if (data / TABLE).is_file():
        return read_visa(data)
    parent = data.resolve().parent
    if (data / "Data" / "Images").is_dir() and (parent / TABLE).is_file():
        return read_visa(parent, data.resolve().name)
    if (data / "Data" / "Images").is_dir():
        raise DataError(f"'{data}' looks like a VisA category, but '{parent / TABLE}' is not there: copy it from VisA.")
    return None


def read_visa(root: Path, only: str | None = None) -> VisaTable:
    """The table below ``root``, or one category of it. Raises as `find_visa`."""
    path = root / TABLE
    rows: dict[str, list[VisaRow]] = {}
    try:
        # utf-8-sig: spreadsheet programs write a mark at the start, which would become part of a column's name.
        with path.open(newline="", encoding="utf-8-sig") as file:
            table = csv.DictReader(file)
            absent = [name for name in COLUMNS if name not in (table.fieldnames or ())]
            if absent:
                raise DataError(
                    f"'{path}' has no column {', '.join(absent)}: expected {','.join(COLUMNS)}; copy it from VisA."
                )
            for row in table:
                parsed = _parse(root, row, f"'{path}', line {table.line_num}")
                rows.setdefault(parsed.category, []).append(parsed)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"'{path}' cannot be read ({error}): copy it from VisA again.") from None
    wanted = {name: found for name, found in sorted(rows.items()) if only in (None, name)}
    present = {name: found for name, found in wanted.items() if (root / name).is_dir()}
    if not present:
        named = f"the category '{only}'" if only else "one of its categories"
        raise DataError(f"'{path}' does not list {named} with a folder beside it: download VisA again.")
    return VisaTable(root, present, tuple(name for name in wanted if name not in present))


def _parse(root: Path, row: dict[str, str | None], where: str) -> VisaRow:
    split, label, image, mask = ((row[name] or "").strip() for name in COLUMNS[1:])
    if split not in ("train", "test") or label not in ("normal", "anomaly") or not row["object"] or not image:
        raise DataError(
            f"{where} is not usable: split must be train or test (is '{split}'), label normal or anomaly "
            f"(is '{label}'), and object and image must be given."
        )
    marked = root / mask if mask and label == "anomaly" else None
    return VisaRow(row["object"].strip(), split == "train", label == "normal", root / image, marked)
