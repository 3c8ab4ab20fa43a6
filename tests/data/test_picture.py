"""A picture in memory: from anything, to a tensor of any shape; and what is none is one sentence."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import assert_one_sentence, draw_blob
from PIL import Image

from fmcore.data.picture import Picture, read_picture, resize_map
from fmcore.errors import ImageError

RGB = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)


GRAY = RGB[..., 0]


def save(folder, image: Image.Image, name: str = "x.png", **options):
    image.save(folder / name, **options)
    return folder / name


def test_tensor_of_the_same_size_holds_the_pixels(tmp_path):
    image = draw_blob(0)[0]
    picture = read_picture(save(tmp_path, Image.fromarray(image)))
    np.testing.assert_allclose(picture.resized(32, 32, 3).numpy(), image.transpose(2, 0, 1) / 127.5 - 1, atol=1e-6)


def test_gray_fills_three_channels_and_rgb_becomes_its_luma():
    gray = Picture(np.tile(np.arange(0, 256, 8, dtype=np.uint8), (32, 1)))
    three = gray.resized(32, 32, 3)
    assert torch.equal(three[0], three[1]) and torch.equal(three[0], three[2])
    assert torch.equal(three[:1], gray.resized(32, 32, 1))
    image = draw_blob(1)[0]
    luma = (image @ np.array([0.299, 0.587, 0.114])) / 127.5 - 1
    np.testing.assert_allclose(Picture(image).resized(32, 32, 1)[0].numpy(), luma, atol=0.6 / 127.5)


def test_is_gray_needs_three_equal_channels():
    assert Picture(np.repeat(GRAY[..., None], 3, 2)).is_gray and Picture(GRAY).is_gray
    other = np.repeat(GRAY[..., None], 3, 2)
    other[2, 3, 2] ^= 1
    assert not Picture(other).is_gray


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_resize_to_any_shape_keeps_axes_and_channels_apart(dtype):
    rows, columns = np.mgrid[:40, :80] / 80
    image = (np.dstack([rows, columns, 1 - columns]) * (255 if dtype == np.uint8 else 1)).astype(dtype)
    tensor = Picture(image).resized(10, 16, 3)
    assert tensor.shape == (3, 10, 16) and tensor.dtype == torch.float32 and tensor.is_contiguous()
    np.testing.assert_allclose(tensor[0, :, 3], (np.arange(10) * 4 + 1.5) / 40 - 1, atol=0.03)
    np.testing.assert_allclose(tensor[1, 3], (np.arange(16) * 5 + 2) / 40 - 1, atol=0.03)
    torch.testing.assert_close(tensor[2], -tensor[1], atol=0.02, rtol=0)
    luma = Picture(image).resized(10, 16, 1)[0]
    torch.testing.assert_close(
        luma, torch.einsum("c,chw->hw", torch.tensor([0.299, 0.587, 0.114]), tensor), atol=0.01, rtol=0
    )


def test_resize_takes_the_whole_picture_and_stays_in_range():
    image = np.zeros((40, 80), dtype=np.float32)
    image[:, 40:] = 1
    tensor = Picture(image).resized(32, 32, 1)[0]
    assert tensor[:, :12].max() < -0.98 and tensor[:, 20:].min() > 0.98
    assert tensor.min() >= -1 and tensor.max() <= 1  # bicubic would overshoot


def test_rgb_for_a_screen_is_reduced_with_its_aspect_ratio():
    assert Picture(np.zeros((40, 80), np.uint8)).rgb(20).shape == (10, 20, 3)
    assert Picture(RGB).rgb(100) is not None and np.array_equal(Picture(RGB).rgb(100), RGB)


def test_map_of_another_size_is_interpolated():
    assert resize_map(np.full((4, 4), 2.5), height=9, width=5).tolist() == np.full((9, 5), 2.5).tolist()
    ramp = resize_map(np.arange(4.0)[None].repeat(4, 0), height=4, width=16)
    assert ramp.dtype == np.float32 and (np.diff(ramp, axis=1) >= 0).all() and 0 < ramp[0, 4] < 1.5


RANGE = np.arange(35).reshape(5, 7)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (RGB, RGB),
        (GRAY, GRAY),
        (GRAY[..., None], GRAY),
        (RGB.astype(np.uint16) * 257, RGB / 255),
        ((GRAY.astype(np.uint16) * 257).astype(">u2"), GRAY / 255),
        (RGB / 255, RGB / 255),
        ((GRAY / 255).astype(np.float16), (GRAY / 255).astype(np.float16)),
        (RANGE % 2 == 0, (RANGE % 2 == 0) * 255),
        (np.dstack([RGB, np.full((5, 7), 255, np.uint8)]), RGB),
        (np.dstack([RGB, np.zeros((5, 7), np.uint8)]), np.full((5, 7, 3), 255)),
        (np.dstack([RGB / 255, np.full((5, 7), 0.5)]), RGB / 510 + 0.5),
        (Image.fromarray(RGB), RGB),
        (Image.fromarray(GRAY.astype(np.uint16) * 257), GRAY / 255),
        (Picture(RGB), RGB),
    ],
)
def test_a_picture_of_anything(source, expected):
    picture = Picture.of(source)
    np.testing.assert_allclose(picture.pixels, expected, atol=1e-6)
    assert picture.pixels.dtype in (np.uint8, np.float32) and picture.size_in_file == (5, 7)
    assert picture.resized(6, 9, 3).shape == (3, 6, 9) and picture.rgb().shape == (5, 7, 3)


def test_a_picture_of_a_path_is_what_is_read(tmp_path):
    path = save(tmp_path, Image.fromarray(RGB))
    for source in (path, str(path), Image.open(path)):
        np.testing.assert_array_equal(Picture.of(source).pixels, read_picture(path).pixels)


@pytest.mark.parametrize(
    "source",
    [
        None,
        7,
        [[0, 1]],
        b"x",
        torch.zeros(3, 4, 4),
        np.float32(1),
        np.zeros(()),
        np.zeros(5),
        np.zeros((0, 4)),
        np.zeros((4, 4, 2)),
        np.zeros((1, 4, 4, 3)),
        np.zeros((4, 4), np.int64),
        np.zeros((4, 4), complex),
        np.zeros((4, 4), object),
        np.zeros((4, 4), "datetime64[s]"),
        np.array([["a"]]),
        np.array([[0.5, np.nan]]),
        np.array([[0.5, np.inf]]),
        np.array([[-0.1, 1.0]]),
        np.array([[0.0, 255.0]]),
        Image.fromarray(np.array([[0.5, 7.0]], np.float32)),
        Image.new("RGB", (0, 4)),
        "nowhere.png",
        "nul\0.png",
        "line\nbreak.png",
        "",
    ],
    ids=lambda source: repr(source)[:30].replace("\n", " "),
)
def test_what_is_no_picture_is_one_sentence(source):
    with pytest.raises(ImageError) as caught:
        Picture.of(source)
    assert_one_sentence(caught.value)


def test_a_pil_image_whose_file_is_cut_off_is_one_sentence(tmp_path):
    path = save(tmp_path, Image.fromarray(np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)))
    path.write_bytes(path.read_bytes()[:3000])
    with Image.open(path) as image, pytest.raises(ImageError) as caught:
        Picture.of(image)
    assert_one_sentence(caught.value, "damaged or cut off")


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float64, bool])
def test_a_picture_made_by_hand_holds_bytes_or_floats(dtype):
    with pytest.raises(ImageError) as caught:
        Picture(np.ones((4, 4), dtype))
    assert_one_sentence(caught.value, np.dtype(dtype).name, "Picture.of")
