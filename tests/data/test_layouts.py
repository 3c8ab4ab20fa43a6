"""Layouts of other data sets and libraries, and what is not read."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import assert_one_sentence, write_blobs, write_category
from PIL import Image

from fmcore.data.check import check
from fmcore.data.folders import find_good_images, find_test_items, read_folder
from fmcore.data.layouts import not_read
from fmcore.data.picture import read_mask


def test_mvtec_loco_has_a_folder_of_masks_per_image(tmp_path):
    root = tmp_path / "pushpins"
    write_blobs(root / "train" / "good", range(3))
    write_blobs(root / "validation" / "good", range(2))
    for kind in ("logical_anomalies", "structural_anomalies"):
        write_blobs(root / "test" / kind, range(2), defect=True)
        for number, level in ((0, 255), (1, 252)):
            marks = root / "ground_truth" / kind / "000"
            marks.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.eye(32, dtype=np.uint8)[:, :: 1 - 2 * number] * level).save(marks / f"00{number}.png")
    found, items = read_folder(root), find_test_items(root)
    assert "a folder of masks per image" in found.summary() and not found.strays
    assert {item.defect for item in items} == {"logical_anomalies", "structural_anomalies"}
    assert [item.mask and item.mask.name for item in items] == ["000", None] * 2
    assert read_mask(items[0].mask).sum() == 64


def test_btad_calls_them_ok_and_ko(tmp_path):
    root = tmp_path / "01"
    write_blobs(root / "train" / "ok", range(3))
    write_blobs(root / "test" / "ok", range(2))
    write_blobs(root / "test" / "ko", range(2), defect=True)
    write_blobs(root / "ground_truth" / "ko", range(2))
    found = [(item.defect, item.mask and item.mask.name) for item in find_test_items(root)]
    assert found == [("ko", "000.png"), ("ko", "001.png"), ("good", None), ("good", None)]


@pytest.mark.parametrize(
    ("good", "bad", "marks"),
    [("normal", "abnormal", "mask"), ("good", "bad", "ground_truth/bad"), ("OK", "NG", "masks")],
)
def test_folders_of_known_names_beside_each_other(tmp_path, good, bad, marks):
    root = tmp_path / "parts"
    write_blobs(root / good, range(3))
    write_blobs(root / f"{good}_test", range(2))
    write_blobs(root / bad, range(2), masks=root / marks, defect=True)
    assert [p.parent.name for p in find_good_images(root).categories["parts"]] == [good] * 3
    items = find_test_items(root)
    assert sorted(item.defect for item in items) == sorted([bad, bad, "good", "good"])
    assert [item.mask.name for item in items if not item.is_good] == ["000_mask.png", "001_mask.png"]
    summary = read_folder(root).summary()
    assert good in summary and bad in summary and marks.split("/")[0] in summary


def test_masks_beside_the_images_are_found(tmp_path):
    root = write_category(tmp_path / "blob")
    for mask in (root / "ground_truth" / "square").iterdir():
        mask.rename(root / "test" / "square" / mask.name.replace("_mask.png", "_gt.PNG"))
    items = [item for item in find_test_items(root) if not item.is_good]
    assert [item.mask.name for item in items] == [f"00{n}_gt.PNG" for n in range(4)]


def test_folders_inside_a_folder_of_good_images(tmp_path):
    for day in ("monday", "tuesday", "bad"):
        write_blobs(tmp_path / "parts" / day, range(2))
    found = find_good_images(tmp_path / "parts")
    assert len(found.categories["parts"]) == 4 and "a folder of 2 folders of images" in found.summary()
    write_blobs(tmp_path / "parts", range(3))
    found = find_good_images(tmp_path / "parts")
    assert len(found.categories["parts"]) == 3
    assert "parts: 4 images in folders inside were left out." in found.summary()


def test_what_is_not_read_is_counted_and_said(call, model_folder, tmp_path):
    folder = tmp_path / "parts"
    write_blobs(folder, range(3))
    assert not_read(folder) == ""
    for name in ("a.heic", "b.HEIC", "day/c.heic", "d.jxl"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"x")
    (folder / "e.png").symlink_to("nowhere")
    said = "Not read: 1 .jxl files, 1 broken links, 3 .heic files."
    assert_one_sentence(not_read(folder), "3 .heic files", "1 broken links", "1 .jxl files")
    said = not_read(folder)
    assert said in find_good_images(folder).summary()
    *_, record = check(folder)
    assert record.result.notes == [said]
    code, _, err = call("score", model_folder, folder, "--out", tmp_path / "out")
    assert code == 0 and said in err and "3 of 3 images scored" in err
