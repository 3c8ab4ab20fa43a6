"""Zip files from strangers: nothing leaves its folder, nothing grows without bound, one bad entry spoils no other."""

from __future__ import annotations

import stat
import zipfile
from pathlib import Path

import pytest
from conftest import assert_one_sentence

from demo.common.archive import MOST_LISTED, Limits, is_picture, unpack
from fmcore.errors import DataError

LIMITS = Limits(count=10, single=2_000_000, total=5_000_000)


def packed(path: Path, entries: dict[str, bytes], **options) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, **options) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return path


def entries(path: Path, folder: Path) -> tuple[dict[str, bytes], list[str]]:
    """What was unpacked by its name in the archive, and why the rest was not."""
    found = list(unpack(path, folder, is_picture, LIMITS))
    return {str(e.name): e.path.read_bytes() for e in found if e.path}, [e.why for e in found if not e.path]


def test_pictures_are_found_in_folders_and_nothing_else_is(tmp_path):
    given = {"b/a.png": b"1", "b/A.JPG": b"2", "a.png": b"3", "notes.txt": b"", "__MACOSX/a.png": b"", ".x/a.png": b""}
    given |= {"ground_truth/hole/000_mask.png": b"", "b/a_mask.png": b"", "inner.zip": b""}
    found, refused = entries(packed(tmp_path / "a.zip", given), tmp_path / "out")
    assert found == {"b/a.png": b"1", "b/A.JPG": b"2", "a.png": b"3"} and refused == []


@pytest.mark.parametrize("name", ["../a.png", "a/../../a.png", "/tmp/a.png", "C:/a.png", "..\\a.png"])
def test_paths_that_lead_out_are_refused_and_the_rest_is_taken(tmp_path, name):
    path = packed(tmp_path / "a.zip", {name: b"bad", "fine.png": b"good"})
    found, refused = entries(path, tmp_path / "deep" / "out")
    assert found == {"fine.png": b"good"} and "leads out" in refused[0]
    written = [p.name for p in tmp_path.rglob("*") if p.is_file()]
    assert sorted(written) == ["a.zip", "fine.png"]


def test_links_are_refused(tmp_path):
    info = zipfile.ZipInfo("link.png")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(info, "/etc/passwd")
    assert entries(tmp_path / "a.zip", tmp_path / "out") == ({}, ["'link.png' in 'a.zip' is a link, no file."])


def test_names_become_harmless_on_disk(tmp_path):
    path = packed(tmp_path / "a.zip", {"<b>; rm -rf.png": b"1", "x" * 200 + ".png": b"2"})
    for entry in unpack(path, tmp_path / "out", is_picture, LIMITS):
        assert len(entry.path.name) < 100 and not set("<>;") & set(entry.path.name) and entry.path.suffix == ".png"


def test_entries_that_unpack_to_too_much_are_left_out(tmp_path):
    path = packed(tmp_path / "a.zip", {"bomb.png": bytes(1_900_000), "large.png": bytes(2_100_000), "fine.png": b"1"})
    found, refused = entries(path, tmp_path / "out")
    assert list(found) == ["fine.png"] and len(refused) == 2
    assert "far more" in refused[0] and "larger than 2 MB" in refused[1]


def test_archives_beyond_the_limits_are_refused_before_anything_is_written(tmp_path):
    many = {f"{n}.png": b"" for n in range(11)}
    listed = {f"{n}.txt": b"" for n in range(MOST_LISTED + 1)}
    total = {f"{n}.png": bytes(1_000_000) for n in range(6)}
    for name, given, part in (("a", many, "holds 11 files"), ("b", listed, "at most 5000"), ("c", total, "6 MB")):
        with pytest.raises(DataError) as caught:
            entries(packed(tmp_path / f"{name}.zip", given), tmp_path / "out")
        assert_one_sentence(caught.value, part)
    assert not (tmp_path / "out").exists()


def test_a_damaged_entry_or_file_is_said(tmp_path):
    path = packed(tmp_path / "a.zip", {"a.png": b"12345678" * 50, "b.png": b"fine"})
    data = bytearray(path.read_bytes())
    data[40] ^= 255
    path.write_bytes(data)
    found, refused = entries(path, tmp_path / "out")
    assert found == {"b.png": b"fine"} and refused == ["'a.png' in 'a.zip' is damaged."]
    path.write_bytes(bytes(data[:60]))
    with pytest.raises(DataError, match="not a zip file"):
        entries(path, tmp_path / "more")
