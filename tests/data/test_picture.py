"""The decoder: every kind of file gives the stated pixels, or one sentence that names it."""

from __future__ import annotations

import io
import struct
import time
import zlib

import numpy as np
import pytest
import torch
from conftest import assert_one_sentence, draw_blob
from PIL import Image, ImageFile

from fmcore.data.picture import MAX_PIXELS, Picture, read_picture, resize_map
from fmcore.errors import ImageError

RGB = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
GRAY = RGB[..., 0]


def save(folder, image: Image.Image, name: str = "x.png", **options):
    image.save(folder / name, **options)
    return folder / name


def header_only_png(path, width: int, height: int):
    """A valid 1-bit PNG of zeros, without going through an image in memory."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = zlib.compress(bytes((width + 7) // 8 + 1) * height, 1)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", rows) + chunk(b"IEND", b""))
    return path


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


@pytest.mark.parametrize("name", ["x.png", "x.tif", "x.pgm"])
def test_16_bit_gray_is_scaled_by_its_type(tmp_path, name):
    values = np.array([[0, 1, 256], [1000, 32768, 65535]], dtype=np.uint16)
    picture = read_picture(save(tmp_path, Image.fromarray(values), name))
    np.testing.assert_allclose(picture.pixels, values / 65535, rtol=1e-6)
    assert picture.is_gray and picture.tensor(32, 3).shape == (3, 32, 32)
    assert picture.rgb()[1, 2].tolist() == [255] * 3 and picture.rgb()[0, 2].tolist() == [1] * 3
    flat = read_picture(save(tmp_path, Image.fromarray(np.full((4, 4), 49151, np.uint16)), name)).tensor(32, 1)
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


def test_tensor_of_the_same_size_holds_the_pixels(tmp_path):
    image = draw_blob(0)[0]
    picture = read_picture(save(tmp_path, Image.fromarray(image)))
    np.testing.assert_allclose(picture.tensor(32, 3).numpy(), image.transpose(2, 0, 1) / 127.5 - 1, atol=1e-6)


def test_gray_fills_three_channels_and_rgb_becomes_its_luma():
    gray = Picture(np.tile(np.arange(0, 256, 8, dtype=np.uint8), (32, 1)))
    three = gray.tensor(32, 3)
    assert torch.equal(three[0], three[1]) and torch.equal(three[0], three[2])
    assert torch.equal(three[:1], gray.tensor(32, 1))
    image = draw_blob(1)[0]
    luma = (image @ np.array([0.299, 0.587, 0.114])) / 127.5 - 1
    np.testing.assert_allclose(Picture(image).tensor(32, 1)[0].numpy(), luma, atol=0.6 / 127.5)


def test_is_gray_needs_three_equal_channels():
    assert Picture(np.repeat(GRAY[..., None], 3, 2)).is_gray and Picture(GRAY).is_gray
    other = np.repeat(GRAY[..., None], 3, 2)
    other[2, 3, 2] ^= 1
    assert not Picture(other).is_gray


def test_resize_takes_the_whole_picture_and_stays_in_range():
    image = np.zeros((40, 80), dtype=np.float32)
    image[:, 40:] = 1
    tensor = Picture(image).tensor(32, 1)[0]
    assert tensor[:, :12].max() < -0.98 and tensor[:, 20:].min() > 0.98
    assert tensor.min() >= -1 and tensor.max() <= 1  # bicubic would overshoot


def test_rgb_for_a_screen_is_reduced_with_its_aspect_ratio():
    assert Picture(np.zeros((40, 80), np.uint8)).rgb(20).shape == (10, 20, 3)
    assert Picture(RGB).rgb(100) is not None and np.array_equal(Picture(RGB).rgb(100), RGB)


def test_map_of_another_size_is_interpolated():
    assert resize_map(np.full((4, 4), 2.5), height=9, width=5).tolist() == np.full((9, 5), 2.5).tolist()
    ramp = resize_map(np.arange(4.0)[None].repeat(4, 0), height=4, width=16)
    assert ramp.dtype == np.float32 and (np.diff(ramp, axis=1) >= 0).all() and 0 < ramp[0, 4] < 1.5


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
    header_only_png(folder / "bomb.png", 14_000, 14_000)
    return {
        "cut.png": "damaged or cut off",
        "empty.png": "0 bytes",
        "text.png": "not an image of a known kind",
        "folder.png": "not a file",
        "missing.png": "not a file",
        "nan.tif": "floats outside",
        "inf.tif": "floats outside",
        "range.tif": "floats outside",
        "negative.tif": "beyond 16 bits",
        "bomb.png": "too large",
    }


def test_every_unusable_file_is_one_sentence_that_names_it(tmp_path):
    for name, reason in broken_files(tmp_path).items():
        with pytest.raises(ImageError) as caught:
            read_picture(tmp_path / name)
        assert_one_sentence(caught.value, f"'{name}'", reason)
        assert str(tmp_path) not in str(caught.value)


def test_oversized_png_is_refused_from_its_header(tmp_path, monkeypatch):
    path = header_only_png(tmp_path / "huge.png", 13_000, 13_000)
    assert path.stat().st_size < 200_000
    decoded = []
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: decoded.append(self))
    started = time.perf_counter()
    with pytest.raises(ImageError) as caught:
        read_picture(path)
    assert time.perf_counter() - started < 1 and not decoded
    assert_one_sentence(caught.value, "'huge.png'", "13000 x 13000", "25 megapixels")


def test_size_limit_is_inclusive(tmp_path, monkeypatch):
    monkeypatch.setattr("fmcore.data.picture.MAX_PIXELS", 35)
    assert read_picture(save(tmp_path, Image.fromarray(RGB))).width == 7
    monkeypatch.setattr("fmcore.data.picture.MAX_PIXELS", 34)
    with pytest.raises(ImageError, match="7 x 5"):
        read_picture(tmp_path / "x.png")
    assert MAX_PIXELS == 25_000_000


@pytest.mark.filterwarnings("ignore::UserWarning")  # of Pillow, about damaged TIFF tags
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "TIFF", "WEBP", "GIF", "PPM"])
def test_cut_and_corrupted_files_raise_nothing_but_image_errors(tmp_path, kind):
    buffer = io.BytesIO()
    Image.fromarray(draw_blob(2)[0]).save(buffer, kind)
    whole, rng, refused = buffer.getvalue(), np.random.default_rng(3), 0
    variants = [whole[:end] for end in np.linspace(1, len(whole) - 1, 12).astype(int)]
    for _ in range(30):
        damaged = bytearray(whole)
        for place in rng.integers(0, min(len(whole), 400), 4):
            damaged[place] = rng.integers(256)
        variants.append(bytes(damaged))
    for variant in variants:
        (tmp_path / "x").write_bytes(variant)
        try:
            read_picture(tmp_path / "x")
        except ImageError as error:
            refused += 1
            assert "'x'" in str(error)
    assert refused >= 5  # most cuts, at least
