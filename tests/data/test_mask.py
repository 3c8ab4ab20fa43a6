"""Ground-truth masks: what marks a pixel, the resize, and one sentence for a mask that marks nothing."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import assert_one_sentence
from PIL import Image
from scipy.ndimage import gaussian_filter

from fmcore.data.picture import read_mask
from fmcore.errors import ImageError

SQUARE = np.zeros((24, 32), np.uint8)
SQUARE[5:12, 8:20] = 1


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


@pytest.mark.parametrize("weak", [20, 100])
@pytest.mark.parametrize("mode", ["L", "RGB", "P"])
def test_kinds_of_defect_at_several_levels_all_count(tmp_path, weak, mode):
    levels = SQUARE * weak
    levels[15:22, 3:10] = 200
    assert np.array_equal(read_mask(save(tmp_path, Image.fromarray(levels).convert(mode))), levels > 0)


def test_a_palette_marks_all_that_is_not_black(tmp_path):
    image = Image.fromarray(SQUARE)
    image.putpalette([0, 0, 0, 64, 0, 0])
    assert image.mode == "P" and np.array_equal(read_mask(save(tmp_path, image)), SQUARE > 0)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparent_is_not_marked(tmp_path, mode):
    image = Image.new(mode, (32, 24), "white")
    image.putalpha(Image.fromarray(SQUARE * 255))
    assert np.array_equal(read_mask(save(tmp_path, image)), SQUARE > 0)


@pytest.mark.parametrize("weak", [0, 100])
def test_soft_edges_and_jpeg_are_cut_at_half_and_two_levels_in_a_jpeg_are_refused(tmp_path, weak):
    whole = np.kron(SQUARE * 255, np.ones((8, 8), np.uint8))
    soft = Image.fromarray(whole).resize((128, 96), Image.Resampling.BILINEAR)
    assert (read_mask(save(tmp_path, soft)) != (np.kron(SQUARE, np.ones((4, 4))) > 0)).mean() < 0.01
    truth = whole > 0
    whole[150:180, 20:60] = weak
    path = tmp_path / "m.jpg"
    Image.fromarray(whole).save(path, quality=60)
    if weak == 0:
        assert np.array_equal(read_mask(path), truth)
        return
    with pytest.raises(ImageError) as caught:
        read_mask(path)
    assert_one_sentence(caught.value, "'m.jpg'", "neither dark nor bright")


@pytest.mark.parametrize("background", [(255, 255, 255), (0, 0, 255)])
@pytest.mark.parametrize("mode", ["RGB", "P", "RGBA"])
def test_a_background_of_another_colour_is_refused(tmp_path, background, mode):
    pixels = np.where(SQUARE[..., None] > 0, (255, 0, 0), background).astype(np.uint8)
    with pytest.raises(ImageError) as caught:
        read_mask(save(tmp_path, Image.fromarray(pixels).convert(mode)))
    assert_one_sentence(caught.value, "none of them is black")


def test_a_lossy_mask_is_cut_at_half(tmp_path):
    truth = np.kron(SQUARE, np.ones((5, 5), np.uint8)) > 0
    Image.fromarray(truth).convert("L").save(tmp_path / "x.webp", quality=80)
    assert (read_mask(tmp_path / "x.webp") != truth).mean() < 0.001


@pytest.mark.parametrize("sigma", [2, 5, 10, 15])
def test_a_blurred_mask_is_cut_at_half(tmp_path, sigma):
    truth = np.kron(SQUARE, np.ones((16, 16), np.uint8))
    blurred = np.round(gaussian_filter(truth * 255.0, sigma)).astype(np.uint8)
    found = read_mask(save(tmp_path, Image.fromarray(blurred)))
    assert np.array_equal(found, blurred > 127) and (found != (truth > 0)).mean() < 0.01
    blurred[280:320, 20:90] = 110  # a level of its own beside it
    with pytest.raises(ImageError) as caught:
        read_mask(save(tmp_path, Image.fromarray(blurred)))
    assert_one_sentence(caught.value, "neither dark nor bright")


def test_an_inverted_mask_is_refused_and_a_whole_one_is_not(tmp_path):
    with pytest.raises(ImageError) as caught:
        read_mask(save(tmp_path, Image.fromarray(255 - SQUARE * 255)))
    assert_one_sentence(caught.value, "seems inverted", "89%")
    assert read_mask(save(tmp_path, Image.new("L", (8, 8), 255))).all()


def test_a_mask_has_the_shape_of_its_image(tmp_path):
    path = save(tmp_path, Image.fromarray(SQUARE * 255))
    assert np.array_equal(read_mask(path, size_of_image=(48, 64)), SQUARE > 0)
    with pytest.raises(ImageError) as caught:
        read_mask(path, size_of_image=(32, 24))  # of a picture that was turned
    assert_one_sentence(caught.value, "32 x 24", "24 x 32", "same shape")


def test_a_folder_of_masks_is_their_union(tmp_path):
    other = np.roll(SQUARE, 9, 0)
    save(tmp_path, Image.fromarray(SQUARE * 255), "000.png")
    save(tmp_path, Image.fromarray(other * 253), "001.png")
    assert np.array_equal(read_mask(tmp_path), (SQUARE | other) > 0)
    save(tmp_path, Image.new("L", (4, 4), 255), "002.png")
    with pytest.raises(ImageError) as caught:
        read_mask(tmp_path)
    assert_one_sentence(caught.value, "2 sizes")
