"""Finding images: the three layouts, masks, and folders that hold none of them."""

from __future__ import annotations

import pytest
import torch
from conftest import assert_one_sentence, write_blobs, write_category
from PIL import Image

from fmcore.data.folders import (
    Unreadable,
    detect_channels,
    find_good_images,
    find_test_items,
    list_images,
    load_images,
    split_loaded,
)
from fmcore.errors import DataError


def test_flat_folder_is_one_category_of_its_own_name(tmp_path):
    paths = write_blobs(tmp_path / "parts", range(3))
    (tmp_path / "parts" / "notes.txt").write_text("no image")
    found = find_good_images(tmp_path / "parts")
    assert found.categories == {"parts": paths}
    assert "flat folder" in found.summary() and "parts: 3" in found.summary()


def test_mvtec_category_gives_only_train_good(category_folder):
    found = find_good_images(category_folder)
    assert list(found.categories) == ["blob"] and len(found.categories["blob"]) == 12
    assert {p.parent for p in found.categories["blob"]} == {category_folder / "train" / "good"}


def test_folder_of_categories_in_alphabetical_order(tmp_path):
    for name in ("b", "a"):
        write_blobs(tmp_path / name / "train" / "good", range(2))
    (tmp_path / "unrelated").mkdir()
    found = find_good_images(tmp_path)
    assert {name: len(paths) for name, paths in found.categories.items()} == {"a": 2, "b": 2}
    assert list(found.categories) == ["a", "b"]


def test_a_relative_path_still_gives_the_folder_a_name(tmp_path, monkeypatch):
    write_blobs(tmp_path / "parts", range(2))
    monkeypatch.chdir(tmp_path / "parts")
    assert list(find_good_images(".").categories) == ["parts"]


@pytest.mark.parametrize("search", [find_good_images, find_test_items])
def test_missing_folder_and_file_instead_of_folder(tmp_path, search):
    (tmp_path / "file.png").write_bytes(b"")
    for name, reason in (("nowhere", "There is no folder"), ("file.png", "is a file")):
        with pytest.raises(DataError) as caught:
            search(tmp_path / name)
        assert_one_sentence(caught.value, name, reason)


def test_folders_without_images(tmp_path):
    with pytest.raises(DataError) as caught:
        find_good_images(tmp_path)
    assert_one_sentence(caught.value, "No image found")
    write_blobs(tmp_path / "a" / "train" / "good", range(2))
    (tmp_path / "b" / "train" / "good").mkdir(parents=True)
    with pytest.raises(DataError, match="No image found for b in"):
        find_good_images(tmp_path)
    with pytest.raises(DataError, match="no 'test' folder"):
        find_test_items(tmp_path / "a")
    (tmp_path / "a" / "test" / "good").mkdir(parents=True)
    with pytest.raises(DataError, match="holds no image"):
        find_test_items(tmp_path / "a")


def test_test_items_carry_defect_and_mask(tmp_path):
    root = write_category(tmp_path / "blob")
    masks = root / "ground_truth" / "square"
    (masks / "001_mask.png").rename(masks / "001.png")
    (masks / "002_mask.png").unlink()
    items = {(i.defect, i.path.stem): i for i in find_test_items(root)}
    assert len(items) == 8 and sum(i.is_good for i in items.values()) == 4
    assert items["square", "000"].mask == masks / "000_mask.png"
    assert items["square", "001"].mask == masks / "001.png"
    assert items["square", "002"].mask is None
    assert all(i.mask is None for i in items.values() if i.is_good)


def test_hidden_files_other_suffixes_and_folders_are_left_out(tmp_path):
    kept = write_blobs(tmp_path, range(2))
    for name in ("._000.png", ".hidden.jpg", "a.txt", "b.json"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "UPPER.PNG").write_bytes(kept[0].read_bytes())
    assert list_images(tmp_path) == [*kept, tmp_path / "UPPER.PNG"]


def test_hidden_folders_are_not_defects(tmp_path):
    root = write_category(tmp_path / "blob")
    write_blobs(root / "test" / ".ipynb_checkpoints", range(2))
    assert {item.defect for item in find_test_items(root)} == {"good", "square"}


def test_unreadable_files_are_reported_and_the_rest_is_loaded(tmp_path):
    paths = write_blobs(tmp_path, range(3))
    paths[1].write_bytes(paths[1].read_bytes()[:60])
    loaded = load_images(paths, size=32, channels=3)
    assert isinstance(next(loaded), torch.Tensor)  # one at a time
    images, unreadable = split_loaded([*load_images(paths, size=32, channels=3)])
    assert images.shape == (2, 3, 32, 32) and -1 <= images.min() < images.max() <= 1
    assert [item.path for item in unreadable] == [paths[1]]
    assert_one_sentence(unreadable[0].reason, "'001.png'")


def test_nothing_readable_is_an_error_with_the_first_reason(tmp_path):
    with pytest.raises(DataError) as caught:
        split_loaded([Unreadable(tmp_path / "a.png", "'a.png' is empty.")] * 2)
    assert_one_sentence(caught.value, "None of the 2 images", "'a.png' is empty")


def test_channels_follow_the_images(tmp_path):
    colour = write_blobs(tmp_path / "colour", range(2))
    gray = [tmp_path / f"{mode}.png" for mode in ("L", "RGB")]
    for path in gray:  # an RGB file with three equal channels is gray too
        Image.open(colour[0]).convert("L").convert(path.stem).save(path)
    (tmp_path / "broken.png").write_bytes(b"x")
    assert detect_channels(gray) == 1 and detect_channels(colour) == 3
    assert detect_channels([tmp_path / "broken.png", *gray]) == 1
    assert detect_channels([*gray, colour[0]]) == 3
    assert detect_channels([tmp_path / "broken.png"]) == 3
