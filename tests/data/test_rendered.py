"""The embedded data sets: determinism, exact masks, disjoint crops, clear errors and the written layout."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from fmcore.data.rendered import CATEGORIES, RenderSettings, defects_of, render, write_dataset
from fmcore.data.rendered.dataset import RenderRecord
from fmcore.data.rendered.textures import draw_crop, region
from fmcore.errors import DataError

KINDS = [(category, defect) for category in CATEGORIES for defect in defects_of(category)]
TEXTURES = ("brick", "grass", "gravel")


@pytest.mark.parametrize("category", CATEGORIES)
def test_normal_image_is_deterministic_and_varied(category):
    first, again, other = (render(category, seed) for seed in (3, 3, 4))
    assert first.image.shape == (128, 128, 3) and first.image.dtype == np.uint8
    assert first.defect is None and first.mask.dtype == bool and not first.mask.any()
    assert np.array_equal(first.image, again.image)
    assert not np.array_equal(first.image, other.image)
    assert not np.array_equal(first.image, render(category, 3, split="test").image)
    assert 30 < first.image.mean() < 225 and first.image.std() > 10


@pytest.mark.parametrize(("category", "defect"), KINDS)
def test_mask_is_exactly_where_the_defect_changed_the_image(category, defect):
    for seed in (5, 6, 7):
        normal = render(category, seed, split="test")
        sample = render(category, seed, defect=defect, split="test")
        assert sample.defect == defect
        assert sample.mask.shape == (128, 128) and sample.mask.dtype == bool
        assert 0 < sample.mask.mean() < 0.35
        outside = ~ndimage.binary_dilation(sample.mask, iterations=2)
        assert np.array_equal(sample.image[outside], normal.image[outside])
        changed = np.abs(sample.image.astype(int) - normal.image).max(axis=-1)
        assert changed[sample.mask].mean() > 9  # visible, not a technicality
    again = render(category, 7, defect=defect, split="test")
    assert np.array_equal(again.image, sample.image) and np.array_equal(again.mask, sample.mask)


@pytest.mark.parametrize("category", CATEGORIES)
@pytest.mark.parametrize("size", [32, 65, 200])
def test_every_size_renders(category, size):
    sample = render(category, 1, defect=defects_of(category)[0], size=size)
    assert sample.image.shape == (size, size, 3) and sample.mask.shape == (size, size) and sample.mask.any()


@pytest.mark.parametrize("category", TEXTURES)
def test_train_and_test_crops_come_from_disjoint_regions(category):
    train, test = region(category, "train"), region(category, "test")
    assert train[2] <= test[0] or train[3] <= test[1]
    for split, (left, top, right, bottom) in (("train", train), ("test", test)):
        for seed in range(100):
            corners = draw_crop(category, split, np.random.default_rng([seed])).corners()
            assert corners[:, 0].min() >= left and corners[:, 0].max() <= right
            assert corners[:, 1].min() >= top and corners[:, 1].max() <= bottom


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"category": "cheese"}, "unknown category 'cheese': choose one of brick"),
        ({"defect": "missing_pin"}, "'gear' has no defect 'missing_pin': choose one of scratch"),
        ({"split": "dev"}, "unknown split 'dev': choose 'train' or 'test'"),
        ({"size": 16}, "size 16 is out of range"),
        ({"size": 1024}, "size 1024 is out of range"),
        ({"seed": -1}, "seed -1 is negative"),
    ],
)
def test_wrong_arguments_say_what_to_do(arguments, message):
    call = {"category": "gear", "seed": 0} | arguments
    with pytest.raises(ValueError, match=message):
        render(**call)


def test_unknown_category_has_no_defects():
    with pytest.raises(ValueError, match="choose one of"):
        defects_of("cheese")


@pytest.mark.parametrize("change", [{"categories": ("cheese",)}, {"train": -1}, {"size": 8}, {"seed": -1}])
def test_wrong_settings_write_nothing(tmp_path, change):
    with pytest.raises(ValueError):
        write_dataset(tmp_path / "out", RenderSettings(**change))
    assert not (tmp_path / "out").exists()


def test_missing_scikit_image_is_one_clear_sentence(monkeypatch):
    from fmcore.data.rendered import textures

    textures._atlas.cache_clear()
    monkeypatch.setitem(__import__("sys").modules, "skimage", None)
    with pytest.raises(DataError, match="pip install scikit-image"):
        render("brick", 0)
    assert render("gear", 0, size=32).image.shape == (32, 32, 3)


def test_dataset_has_the_mvtec_layout(tmp_path):
    settings = RenderSettings(categories=("gear", "gravel"), train=2, test_good=2, test_per_defect=1, size=48)
    records = list(write_dataset(tmp_path, settings))
    expected = set()
    for category in settings.categories:
        expected |= {f"{category}/{part}/good/{k:03d}.png" for part in ("train", "test") for k in range(2)}
        expected |= {f"{category}/test/{defect}/000.png" for defect in defects_of(category)}
        expected |= {f"{category}/ground_truth/{defect}/000_mask.png" for defect in defects_of(category)}
    written = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    assert {path.relative_to(tmp_path).as_posix() for path in written} == expected

    total = 8 + len(defects_of("gear")) + len(defects_of("gravel"))
    assert records[0] == RenderRecord("gear", 1, total) and records[-1] == RenderRecord("gravel", total, total)
    assert [record.done for record in records] == list(range(1, total + 1))

    contents = set()
    for path in written:
        with Image.open(path) as image:
            assert image.size == (48, 48)
            if path.name.endswith("_mask.png"):
                assert image.mode == "L" and set(np.unique(image)) == {0, 255}
            else:
                assert image.mode == "RGB"
                contents.add(image.tobytes())
    assert len(contents) == total  # no two images share a seed
