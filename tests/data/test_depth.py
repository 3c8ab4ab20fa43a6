"""Data of 8, 10 and 12 bits in 16-bit files: one law, whatever the files."""

from __future__ import annotations

import json

import numpy as np
import pytest
from conftest import SIZE, assert_one_sentence, draw_blob, last_model
from PIL import Image

from fmcore.data.check import check
from fmcore.data.folders import describe_set
from fmcore.data.picture import Picture, bits_of
from fmcore.detector.model import load_model, save_model
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
    save_model(tmp_path / "model", model)
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
    save_model(tmp_path / "model", model)
    [beyond] = write(tmp_path / "new", 12, [900])
    result = model.score(beyond)
    assert_one_sentence(result.note, "10 bits", "at most 1023", "cut off")
    assert not model.score(tmp_path / "good" / "3.png").note
    code, _, err = call("score", tmp_path / "model", beyond, "--out", tmp_path / "out")
    assert code == 0 and f"'{beyond.name}': {result.note}" in err


def test_check_says_the_depth_and_what_is_beyond_it(tmp_path):
    write(tmp_path / "train" / "good", 10, range(3))
    write(tmp_path / "test" / "good", 10, range(5, 7))
    write(tmp_path / "test" / "bad", 12, range(8, 10))
    *_, record = check(tmp_path)
    said = [note for note in record.report.notes if "bit" in note or "larger" in note]
    assert len(said) == 2 and "10-bit values" in said[0] and "(bad)" in said[1]


def test_pictures_of_other_kinds_have_no_depth():
    for array in (np.full((4, 4), 200, np.uint8), np.full((4, 4), 0.01, np.float32)):
        picture = Picture.of(array)
        assert picture.largest == 0 and picture.of_depth(8) is picture
    half = Picture.of(np.full((SIZE, SIZE), 512, np.uint16))
    assert half.largest == 512 and half.of_depth(10).pixels.max() == pytest.approx(512 / 1023)
    assert half.of_depth(8).pixels.max() == 1.0
