"""Ground-truth masks: what marks a pixel, the resize, and one sentence for a mask that marks nothing."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import assert_one_sentence
from PIL import Image

from fmcore.data.picture import read_mask
from fmcore.errors import ImageError


def save(folder, image: Image.Image, name: str = "x.png"):
    image.save(folder / name)
    return folder / name


def test_mask_threshold_is_above_half_of_full_scale(tmp_path):
    path = save(tmp_path, Image.fromarray(np.array([[0, 127, 128, 255]], np.uint8)))
    assert read_mask(path, height=1, width=4).tolist() == [[False, False, True, True]]
    path = save(tmp_path, Image.fromarray(np.array([[0, 32767, 32768, 65535]], np.uint16)))
    assert read_mask(path, height=1, width=4).tolist() == [[False, False, True, True]]
    colour = np.zeros((1, 2, 3), np.uint8)
    colour[0, 1, 2] = 255
    assert read_mask(save(tmp_path, Image.fromarray(colour)), height=1, width=2).tolist() == [[False, True]]


def test_mask_of_its_own_size_keeps_every_pixel_and_is_turned_as_its_picture(tmp_path, monkeypatch):
    monkeypatch.setattr("fmcore.data.decoder.KEPT_PIXELS", 20)  # pictures are reduced, masks are not
    monkeypatch.setattr("fmcore.data.decoder.STRIP_PIXELS", 40)
    mask = np.random.default_rng(4).random((12, 20)) < 0.4
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(mask.astype(np.uint8) * 255).save(tmp_path / "mask.png", exif=exif)
    assert (read_mask(tmp_path / "mask.png") == np.rot90(mask, -1)).all()


def test_mask_is_resized_to_the_nearest_pixel(tmp_path):
    mask = np.random.default_rng(4).random((12, 20)) < 0.4
    path = save(tmp_path, Image.fromarray(mask.astype(np.uint8) * 255))
    for height, width in [(24, 40), (4, 4), (12, 20)]:
        rows = ((np.arange(height) + 0.5) * 12 / height).astype(int)
        columns = ((np.arange(width) + 0.5) * 20 / width).astype(int)
        np.testing.assert_array_equal(read_mask(path, height=height, width=width), mask[rows][:, columns])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("values", [[0, 1, 1, 0], [0, 1, 7, 31], [0, 0, 3, 3]])
def test_masks_of_labels_mark_all_that_is_not_zero(tmp_path, values, dtype):
    path = save(tmp_path, Image.fromarray(np.array([values], dtype)))
    assert read_mask(path, height=1, width=4).tolist() == [[value > 0 for value in values]]


def test_a_faint_gray_edge_does_not_turn_a_mask_into_labels(tmp_path):
    path = save(tmp_path, Image.fromarray(np.array([[0, 1, 20, 255]], np.uint8)))
    assert read_mask(path, height=1, width=4).tolist() == [[False, False, False, True]]


@pytest.mark.parametrize(
    ("values", "dtype", "parts"),
    [
        ([0, 0], np.uint8, ("is empty",)),
        ([0, 0], np.uint16, ("is empty",)),
        ([0, 100], np.uint8, ("brightest is 100 of 255", "0 and 255")),
        ([0, 32], np.uint8, ("brightest is 32 of 255",)),
        ([0, 255], np.uint16, ("brightest is 255 of 65535",)),
    ],
)
def test_a_mask_that_marks_nothing_says_what_it_holds(tmp_path, values, dtype, parts):
    path = save(tmp_path, Image.fromarray(np.array([values], dtype)), "a_mask.png")
    with pytest.raises(ImageError) as caught:
        read_mask(path, height=1, width=2)
    assert_one_sentence(caught.value, "'a_mask.png'", *parts)


def test_mask_that_vanishes_in_the_resize_is_an_error(tmp_path):
    mask = np.zeros((64, 64), np.uint8)
    mask[0, 0] = 255
    path = save(tmp_path, Image.fromarray(mask), "dot_mask.png")
    assert read_mask(path, height=64, width=64).sum() == 1
    with pytest.raises(ImageError) as caught:
        read_mask(path, height=16, width=16)
    assert_one_sentence(caught.value, "'dot_mask.png'", "marks 1 of 4096 pixels", "16 x 16")
