"""Data of 8, 10 and 12 bits in 16-bit files: one law, whatever the files."""

from __future__ import annotations

import json
import struct
import zlib

import numpy as np
import pytest
import tifffile
from conftest import SIZE, assert_one_sentence, draw_blob, last_model
from PIL import Image

from fmcore.data.check import check
from fmcore.data.folders import describe_set
from fmcore.data.picture import Picture, bits_of
from fmcore.detector.model import load_model
from fmcore.errors import ImageError
from fmcore.evaluation.metrics import auroc

TESTED = [(400 + n, False) for n in range(12)] + [(500 + n, True) for n in range(12)]


def write(folder, bits: int | None, seeds, defect=False):
    """Gray blobs with a faint defect as 8-bit files, or of so many bits in 16-bit files."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for seed in seeds:
        gray, mask = draw_blob(seed)[0].mean(2), draw_blob(seed, defect=True)[1]
        gray = (gray * 1.5 + 25 * (mask & defect)) / 300
        levels = np.round(gray * (255 if bits is None else 2**bits - 1)).astype(np.uint8 if bits is None else np.uint16)
        paths.append(folder / f"{seed}.png")
        Image.fromarray(levels).save(paths[-1])
    return paths


@pytest.mark.parametrize(("kind", "every"), [("pixels", (None, 8, 10, 12, 16)), ("encoder", (None, 10))])
def test_every_depth_has_the_same_auroc(tmp_path, kind, every):
    options = {} if kind == "pixels" else {"encoder": "efficientnet-lite0", "view": {"resolution": 64, "places": 64}}
    options |= {"paths": {"times": 3}}
    found = {}
    for bits in every:
        model = last_model({"blob": write(tmp_path / str(bits), bits, range(16))}, **options)
        assert model.view().bits == (bits or 16)
        paths = [write(tmp_path / str(bits), bits, [seed], defect)[0] for seed, defect in TESTED]
        found[bits] = auroc(np.array([model.score(path).score for path in paths]), np.array([d for _, d in TESTED]))
    assert found[None] > 0.7 and max(found.values()) - min(found.values()) < 0.03, found


def test_depth_is_that_of_the_largest_value_of_all_and_is_stored(tmp_path):
    good = write(tmp_path / "good", 10, range(16))
    assert describe_set(good).bits == 10 and describe_set([*good[:2], *write(tmp_path / "8", None, [1])]).bits == 10
    assert describe_set([np.asarray(Image.open(path)) for path in good]).bits == 10
    assert describe_set([*good, *write(tmp_path / "other", 12, [3])]).bits == 12
    model = last_model({"blob": good})
    assert model.view().depth == ", 10-bit values in 16-bit files"
    model.save(tmp_path / "model")
    stored = json.loads((tmp_path / "model" / "model.json").read_text())
    assert stored["categories"]["blob"]["view"]["config"]["bits"] == 10
    loaded = load_model(tmp_path / "model")
    assert loaded.score(good[0]).score == model.score(good[0]).score and loaded.view().bits == 10


@pytest.mark.parametrize(
    ("largest", "bits"), [(0, 16), (255, 8), (256, 10), (1023, 10), (4095, 12), (4096, 14), (65535, 16)]
)
def test_fewest_bits(largest, bits):
    assert bits_of(largest) == bits


def test_an_image_beyond_the_set_is_scored_with_a_sentence(call, tmp_path):
    model = last_model({"blob": write(tmp_path / "good", 10, range(24))}, false_alarm_rate=0.2)
    model.save(tmp_path / "model")
    [beyond] = write(tmp_path / "new", 12, [900])
    result = model.score(beyond)
    assert_one_sentence(result.note, "10 bits", "at most 1023", "cut off")
    assert not model.score(tmp_path / "good" / "3.png").note
    code, _, err = call("score", tmp_path / "model", beyond, "--out", tmp_path / "out")
    assert code == 0 and f"'{beyond.name}': {result.note}" in err


def test_evaluate_says_which_images_are_beyond_the_set(call, tmp_path):
    root = tmp_path / "part"
    write(root / "train" / "good", 10, range(12))
    write(root / "test" / "good", 10, range(20, 23))
    write(root / "test" / "bad", 12, range(30, 32), defect=True)
    last_model({"part": sorted((root / "train" / "good").iterdir())}).save(tmp_path / "model")
    code, _, err = call("evaluate", tmp_path / "model", root, "--bootstrap", 0)
    assert code == 0 and "2 of 5 images: This picture holds values up to" in err and "need 10 bits" in err


def test_check_says_the_depth_and_what_is_beyond_it(tmp_path):
    write(tmp_path / "train" / "good", 10, range(3))
    write(tmp_path / "test" / "good", 10, range(5, 7))
    write(tmp_path / "test" / "bad", 12, range(8, 10))
    *_, record = check(tmp_path)
    said = [note for note in record.result.notes if "bit" in note or "larger" in note]
    assert len(said) == 2 and "10-bit values" in said[0] and "(bad)" in said[1]


def test_pictures_of_other_kinds_have_no_depth():
    for array in (np.full((4, 4), 200, np.uint8), np.full((4, 4), 0.01, np.float32)):
        picture = Picture.of(array)
        assert picture.largest == 0 and picture.of_depth(8) is picture
    half = Picture.of(np.full((SIZE, SIZE), 512, np.uint16))
    assert half.largest == 512 and half.of_depth(10).pixels.max() == pytest.approx(512 / 1023)
    assert half.of_depth(8).pixels.max() == 1.0


def colour_png(values: np.ndarray) -> bytes:
    """``(H, W, 2)`` gray and alpha, ``(H, W, 3)`` or ``(H, W, 4)`` uint16 as PNG, which Pillow does not write."""
    (height, width, channels), lines = values.shape, values.astype(">u2")
    chunks = {
        b"IHDR": struct.pack(">IIBBBBB", width, height, 16, {2: 4, 3: 2, 4: 6}[channels], 0, 0, 0),
        b"IDAT": zlib.compress(b"".join(b"\0" + line.tobytes() for line in lines)),
        b"IEND": b"",
    }
    parts = [struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks.items()]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def colour_tiff(values: np.ndarray, order: str) -> bytes:
    """``(H, W, 3)`` uint16 as TIFF in two strips, of byte order ``<`` or ``>``."""
    (height, width, _), data = values.shape, values.astype(f"{order}u2").tobytes()
    first, half = 8 + 2 + 12 * 9 + 4, len(data) // 2
    # Tag, type (3: 16 bits, 4: 32 bits), number of values, and the value or where the values stand.
    tags = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 3, first), (259, 3, 1, 1), (262, 3, 1, 2)]
    tags += [(273, 4, 2, first + 6), (277, 3, 1, 3), (278, 4, 1, height // 2), (279, 4, 2, first + 14)]
    entries = [
        struct.pack(f"{order}HHI", tag, kind, count)
        + struct.pack(f"{order}{'HH' if kind * count == 3 else 'I'}", *value)
        for tag, kind, count, number in tags
        for value in [(number, 0) if kind * count == 3 else (number,)]
    ]
    start = {"<": b"II", ">": b"MM"}[order] + struct.pack(f"{order}HIH", 42, 8, len(tags))
    after = struct.pack(f"{order}I3H4I", 0, 16, 16, 16, first + 22, first + 22 + half, half, half)
    return start + b"".join(entries) + after + data


@pytest.mark.parametrize("kind", ["png", "tif<", "tif>"])
@pytest.mark.parametrize("factor", [1, 2])
def test_colour_of_16_bits_keeps_its_depth(tmp_path, monkeypatch, kind, factor):
    values = np.random.default_rng(1).integers(0, 4096, (40, 30, 3)).astype(np.uint16)
    path = tmp_path / f"x.{kind[:3]}"
    path.write_bytes(colour_png(values) if kind == "png" else colour_tiff(values, kind[3]))
    monkeypatch.setattr("fmcore.data.decoder.KEPT_PIXELS", 1200 // factor**2)
    monkeypatch.setattr("fmcore.data.decoder.STRIP_PIXELS", 120)
    picture, expected = Picture.of(path), values.reshape(40 // factor, factor, 30 // factor, factor, 3).mean((1, 3))
    np.testing.assert_allclose(picture.pixels * 65535, expected, atol=0.01)
    assert picture.size_in_file == (40, 30) and describe_set([path]).bits == 12
    with Image.open(path) as image:
        assert np.array_equal(Picture.of(image).pixels, picture.pixels) and image.size == (30, 40)
    assert (picture.of_depth(12).rgb() > 127).mean() > 0.3


@pytest.mark.parametrize("kind", ["gray with alpha", "planar", "CMYK"])
def test_a_layout_of_which_half_would_be_read_is_refused(tmp_path, kind):
    values = np.random.default_rng(1).integers(0, 4096, (20, 30)).astype(np.uint16)
    path = tmp_path / ("x.png" if kind == "gray with alpha" else "x.tif")
    if kind == "gray with alpha":
        path.write_bytes(colour_png(np.dstack([values, values])))
    elif kind == "planar":
        tifffile.imwrite(path, np.stack([values] * 3), planarconfig="separate", photometric="rgb")
    else:
        tifffile.imwrite(path, np.dstack([values] * 4), photometric="separated")
    with pytest.raises(ImageError) as caught:
        Picture.of(path)
    assert_one_sentence(caught.value, f"'{path.name}'", "16 bits", "gray or RGB")


def test_transparent_colour_of_16_bits_is_white(tmp_path):
    values = np.full((2, 2, 4), 65535, np.uint16)
    values[0] = 1000, 2000, 3000, 0
    values[1, 0, :3] = 1000, 2000, 3000
    (tmp_path / "x.png").write_bytes(colour_png(values))
    found = Picture.of(tmp_path / "x.png").pixels
    assert (found[0] == 1).all() and np.allclose(found[1, 0] * 65535, [1000, 2000, 3000], atol=0.01)
