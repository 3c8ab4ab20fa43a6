"""The decoder: every kind of file gives the stated pixels, or one sentence that names it."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from conftest import assert_one_sentence, draw_blob
from PIL import Image

from fmcore.data.folders import describe_set, list_images
from fmcore.data.picture import read_mask, read_picture
from fmcore.errors import DataError, ImageError

RGB = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)


def save(folder, image: Image.Image, name: str = "x.png", **options):
    image.save(folder / name, **options)
    return folder / name


@pytest.mark.parametrize(
    ("orientation", "turn"),
    [
        (1, lambda a: a),
        (2, lambda a: a[:, ::-1]),
        (3, lambda a: a[::-1, ::-1]),
        (4, lambda a: a[::-1]),
        (5, lambda a: a.swapaxes(0, 1)),
        (6, lambda a: np.rot90(a, -1)),
        (7, lambda a: a[::-1, ::-1].swapaxes(0, 1)),
        (8, lambda a: np.rot90(a)),
    ],
)
def test_exif_orientation_is_applied(tmp_path, orientation, turn):
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = read_picture(save(tmp_path, Image.fromarray(RGB), exif=exif))
    np.testing.assert_array_equal(picture.pixels, turn(RGB))
    assert (picture.height, picture.width) == turn(RGB).shape[:2]


def test_orientation_behind_the_pixels_of_a_png_is_applied_too(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    whole = save(tmp_path, Image.fromarray(RGB), exif=exif).read_bytes()
    start = whole.index(b"eXIf") - 4
    end = start + 12 + int.from_bytes(whole[start : start + 4], "big")
    (tmp_path / "late.png").write_bytes(whole[:start] + whole[end:-12] + whole[start:end] + whole[-12:])
    picture = read_picture(tmp_path / "late.png")
    np.testing.assert_array_equal(picture.pixels, np.rot90(RGB, -1))
    assert picture.size_in_file == (7, 5)


@pytest.mark.parametrize("name", ["x.png", "x.tif", "x.pgm"])
def test_16_bit_gray_is_scaled_by_its_type(tmp_path, name):
    values = np.array([[0, 1, 256], [1000, 32768, 65535]], dtype=np.uint16)
    picture = read_picture(save(tmp_path, Image.fromarray(values), name))
    np.testing.assert_allclose(picture.pixels, values / 65535, rtol=1e-6)
    assert picture.is_gray and picture.resized(32, 32, 3).shape == (3, 32, 32)
    assert picture.rgb()[1, 2].tolist() == [255] * 3 and picture.rgb()[0, 2].tolist() == [1] * 3
    flat = read_picture(save(tmp_path, Image.fromarray(np.full((4, 4), 49151, np.uint16)), name)).resized(32, 32, 1)
    torch.testing.assert_close(flat, torch.full((1, 32, 32), 2 * 49151 / 65535 - 1), atol=1e-5, rtol=0)


def test_alpha_is_composited_on_white(tmp_path):
    rgba = np.array([[[255, 0, 0, 0], [255, 0, 0, 255], [0, 0, 0, 128]]], dtype=np.uint8)
    pixels = read_picture(save(tmp_path, Image.fromarray(rgba))).pixels.astype(int)
    assert pixels[0, 0].tolist() == [255, 255, 255] and pixels[0, 1].tolist() == [255, 0, 0]
    assert abs(pixels[0, 2] - 127).max() <= 1
    gray = np.array([[[10, 0], [10, 255]]], dtype=np.uint8)
    assert read_picture(save(tmp_path, Image.fromarray(gray, "LA"))).pixels.tolist() == [[255, 10]]


@pytest.mark.parametrize("name", ["x.png", "x.gif"])
def test_transparent_palette_entry_becomes_white(tmp_path, name):
    image = Image.new("P", (2, 1))
    image.putpalette([200, 0, 0, 0, 0, 200])
    image.putdata([0, 1])
    pixels = read_picture(save(tmp_path, image, name, transparency=0)).pixels
    assert pixels.tolist() == [[[255, 255, 255], [0, 0, 200]]]


def test_first_frame_of_a_gif_is_used(tmp_path):
    frames = [Image.new("RGB", (4, 3), colour) for colour in ("red", "blue")]
    path = save(tmp_path, frames[0], "x.gif", save_all=True, append_images=frames[1:])
    assert (read_picture(path).pixels == (255, 0, 0)).all()


def test_one_bit_and_cmyk(tmp_path):
    bits = np.array([[True, False, True]])
    picture = read_picture(save(tmp_path, Image.fromarray(bits)))
    assert picture.pixels.dtype == np.uint8 and picture.pixels.tolist() == [[255, 0, 255]]
    path = save(tmp_path, Image.new("CMYK", (3, 2), (0, 255, 255, 0)), "x.tif")
    assert (read_picture(path).pixels == (255, 0, 0)).all()
    assert (read_picture(save(tmp_path, Image.new("CMYK", (3, 2)), "x.jpg")).pixels == 255).all()


def broken_files(folder):
    noise = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    whole = save(folder, Image.fromarray(noise), "whole.png").read_bytes()
    (folder / "cut.png").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.png").write_bytes(b"")
    (folder / "text.png").write_text("this is no image")
    (folder / "folder.png").mkdir()
    save(folder, Image.fromarray(np.array([[0.5, np.nan]], np.float32)), "nan.tif")
    save(folder, Image.fromarray(np.array([[0.5, np.inf]], np.float32)), "inf.tif")
    save(folder, Image.fromarray(np.array([[0.5, 200.0]], np.float32)), "range.tif")
    save(folder, Image.fromarray(np.array([[-5, 7]], np.int32)), "negative.tif")
    return {
        "cut.png": "damaged or cut off",
        "empty.png": "0 bytes",
        "text.png": "not an image of a known kind",
        "folder.png": "not a file",
        "missing.png": "not a file",
        "nan.tif": "outside [0, 1]",
        "inf.tif": "outside [0, 1]",
        "range.tif": "outside [0, 1]",
        "negative.tif": "outside [0, 65535]",
    }


def test_every_unusable_file_is_one_sentence_that_names_it(tmp_path):
    for name, reason in broken_files(tmp_path).items():
        with pytest.raises(ImageError) as caught:
            read_picture(tmp_path / name)
        assert_one_sentence(caught.value, f"'{name}'", reason)
        assert str(tmp_path) not in str(caught.value)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "progressive", "BMP", "TIFF", "WEBP", "GIF", "PPM"])
def test_cut_and_corrupted_files_raise_nothing_but_image_errors(tmp_path, kind):
    buffer = io.BytesIO()
    options = {"format": "JPEG", "progressive": True} if kind == "progressive" else {"format": kind}
    Image.fromarray(draw_blob(2)[0]).save(buffer, **options)
    whole, rng, refused = buffer.getvalue(), np.random.default_rng(3), 0
    variants = [whole[:end] for end in np.linspace(1, len(whole) - 1, 12).astype(int)]
    for _ in range(30):
        damaged = bytearray(whole)
        for place in rng.integers(0, min(len(whole), 400), 4):
            damaged[place] = rng.integers(256)
        variants.append(bytes(damaged))
    for variant in variants:
        (tmp_path / "x").write_bytes(variant)
        for read in (read_picture, read_mask):
            try:
                read(tmp_path / "x")
            except ImageError as error:
                refused += 1
                assert_one_sentence(error, "'x'")
        try:
            describe_set([tmp_path / "x"])
        except DataError as error:
            assert_one_sentence(error)
    assert refused >= 10  # most cuts, at least


@pytest.mark.parametrize(("name", "tolerance"), [("x.avif", 40), ("x.jp2", 0), ("x.j2k", 0), ("x.jfif", 60)])
def test_avif_jpeg_2000_and_jfif_are_read(tmp_path, name, tolerance):
    smooth = np.asarray(Image.fromarray(RGB).resize((64, 48), Image.Resampling.BICUBIC))
    options = {"quality": 90} if name in ("x.avif", "x.jfif") else {}
    pixels = read_picture(save(tmp_path, Image.fromarray(smooth), name, **options)).pixels
    assert np.abs(pixels.astype(int) - smooth).max() <= tolerance
    assert list_images(tmp_path) == [tmp_path / name]
