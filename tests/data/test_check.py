"""`check`: every fault that a test plants is found, named, and decides the exit code."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from conftest import assert_one_sentence, dataset, write_blobs, write_category, write_visa
from PIL import Image

from fmcore.data.check import CategoryReport, CheckReport, check
from fmcore.errors import DataError


def report_of(folder) -> CheckReport:
    *_, record = check(folder)
    return record.result


def counts_of(part: CategoryReport) -> tuple[int, int, int]:
    """Good images to train on, good and defective ones to test on."""
    return tuple(part.as_json()[key] for key in ("train_good", "test_good", "test_defective"))


@pytest.fixture
def data(tmp_path):
    for number, name in enumerate(("a", "b")):
        write_category(tmp_path / "data" / name, first_seed=number)
    return tmp_path / "data"


def test_a_sound_folder_is_counted_and_nothing_is_said(data):
    report = report_of(data)
    assert report.damaged == report.missing == report.notes == []
    for part in report.categories.values():
        assert counts_of(part) == (12, 4, 4) and part.masks == 4
        assert part.as_json()["defects"] == {"square": 4} and dict(part.sizes) == {(32, 32): 20}
    assert report_of(data / "a").categories == {"a": report.categories["a"]}


def test_progress_counts_every_image_and_ends_with_the_report(data):
    records = list(check(data))
    assert [r.done for r in records] == [*range(1, 41), 40] and {r.total for r in records} == {40}
    assert [r.result is not None for r in records] == [False] * 40 + [True]


def plant(root, fault: str) -> None:
    """One fault in the category at ``root``."""
    masks, images = root / "ground_truth" / "square", root / "test" / "square"
    match fault:
        case "train":
            (root / "train" / "good" / "003.png").write_bytes(b"x")
        case "test":
            (images / "001.png").write_bytes((images / "001.png").read_bytes()[:80])
        case "mask":
            (masks / "002_mask.png").write_bytes(b"")
        case "black mask":
            Image.fromarray(np.zeros((32, 32), np.uint8)).save(masks / "002_mask.png")
        case "faint mask":
            Image.fromarray(np.full((32, 32), 90, np.uint8)).save(masks / "002_mask.png")
        case "mask shape":
            Image.fromarray(np.full((32, 40), 255, np.uint8)).save(masks / "002_mask.png")
        case "image gone":
            (images / "003.png").unlink()


@pytest.mark.parametrize(
    ("fault", "parts"),
    [
        ("train", ("b/train/good", "'003.png'")),
        ("test", ("b/square", "'001.png'", "cut off")),
        ("mask", ("b/square", "'002_mask.png'", "0 bytes")),
        ("black mask", ("b/square", "'002_mask.png'", "is empty")),
        ("faint mask", ("b/square", "'002_mask.png'", "brightest is 90 of 255")),
        ("mask shape", ("b/square", "'002_mask.png'", "40 x 32", "32 x 32")),
        ("image gone", ("ground_truth", "003_mask.png", "belongs to no test image")),
    ],
)
def test_damage_is_one_sentence_and_exit_code_1(call, data, fault, parts):
    plant(data / "b", fault)
    report = report_of(data)
    assert len(report.damaged) == 1 and not report.notes
    assert_one_sentence(report.damaged[0], *parts)
    code, out, _ = call("check", data)
    assert code == 1 and f"Damaged: {report.damaged[0]}" in out and "Nothing is damaged" not in out


def test_evaluate_leaves_out_and_names_what_check_rejects(call, model_folder, tmp_path):
    """A mask of another shape, and one that was not turned as its picture is by its EXIF orientation."""
    root, exif = write_category(tmp_path / "blob"), Image.Exif()
    exif[0x0112] = 6
    images, masks = root / "test" / "square", root / "ground_truth" / "square"
    Image.new("RGB", (40, 32), "teal").save(images / "000.png", exif=exif)
    for number, size in ((0, (40, 32)), (1, (40, 32))):
        mask = np.zeros(size[::-1], np.uint8)
        mask[4:12, 4:12] = 255
        Image.fromarray(mask).save(masks / f"00{number}_mask.png")
    damaged = report_of(root).damaged
    assert len(damaged) == 2 and all("must have the same shape" in sentence for sentence in damaged)
    code, _, err = call("evaluate", model_folder, root, "--bootstrap", "0", "--json", tmp_path / "e.json")
    result = json.loads((tmp_path / "e.json").read_text())
    assert code == 1 and result["n_masks"] == 2 and result["n_defective"] == 4
    for sentence in damaged:
        assert f"Left out: {sentence.split(': ', 1)[1]}" in err


def test_a_figure_that_is_not_there_has_a_reason(call, model_folder, tmp_path):
    root = write_category(tmp_path / "blob")
    shutil.rmtree(root / "ground_truth")
    shutil.rmtree(root / "test" / "good")
    _, out, err = call("evaluate", model_folder, root, "--bootstrap", "0")
    assert "n/a" in out and "there are no good test images" in err and "no defective image has a mask" in err


def test_a_larger_mask_of_the_same_shape_is_no_damage(data):
    mask = data / "a" / "ground_truth" / "square" / "000_mask.png"
    Image.open(mask).resize((64, 64)).save(mask)
    assert report_of(data).damaged == []


def test_what_is_missing_is_said_and_is_no_damage(call, data):
    (data / "a" / "ground_truth" / "square" / "001_mask.png").unlink()
    shutil.rmtree(data / "b" / "train")
    code, out, _ = call("check", data)
    assert code == 0 and "Nothing is damaged." in out
    assert "Missing: a: 1 defective images have no mask" in out
    assert "Missing: b: no good training images" in out


def test_empty_folders_are_missing_images(data):
    for path in (data / "a" / "train" / "good").iterdir():
        path.unlink()
    shutil.rmtree(data / "b" / "test")
    (data / "b" / "test").mkdir()
    shutil.rmtree(data / "b" / "ground_truth")
    missing = report_of(data).missing
    assert missing == ["a: no good training images.", "b: no test images."]


def test_mixed_sizes_and_channels_are_noted(data):
    good = data / "a" / "train" / "good"
    Image.open(good / "000.png").resize((40, 32)).save(good / "000.png")
    Image.open(good / "001.png").convert("L").save(good / "001.png")
    notes = report_of(data).notes
    assert notes == [
        "a: 2 image sizes, 2 aspect ratios; all are resized to one size.",
        "a: 1 gray and 19 RGB images.",
    ]


def test_own_output_and_masks_among_the_images_are_noted_and_do_not_count(tmp_path):
    write_blobs(tmp_path / "parts", range(3), masks=tmp_path / "parts")
    report = report_of(tmp_path / "parts")
    assert counts_of(report.categories["parts"]) == (3, 0, 0) and not report.damaged
    assert report.notes == ["parts: 3 masks and heat maps were left out."]


def test_files_in_train_and_test_are_named(data):
    shutil.copy(data / "a" / "train" / "good" / "003.png", data / "a" / "test" / "good" / "zz.png")
    [note] = report_of(data).notes
    assert_one_sentence(note, "a: 1 images stand in train and in test", "good/zz.png = 003.png")


def test_memory_of_a_fit_is_that_of_its_pictures_up_to_a_bound(call, data, monkeypatch):
    assert 0.7e9 < (few := report_of(data).memory) < 1e9
    assert report_of(data / "a").memory == few
    monkeypatch.setattr("fmcore.data.check.SAMPLE", 10)
    assert few - report_of(data).memory == 2 * 32 * 32 * 3
    assert "Fitting takes at most about 0.9 GB of memory" in call("check", data)[1]


def test_sizes_are_those_of_the_files_and_a_reduced_picture_fits_its_mask(tmp_path, monkeypatch):
    monkeypatch.setattr("fmcore.data.decoder.KEPT_PIXELS", 100)
    write_category(tmp_path / "blob")
    report = report_of(tmp_path / "blob")
    part = report.categories["blob"]
    assert dict(part.sizes) == {(32, 32): 20} and part.masks == 4 and not report.damaged


def test_flat_folder_and_test_images_alone(call, tmp_path, data):
    write_blobs(tmp_path / "parts", range(3))
    code, out, _ = call("check", tmp_path / "parts")
    assert code == 0 and "Found a flat folder." in out and "parts: 3 good to train on" in out
    assert "cannot be" not in out and "not evaluated" in out
    for name in ("a", "b"):
        shutil.rmtree(data / name / "train")
    report = report_of(data)
    assert report.layout == "test images alone" and set(report.categories) == {"a", "b"}
    assert counts_of(report_of(data / "a").categories["a"]) == (0, 4, 4)


def test_nothing_to_check_is_an_error(call, tmp_path):
    with pytest.raises(DataError, match="No image found"):
        report_of(tmp_path)
    code, _, err = call("check", tmp_path / "nowhere")
    assert code == 2
    assert_one_sentence(err.strip().splitlines()[-1], "There is no folder")


def test_visa_as_downloaded(call, tmp_path):
    root = write_visa(tmp_path / "visa", ("candle", "pcb1", "pcb2"))
    shutil.rmtree(root / "pcb2")
    (root / "candle" / "Data" / "Images" / "Normal" / "0002.JPG").unlink()
    (root / "pcb1" / "Data" / "Masks" / "Anomaly" / "000.png").unlink()
    report = report_of(root)
    assert "VisA layout" in report.layout and counts_of(report.categories["pcb1"]) == (5, 3, 3)
    assert len(report.damaged) == 2
    assert_one_sentence(report.damaged[0], "candle/train/good", "'0002.JPG' is not a file")
    assert_one_sentence(report.damaged[1], "pcb1/anomaly", "'000.png' is not a file")
    missing = " ".join(report.missing)
    assert "pcb2: listed in the table" in missing
    assert call("check", root)[0] == 1


def test_json_holds_the_whole_report(call, data, tmp_path):
    plant(data / "b", "test")
    assert call("check", data, "--json", tmp_path / "deep" / "report.json")[0] == 1
    found = json.loads((tmp_path / "deep" / "report.json").read_text())
    assert found["categories"]["b"] == {
        "train_good": 12,
        "test_good": 4,
        "test_defective": 3,
        "defects": {"square": 3},
        "masks": 4,
        "sizes": {"32x32": 19},
        "channels": {"RGB": 19},
    }
    assert len(found["damaged"]) == 1 and found["missing"] == found["notes"] == []


def test_long_lists_are_cut_on_the_screen(call, data):
    for path in [*(data / "a" / "train" / "good").iterdir(), *(data / "b" / "train" / "good").iterdir()]:
        path.write_bytes(b"")
    code, out, _ = call("check", data)
    assert code == 1 and out.count("Damaged: ") == 21 and "and 4 more" in out


def test_the_real_bottle_is_complete_and_sound():
    report = report_of(dataset("mvtec/bottle"))
    assert report.damaged == report.missing == report.notes == []
    assert counts_of(report.categories["bottle"]) == (209, 20, 63)
