"""VisA as it is downloaded, and in the MVTec-like layout other tools convert it to."""

from __future__ import annotations

import json
import shutil

import pytest
from conftest import assert_one_sentence, draw_blob, write_visa

from fmcore.data.folders import find_good_images, find_test_items, find_test_sets, read_folder
from fmcore.data.picture import read_mask
from fmcore.errors import DataError

TABLE = "split_csv/1cls.csv"


@pytest.fixture
def visa(tmp_path):
    return write_visa(tmp_path / "VisA_20220922")


def replace(path, old: str, new: str) -> None:
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


def test_training_images_are_the_normal_ones_of_the_train_split(visa):
    found = find_good_images(visa)
    assert {name: [p.name for p in paths] for name, paths in found.categories.items()} == {
        name: [f"{number:04d}.JPG" for number in range(5)] for name in ("candle", "pcb1")
    }
    assert all(path.is_file() for paths in found.categories.values() for path in paths)
    assert "VisA layout" in found.summary() and "candle: 5, pcb1: 5" in found.summary()


def test_test_images_carry_their_masks_of_defect_numbers(visa):
    found = find_test_sets(visa)
    assert list(found) == ["candle", "pcb1"]
    for first, items in enumerate(found.values()):
        assert [item.defect for item in items] == ["good"] * 3 + ["anomaly"] * 3
        assert all(item.mask is None for item in items[:3])
        for number, item in enumerate(items[3:]):
            expected = draw_blob(100 * first + 50 + number, defect=True)[1]
            assert (read_mask(item.mask, height=32, width=32) == expected).all()


def test_one_category_is_read_from_its_own_folder(visa, monkeypatch):
    assert list(find_good_images(visa / "pcb1").categories) == ["pcb1"]
    assert find_test_items(visa / "pcb1") == find_test_sets(visa)["pcb1"]
    monkeypatch.chdir(visa / "candle")
    assert list(find_test_sets(".")) == ["candle"]


def test_items_of_several_categories_are_refused_where_one_is_needed(visa):
    with pytest.raises(DataError, match="several categories"):
        find_test_items(visa)
    shutil.rmtree(visa / "pcb1")
    assert len(find_test_items(visa)) == 6


def test_categories_that_were_not_downloaded_are_left_out(visa):
    shutil.rmtree(visa / "candle")
    found = find_good_images(visa)
    assert list(found.categories) == ["pcb1"] and "1 categories of its table have no folder" in found.summary()
    assert list(find_test_sets(visa)) == ["pcb1"]


def test_a_table_saved_by_a_spreadsheet_is_read_too(visa):
    before = find_test_sets(visa)
    text = (visa / TABLE).read_text().replace("\n", "\r\n")
    (visa / TABLE).write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert find_test_sets(visa) == before


def spoil(visa, how: str) -> None:
    table = visa / TABLE
    match how:
        case "column":
            replace(table, "label", "class")
        case "split":
            replace(table, "train", "training")
        case "label":
            replace(table, "anomaly", "bad")
        case "bytes":
            table.write_bytes(b"\xff\xfe\x00object")
        case "folders":
            shutil.rmtree(visa / "candle")
            shutil.rmtree(visa / "pcb1")
        case "empty":
            table.write_text("")


@pytest.mark.parametrize(
    ("how", "parts"),
    [
        ("column", ("no column label", "object,split,label,image,mask")),
        ("split", ("line 2", "train or test (is 'training')")),
        ("label", ("normal or anomaly", "(is 'bad')")),
        ("bytes", ("cannot be read",)),
        ("folders", ("does not list one of its categories",)),
        ("empty", ("no column object",)),
    ],
)
@pytest.mark.parametrize("search", [find_good_images, find_test_sets])
def test_a_table_that_cannot_be_used_is_one_sentence(visa, how, parts, search):
    spoil(visa, how)
    with pytest.raises(DataError) as caught:
        search(visa)
    assert_one_sentence(caught.value, "1cls.csv", *parts)


def test_a_category_without_its_table_says_which_file_is_needed(visa):
    shutil.rmtree(visa / "split_csv")
    with pytest.raises(DataError) as caught:
        find_good_images(visa / "candle")
    assert_one_sentence(caught.value, "looks like a VisA category", "1cls.csv")


def test_a_category_that_the_table_does_not_list(visa):
    (visa / "other" / "Data" / "Images").mkdir(parents=True)
    with pytest.raises(DataError, match="category 'other'"):
        find_test_items(visa / "other")


def test_a_table_without_test_images(visa):
    table = visa / TABLE
    table.write_text("\n".join(line for line in table.read_text().splitlines() if ",test," not in line))
    with pytest.raises(DataError, match="holds no image to test candle on"):
        find_test_sets(visa)
    assert read_folder(visa).test == {"candle": [], "pcb1": []}


def test_the_converted_layout_names_masks_as_their_images(visa, tmp_path):
    root = tmp_path / "converted"
    for item in find_test_sets(visa)["candle"]:
        target = root / "candle" / "test" / ("good" if item.is_good else "bad") / item.path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(item.path, target)
        if item.mask:
            (root / "candle" / "ground_truth" / "bad").mkdir(parents=True, exist_ok=True)
            shutil.copy(item.mask, root / "candle" / "ground_truth" / "bad" / item.mask.name)
    shutil.copytree(visa / "candle" / "Data" / "Images" / "Normal", root / "candle" / "train" / "good")
    items = find_test_sets(root)["candle"]
    assert [item.defect for item in items] == ["bad"] * 3 + ["good"] * 3
    assert [item.mask.name for item in items[:3]] == ["000.png", "001.png", "002.png"]
    assert len(find_good_images(root).categories["candle"]) == 8


def test_fit_and_evaluate_take_the_downloaded_layout(call, visa, tmp_path):
    quick = ("--encoder", "none", "--size", 32, "--paths", 2, "--times", 3)
    assert call("fit", visa, "--out", tmp_path / "model", *quick)[0] == 0
    (visa / "pcb1" / "Data" / "Masks" / "Anomaly" / "001.png").unlink()
    code, out, err = call("evaluate", tmp_path / "model", visa, "--json", tmp_path / "f.json", "--pixel-size", 32)
    result = json.loads((tmp_path / "f.json").read_text())
    assert code == 1 and "'001.png' is not a file" in err and "mean of 2 categories" in out
    assert [result["categories"][c]["n_masks"] for c in ("candle", "pcb1")] == [3, 2]
    assert result["categories"]["candle"]["pixel_auroc"] > 0.9 and result["n_defective"] == 6
    code, out, _ = call("evaluate", tmp_path / "model", visa / "candle", "--bootstrap", 0)
    assert code == 0 and out.startswith("candle: image AUROC")
    code, out, _ = call("evaluate", tmp_path / "model", visa, "--category", "candle", "--bootstrap", 0)
    assert code == 0 and out.startswith("candle: image AUROC") and "pcb1" not in out
