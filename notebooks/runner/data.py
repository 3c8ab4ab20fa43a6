"""Does the data hold what the notebooks need? Asked once, before a kernel starts or anything is trained."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from fmcore.data.check import CheckRecord, check
from fmcore.data.folders import find_good_images, find_test_items
from fmcore.data.picture import read_picture
from fmcore.errors import DataError, SettingsError


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


def check_data(name: str, folder: Path, *, tested: bool) -> Iterator[CheckRecord]:
    """Open every image and mask of a category, or of any folder or file of images.

    Args:
        tested: whether labelled test images are needed: good and defective ones.

    Raises:
        ImageError: for a file that is no image. DataError: if images of one kind are missing altogether.
    """
    if folder.is_file() and not tested:
        read_picture(folder)
        return
    find_good_images(folder)
    items = find_test_items(folder) if tested else []
    for missing, where in (("good", "good"), ("defective", "<defect>")):
        if tested and not any(item.is_good == (missing == "good") for item in items):
            raise DataError(
                f"Category '{name}' has no {missing} test image: put some into '{folder}/test/{where}', "
                "or leave the category out (--categories)."
            )
    yield from check(folder)
