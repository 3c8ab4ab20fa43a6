"""What the folders of a data set mean: one category's good images, test images and masks, and the VisA data set.

MVTec layout: ``train/good/*``, ``test/<good or defect>/*`` and ``ground_truth/<defect>/``, where the mask of an image
is ``<stem>_mask.png``, ``<stem>_gt.png``, ``<stem>.png`` or ``<name>.png`` (of any image kind), or a folder ``<stem>``
of masks, as in MVTec LOCO; the first two may also lie beside the image. Or folders of the names in `GOOD`, `BAD` and
`MASKS` beside each other; ``test_<good>`` are good ones to test on. Folders inside these, by day say, are read too.

VisA as it is downloaded: ``split_csv/1cls.csv`` with the columns ``object,split,label,image,mask`` says what each image
is for. Zou et al., "SPot-the-Difference Self-Supervised Pre-training for Anomaly Detection", ECCV 2022.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from fmcore.data.decoder import SUFFIXES, UNREAD
from fmcore.data.heatmap_file import is_heatmap
from fmcore.errors import DataError

GOOD = ("good", "ok", "normal")
BAD = ("bad", "ko", "ng", "nok", "defect", "defects", "defective", "abnormal", "anomaly", "anomalies", "anomalous")
MASKS = ("ground_truth", "mask", "masks", "gt")
TABLE = Path("split_csv", "1cls.csv")
COLUMNS = ("object", "split", "label", "image", "mask")
_TEST_GOOD = {name for good in GOOD for name in (f"test_{good}", f"{good}_test")}
_MASK = re.compile("(?<=.)_(mask|gt)$", re.IGNORECASE)  # of a file's stem


@dataclass(frozen=True)
class TestItem:
    """One test image: ``defect`` is "good" for a normal one; ``mask`` is None, the file that marks it or a folder of
    files."""

    __test__ = False  # not a pytest class

    path: Path
    defect: str
    mask: Path | None

    @property
    def is_good(self) -> bool:
        return self.defect == "good"


@dataclass(frozen=True)
class Category:
    """Good images and test images, each None without folders of such; ``strays``: masks that belong to no test image;
    ``left_out``: what was not taken for images."""

    layout: str
    train: list[Path] | None
    test: list[TestItem] | None
    strays: list[Path] = field(default_factory=list)
    left_out: str = ""


def list_images(*folders: str | Path, deep: bool = False) -> list[Path]:
    """Image files in ``folders``, by suffix, sorted; ``deep``: also in the folders inside. Hidden ones are left out."""
    return sorted(p for p in _visible(*folders, deep=deep) if p.suffix.lower() in SUFFIXES and p.is_file())


def not_read(*folders: str | Path) -> str:
    """A sentence on pictures of kinds that are not read, and broken links, anywhere in ``folders``; or nothing."""
    found = Counter()
    for path in _visible(*folders, deep=True):
        if path.is_symlink() and not path.exists():
            found["broken links"] += 1
        elif path.suffix.lower() in UNREAD:
            found[f"{path.suffix.lower()} files"] += 1
    return f"Not read: {', '.join(f'{count} {kind}' for kind, count in sorted(found.items()))}." if found else ""


def only_images(paths: list[Path]) -> list[Path]:
    """Without masks and our own heat maps."""
    return [path for path in paths if not _MASK.search(path.stem) and not is_heatmap(path)]


def folders_in(folder: Path) -> list[Path]:
    """Sorted, without hidden ones."""
    return sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".")) if folder.is_dir() else []


def read_category(root: Path) -> Category | None:
    """The images of one category; None where its folders are not those of one."""
    inner = {p.name.lower(): p for p in folders_in(root)}
    masks = next((inner[name] for name in MASKS if name in inner), None)
    good = [p for p in folders_in(inner.get("train", root / "train")) if p.name.lower() in GOOD]
    tests = {p: "good" if p.name.lower() in GOOD else p.name for p in folders_in(inner.get("test", root / "test"))}
    layout, has_test = "MVTec-layout", "test" in inner
    if not good and not has_test:
        good, bad = ([inner[name] for name in names if name in inner] for names in (GOOD, BAD))
        if not good or not bad:
            return None
        tests = {p: "good" for name, p in inner.items() if name in _TEST_GOOD} | {p: p.name for p in bad}
        named = [p.name for p in (*good, *tests, *([masks] if masks else []))]
        layout, has_test = f"named-folders ({', '.join(named)})", True
    every = list_images(*good, deep=True)
    train, test = only_images(every), []
    for folder, defect in tests.items():
        found = {} if defect == "good" else _masks_of(folder, masks, len(set(tests.values()) - {"good"}) == 1)
        images = only_images(list_images(folder, deep=True))
        for path, place in ((path, path.relative_to(folder)) for path in images):
            test.append(TestItem(path, defect, found.get(place.with_suffix("")) or found.get(place)))
    used = {item.mask for item in test}
    strays = [p for p in (list_images(masks, deep=True) if masks else ()) if not used & {p, p.parent}]
    left = f"{len(every) - len(train)} masks and heat maps" if len(every) > len(train) else ""
    return Category(layout, train if good else None, test if has_test else None, strays, left)


def _masks_of(folder: Path, masks: Path | None, is_only_defect: bool) -> dict[Path, Path]:
    """Masks of the images in ``folder``, by the image that they mark, without its suffix or with it: files, also beside
    the images, and folders of files. Of two, the one that is named as a mask wins."""
    found: dict[Path, Path] = {}
    marks = [folder] + ([] if masks is None else [masks / folder.name])
    if masks is not None and is_only_defect and not (masks / folder.name).is_dir():
        marks.append(masks)
    for root in marks:
        every = [p for p in list_images(root, deep=True) if root != folder or _MASK.search(p.stem)]
        found |= {p.parent.relative_to(root): p.parent for p in every if root != folder and p.parent != root}
        every.sort(key=lambda p: _MASK.search(p.stem) is not None)
        found |= {p.relative_to(root).with_name(_MASK.sub("", p.stem)): p for p in every}
    return found


def _visible(*folders: str | Path, deep: bool) -> list[Path]:
    every = [(p, p.relative_to(folder)) for folder in folders for p in Path(folder).glob("**/*" if deep else "*")]
    return [p for p, inside in every if not any(part.startswith(".") for part in inside.parts)]


def read_visa(data: Path) -> tuple[dict[str, Category], list[str]] | None:
    """Categories of ``data``, a VisA folder or one category in it, and those of the table that have no folder; files
    may be missing on disk. None where ``data`` is neither. Raises `DataError` if the table cannot be used, or none of
    its categories is there."""
    root, only = data, None
    if not (data / TABLE).is_file():
        if not (data / "Data" / "Images").is_dir():
            return None
        root, only = data.resolve().parent, data.resolve().name
        if not (root / TABLE).is_file():
            raise DataError(f"'{data}' looks like a VisA category, but needs '{root / TABLE}': copy it from VisA.")
    path, found = root / TABLE, {}
    for line, category, split, label, image, mask in _rows(path):
        if not (category and image and split in ("train", "test") and label in ("normal", "anomaly")):
            raise DataError(
                f"'{path}', line {line} is not usable: split must be train or test (is '{split}'), "
                f"label normal or anomaly (is '{label}'), and object and image must be given."
            )
        here, is_good = found.setdefault(category, Category("VisA", [], [])), label == "normal"
        if split == "test":
            marks = root / mask if mask and not is_good else None
            here.test.append(TestItem(root / image, "good" if is_good else label, marks))
        elif is_good:
            here.train.append(root / image)
    wanted = [name for name in sorted(found) if only in (None, name)]
    present = [name for name in wanted if (root / name).is_dir()]
    if not present:
        named = f"the category '{only}'" if only else "one of its categories"
        raise DataError(f"'{path}' does not list {named} with a folder beside it: download VisA again.")
    return {name: found[name] for name in present}, [name for name in wanted if name not in present]


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
