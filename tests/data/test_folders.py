"""Finding images: the three layouts, masks, and folders that hold none of them."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import assert_one_sentence, write_blobs, write_category
from PIL import Image

from fmcore.data.folders import (
    SetDescription,
    describe_set,
    find_good_images,
    find_test_items,
    list_images,
    read_pictures,
)
from fmcore.data.heatmap_file import HeatmapWriter
from fmcore.data.picture import Picture
from fmcore.errors import DataError, ImageError


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
    with pytest.raises(DataError, match="holds no image to test a on"):
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


@pytest.mark.parametrize("name", ["good", "Good", "OK", "ok", "normal"])
def test_names_of_good_folders(tmp_path, name):
    root = write_category(tmp_path / "blob")
    for part in ("train", "test"):
        (root / part / "good").rename(root / part / "renamed")
        (root / part / "renamed").rename(root / part / name)
    assert len(find_good_images(root).categories["blob"]) == 12
    assert [item.defect for item in find_test_items(root)].count("good") == 4


def test_folders_by_day_are_read_with_the_masks_of_the_same_day(tmp_path):
    root = write_category(tmp_path / "blob")
    days = {}
    for day in ("monday", "tuesday"):
        write_blobs(root / "train" / "good" / "2026" / day, range(2))
        masks = root / "ground_truth" / "square" / day
        days[day] = write_blobs(root / "test" / "square" / day, range(2), masks=masks, defect=True)
    write_blobs(root / "train" / "good" / ".trash", range(1))
    assert len(find_good_images(root).categories["blob"]) == 16
    masks = {item.path: item.mask for item in find_test_items(root)}
    for day, paths in days.items():
        folder = root / "ground_truth" / "square" / day
        assert [masks[path] for path in paths] == [folder / "000_mask.png", folder / "001_mask.png"]


@pytest.mark.parametrize("name", ["000_mask.PNG", "000_MASK.png", "000_gt.png", "000_GT.bmp", "000.png.png", "000.TIF"])
def test_names_of_masks(tmp_path, name):
    root = write_category(tmp_path / "blob")
    masks = root / "ground_truth" / "square"
    (masks / "000_mask.png").rename(masks / name)
    assert {item.path.name: item.mask for item in find_test_items(root)}["000.png"] == masks / name


def test_stems_of_masks_keep_their_case(tmp_path):
    images, masks = tmp_path / "test" / "bad", tmp_path / "ground_truth" / "bad"
    for folder, tail in ((images, ""), (masks, "_mask")):
        folder.mkdir(parents=True)
        for stem in ("a", "A", "_mask"):
            Image.new("L", (2, 2)).save(folder / f"{stem}{tail}.png")
    found = {item.path.name: item.mask.name for item in find_test_items(tmp_path)}
    assert found == {"a.png": "a_mask.png", "A.png": "A_mask.png", "_mask.png": "_mask_mask.png"}


@pytest.mark.parametrize("layout", ["parts", "parts/train/good"])
def test_masks_and_own_heat_maps_are_no_good_images(tmp_path, layout):
    folder = tmp_path / layout
    kept = write_blobs(folder, range(3), masks=folder)
    for name in ("10000_GT.png", "a_gt.jpg", "b_Mask.tif"):
        Image.new("L", (4, 4)).save(folder / name)
    HeatmapWriter(folder, 1.0).write("000", np.ones((4, 4)), height=4, width=4)
    Image.new("L", (4, 4)).save(folder / "thermal_heat.png")  # of somebody else
    found = find_good_images(tmp_path / "parts")
    assert found.categories["parts"] == [*kept, folder / "thermal_heat.png"]
    assert list(found.notes) == ["parts: 7 masks and heat maps were left out."] and found.notes[0] in found.summary()
    for path in found.categories["parts"]:
        path.unlink()
    with pytest.raises(DataError) as caught:
        find_good_images(tmp_path / "parts")
    assert_one_sentence(caught.value, "No image found for parts", "7 masks and heat maps")


def test_pictures_are_read_one_by_one_and_the_unreadable_are_said(tmp_path):
    paths = write_blobs(tmp_path, range(3))
    paths[1].write_bytes(paths[1].read_bytes()[:60])
    found = read_pictures([*paths, tmp_path / "missing.png"])
    assert isinstance(next(found), Picture)
    bad, good, missing = found
    assert isinstance(good, Picture) and isinstance(bad, ImageError)
    assert_one_sentence(bad, "'001.png'")
    assert "not a file" in str(missing)


def save(path, width: int, height: int, mode: str = "L", colour=0, **options):
    Image.new(mode, (width, height), colour).save(path, **options)
    return path


def test_a_set_is_described_by_its_medians_as_a_viewer_shows_them(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    sizes = [(40, 20), (20, 40), (60, 20)]
    paths = [save(tmp_path / f"{n}.jpg", *size, exif=exif) for n, size in enumerate(sizes)]
    (tmp_path / "broken.png").write_bytes(b"x")
    # upright: 20 x 40, 40 x 20, 20 x 60
    assert describe_set([tmp_path / "broken.png", *paths]) == SetDescription(40, 20, True)


def test_a_set_is_colour_if_any_image_is_wherever_its_name_sorts(tmp_path):
    gray = [save(tmp_path / f"{n:03d}.png", 4, 4) for n in range(60)]
    assert describe_set(gray).is_gray
    assert not describe_set([*gray, save(tmp_path / "z.png", 4, 4, "RGB", "red")]).is_gray
    equal = [save(tmp_path / f"e{n:03d}.png", 4, 4, "RGB", (9, 9, 9)) for n in range(100)]
    assert describe_set([*gray, *equal]).is_gray
    mixed = [*equal, *(save(tmp_path / f"f{n}.png", 4, 4, "RGB", "red") for n in range(3))]
    assert not describe_set(mixed).is_gray


def test_pixels_of_few_files_are_looked_at(tmp_path, monkeypatch):
    paths = [save(tmp_path / f"{n:03d}.png", 4, 4, "RGB", (9, 9, 9)) for n in range(150)]
    read, made = [], Picture.of(paths[0])
    monkeypatch.setattr("fmcore.data.picture.read_picture", lambda path, **_: read.append(path) or made)
    about = describe_set(paths)
    assert about.is_gray and len(read) <= 64 + 32 and len(about.sample) == 32
    assert paths.index(read[-1]) > 140  # spread over the whole


def test_a_set_without_a_readable_file_is_an_error_with_the_first_reason(tmp_path):
    (tmp_path / "a.png").write_bytes(b"")
    with pytest.raises(DataError) as caught:
        describe_set([tmp_path / "a.png", tmp_path / "missing.png"])
    assert_one_sentence(caught.value, "None of the 2 images", "'a.png' is empty")
