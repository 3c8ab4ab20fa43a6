"""Large files: what is refused, what is reduced, and in how much memory."""

from __future__ import annotations

import re
import struct
import subprocess
import sys
import time
import zlib

import numpy as np
import pytest
import torch
from conftest import ROOT, assert_one_sentence, draw_blob
from PIL import Image, ImageFile

from fmcore.data.picture import MAX_PIXELS, Picture, read_picture
from fmcore.errors import ImageError

RGB = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)


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


def test_oversized_png_is_refused_from_its_header(tmp_path, monkeypatch):
    path = header_only_png(tmp_path / "huge.png", 13_000, 13_000)
    assert path.stat().st_size < 200_000
    decoded = []
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: decoded.append(self))
    started = time.perf_counter()
    with pytest.raises(ImageError) as caught:
        read_picture(path)
    assert time.perf_counter() - started < 1 and not decoded
    assert_one_sentence(caught.value, "'huge.png'", "13000 x 13000", "100 megapixels")
    with pytest.raises(ImageError) as caught:  # where Pillow itself refuses
        read_picture(header_only_png(tmp_path / "bomb.png", 14_000, 14_000))
    assert_one_sentence(caught.value, "'bomb.png'", "too large")


def test_size_limit_is_inclusive_and_can_be_lower(tmp_path):
    path = save(tmp_path, Image.fromarray(RGB))
    assert read_picture(path, max_pixels=35).width == 7
    for source in (path, Image.fromarray(RGB)):
        with pytest.raises(ImageError, match="7 x 5") as caught:
            Picture.of(source, max_pixels=34)
        assert_one_sentence(caught.value, "too large")
    assert MAX_PIXELS == 100_000_000


@pytest.mark.parametrize(
    ("name", "options", "limit"),
    [
        ("x.webp", {}, 25),
        ("x.jpg", {"progressive": True, "subsampling": "4:4:4"}, 57.1),
        ("x.jpg", {"progressive": True, "subsampling": "4:2:0"}, 100),
        ("x.tif", {"tiffinfo": {0x0112: 6}}, 50),
        ("x.jpg", {}, 100),
    ],
)
def test_what_pillow_decodes_in_more_memory_has_a_lower_limit(tmp_path, monkeypatch, name, options, limit):
    path = save(tmp_path, Image.new("RGB", (20, 10)), name, **options)
    monkeypatch.setattr("fmcore.data.decoder.MAX_BYTES", 400)
    with pytest.raises(ImageError, match=f"at most {limit * 1e-6:.3g} megapixels"):
        read_picture(path)


KINDS = [(name, mode) for name in ("x.png", "x.tif") for mode in ("L", "RGB", "RGBA", "P", "I;16")]


@pytest.mark.parametrize(("name", "mode"), [*KINDS, ("x.jpg", "L"), ("x.jpg", "RGB")])
@pytest.mark.parametrize("orientation", [1, 6])
def test_a_large_picture_is_reduced_as_it_is_read(tmp_path, monkeypatch, name, mode, orientation):
    ramp = np.linspace(20, 230, 210)[:, None] + np.linspace(0, 20, 123)[None]
    image = Image.fromarray(ramp.astype(np.uint8)).convert(mode if mode != "I;16" else "L")
    if mode == "I;16":
        image = Image.fromarray((ramp * 257).astype(np.uint16))
    exif = Image.Exif()
    exif[0x0112] = orientation
    whole = read_picture(save(tmp_path, image, name, exif=exif))
    if name != "x.jpg":
        expected = np.asarray(image.convert("RGB") if mode in ("P", "RGBA") else image)
        expected = expected / 65535 if mode == "I;16" else expected
        np.testing.assert_allclose(whole.pixels, np.rot90(expected, -1) if orientation == 6 else expected, atol=1e-6)
    monkeypatch.setattr("fmcore.data.decoder.KEPT_PIXELS", 3000)
    monkeypatch.setattr("fmcore.data.decoder.STRIP_PIXELS", 1500)
    small = read_picture(tmp_path / name)
    assert small.size_in_file == whole.size_in_file == whole.pixels.shape[:2]
    assert small.pixels.dtype == whole.pixels.dtype and small.pixels.ndim == whole.pixels.ndim
    assert 1000 < small.height * small.width <= 3000
    torch.testing.assert_close(small.resized(20, 12, 3), whole.resized(20, 12, 3), atol=0.06, rtol=0)


def test_transparency_is_composited_before_a_picture_is_reduced(tmp_path, monkeypatch):
    rgba = np.zeros((40, 40, 4), np.uint8)
    rgba[::2, :, 3] = 255
    path = save(tmp_path, Image.fromarray(rgba))
    monkeypatch.setattr("fmcore.data.decoder.KEPT_PIXELS", 400)
    assert set(np.unique(read_picture(path).pixels)) <= {127, 128}  # half black, half white


def test_a_large_pil_image_is_reduced_and_left_as_it_is(tmp_path, monkeypatch):
    monkeypatch.setattr("fmcore.data.decoder.KEPT_PIXELS", 100)
    with Image.open(save(tmp_path, Image.fromarray(draw_blob(0)[0]), "x.jpg")) as image:
        picture = Picture.of(image)
        assert picture.height * picture.width <= 100 and picture.size_in_file == image.size == (32, 32)


def test_a_picture_of_100_megapixels_is_read_within_the_stated_memory(tmp_path):
    """In a process of its own, whose peak is measured; a JPEG takes a quarter of it."""
    program = """
import resource, sys
from fmcore.data.decoder import decode, open_image
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
with open_image(sys.argv[1]) as image:
    pixels, size = decode(image, "x")
print(size, pixels[..., 0].size, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    image = Image.new("RGB", (10_000, 10_000), "teal")
    for name, most in (("x.png", 480), ("x.jpg", 200)):
        path = save(tmp_path, image, name, compress_level=1)
        said = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True, cwd=ROOT).stdout
        size, kept, peak = re.fullmatch(r"(\(.*\)) (\d+) (\d+)\n", said).groups()
        assert size == "(10000, 10000)" and int(kept) <= 12_000_000 and int(peak) < most * 1024
