"""Does the data hold what the notebooks need? Asked once, before a kernel starts or anything is trained."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fmcore.data.check import check
from fmcore.data.folders import find_good_images, find_test_items
from fmcore.data.picture import read_picture
from fmcore.errors import DataError, SettingsError


@dataclass(frozen=True)
class CheckRecord:
    """Progress over the files of a category; ``problems`` are sentences about files that can't be used."""

    category: str
    done: int
    total: int
    problems: tuple[str, ...] = ()


def category_folders(data: str | Path, wanted: list[str]) -> dict[str, Path]:
    """Folders of the categories by name: ``data`` itself, or those in it, or only the ``wanted`` ones.

    Raises:
        DataError: if the folder is missing or holds no good images. SettingsError: for an unknown category.
    """
    root = Path(data).resolve()
    names = list(find_good_images(root, allow_empty=True).categories)
    found = {name: root / name if (root / name).is_dir() else root for name in names}
    for name in wanted:
        if name not in found:
            raise SettingsError(f"There is no category '{name}' in '{root}': it has {', '.join(found)}.")
    return {name: folder for name, folder in found.items() if not wanted or name in wanted}


def check_category(name: str, folder: Path, *, tested: bool) -> Iterator[CheckRecord]:
    """Open every image and mask of a category, see `fmcore.data.check.check`.

    Args:
        tested: whether labelled test images are needed: good and defective ones.

    Raises:
        DataError: if images of one kind are missing altogether.
    """
    find_good_images(folder)
    items = find_test_items(folder) if tested else []
    for missing, where in (("good", "good"), ("defective", "<defect>")):
        if tested and not any(item.is_good == (missing == "good") for item in items):
            raise DataError(
                f"Category '{name}' has no {missing} test image: put some into '{folder}/test/{where}', "
                "or leave the category out (--categories)."
            )
    for record in check(folder):
        problems = tuple(record.report.damaged) if record.report else ()
        yield CheckRecord(name, record.done, record.total, problems)


def check_any(data: str | Path) -> Iterator[CheckRecord]:
    """The data of a notebook that takes an image file, a folder of images or any layout.

    Raises:
        ImageError: for a file that is no image. DataError: for a folder without images.
    """
    path = Path(data)
    if path.is_file():
        read_picture(path)
        return
    find_good_images(path)
    yield from check_category(path.name, path, tested=False)


def refuse(problems: dict[str, tuple[str, ...]]) -> None:
    """Raise a DataError if any file of any category can't be used."""
    every = [sentence for said in problems.values() for sentence in said]
    if every:
        more = len(every) - 1
        rest = f" The same goes for {more} more file{'s' * (more > 1)}." if more else ""
        raise DataError(f"{every[0]}{rest} To go on without, add --lenient.")
