"""The VisA data set as it is downloaded: one table, ``split_csv/1cls.csv``, says what each image is for.

Columns ``object,split,label,image,mask``: ``split`` is train or test, ``label`` normal or anomaly, ``image`` and
``mask`` are paths below the data set's folder; no mask for normal images. Zou et al., "SPot-the-Difference
Self-Supervised Pre-training for Anomaly Detection and Segmentation", ECCV 2022. Its masks hold defect numbers, see
`fmcore.data.picture.read_mask`.
"""

from __future__ import annotations

import csv
from pathlib import Path

from fmcore.errors import DataError

TABLE = Path("split_csv", "1cls.csv")
COLUMNS = ("object", "split", "label", "image", "mask")
Train = dict[str, list[Path]]
Test = dict[str, list[tuple[Path, str, Path | None]]]  # image, "good" or "anomaly", mask


def find_visa(data: Path) -> tuple[Train, Test, list[str]] | None:
    """Images by category of ``data``, a VisA folder or one category in it, and the categories of the table that have no
    folder; files may be missing on disk. None where ``data`` is neither. Raises `DataError` if the table cannot be
    used, or none of its categories is there."""
    root, only = data, None
    if not (data / TABLE).is_file():
        if not (data / "Data" / "Images").is_dir():
            return None
        root, only = data.resolve().parent, data.resolve().name
        if not (root / TABLE).is_file():
            raise DataError(f"'{data}' looks like a VisA category, but needs '{root / TABLE}': copy it from VisA.")
    path, train, test = root / TABLE, {}, {}
    for line, category, split, label, image, mask in _rows(path):
        if not (category and image and split in ("train", "test") and label in ("normal", "anomaly")):
            raise DataError(
                f"'{path}', line {line} is not usable: split must be train or test (is '{split}'), "
                f"label normal or anomaly (is '{label}'), and object and image must be given."
            )
        good, tested, is_good = train.setdefault(category, []), test.setdefault(category, []), label == "normal"
        if split == "test":
            tested.append((root / image, "good" if is_good else label, root / mask if mask and not is_good else None))
        elif is_good:
            good.append(root / image)
    wanted = [name for name in sorted(train) if only in (None, name)]
    present = [name for name in wanted if (root / name).is_dir()]
    if not present:
        named = f"the category '{only}'" if only else "one of its categories"
        raise DataError(f"'{path}' does not list {named} with a folder beside it: download VisA again.")
    absent = [name for name in wanted if name not in present]
    return {name: train[name] for name in present}, {name: test[name] for name in present}, absent


def _rows(path: Path) -> list[tuple]:
    """Number and `COLUMNS` of each line."""
    try:
        # utf-8-sig: spreadsheet programs write a mark at the start, which would become part of a column's name.
        with path.open(newline="", encoding="utf-8-sig") as file:
            table = csv.DictReader(file)
            missing = [name for name in COLUMNS if name not in (table.fieldnames or ())]
            rows = [(table.line_num, *((row.get(name) or "").strip() for name in COLUMNS)) for row in table]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"'{path}' cannot be read ({error}): copy it from VisA again.") from None
    if missing:
        said = f"has no column {', '.join(missing)}: expected {','.join(COLUMNS)}"
        raise DataError(f"'{path}' {said}; copy it from VisA.")
    return rows
