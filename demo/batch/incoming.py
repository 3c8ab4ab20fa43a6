"""The pictures of a batch: files, zip files or the examples, each with the label that its folder gives it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from demo.common import checks, embedded
from demo.common.archive import MEGABYTE, Limits, is_picture, is_zip, unpack
from fmcore.data.layouts import GOOD
from fmcore.errors import SettingsError

MOST = 500  # pictures in all
LIMITS = Limits(count=MOST, single=checks.MAX_BYTES, total=500 * MEGABYTE)


@dataclass(frozen=True)
class Given:
    """A picture to score; ``label`` is "good", a defect, or None where no folder tells. ``why`` it is left out."""

    name: str
    path: Path | None
    label: str | None = None
    why: str = ""


def examples(category: str) -> list[Given]:
    """Those that come with the app."""
    found = []
    for number, item in enumerate(embedded.examples(category), 1):
        label = embedded.caption(item)
        found.append(Given(f"Example {number}, {label}", item.path, label))
    if not found:
        raise SettingsError(f"Category '{category}' has no examples: upload pictures instead.")
    return found


def pictures(files: list[Path], folder: Path) -> Iterator[Given]:
    """Uploaded files, zip files unpacked into ``folder``. Raises `DataError` as `unpack`, `SettingsError` for too many
    pictures in all."""
    count, often = 0, Counter(path.name for path in files)
    seen: Counter[str] = Counter()
    for number, path in enumerate(files):
        if not is_zip(path):
            seen[path.name] += 1
            found = [Given(f"{path.name} #{seen[path.name]}" if often[path.name] > 1 else path.name, path)]
        else:
            found = list(_labelled(path, folder / f"zip{number}"))
        count += len(found)
        if count > MOST:
            raise SettingsError(f"More than {MOST} pictures are too many at once: upload fewer.")
        yield from found


def _labelled(path: Path, folder: Path) -> Iterator[Given]:
    entries = list(unpack(path, folder, is_picture, LIMITS))
    tested = [e for e in entries if "test" in [part.lower() for part in e.name.parts[:-1]]]
    entries = tested or entries  # the good pictures to learn from that a data set holds too are not what to score
    known = any(_is_good(entry.name) for entry in entries)
    for entry in entries:
        label = None
        if known and len(entry.name.parts) > 1:
            label = "good" if _is_good(entry.name) else entry.name.parts[-2].replace("_", " ")
        yield Given("/".join(entry.name.parts[-2:]), entry.path, label, entry.why)


def _is_good(name: PurePosixPath) -> bool:
    return any(part.lower() in GOOD for part in name.parts[:-1])
