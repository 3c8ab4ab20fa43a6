"""A region of interest: stored with the model; outside of it nothing counts, in scores, thresholds and figures."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import SIZE, assert_one_sentence, blob_pictures, draw_blob, last_model, write_category
from PIL import Image

from fmcore.data.folders import find_test_items
from fmcore.detector.model import load_model
from fmcore.errors import DataError, ModelError
from fmcore.evaluation.evaluate import EvaluateSettings, evaluate

ENCODER = {"encoder": "efficientnet-lite0", "view": {"resolution": 64, "places": 64}, "paths": {}}


def mask_file(folder, left: int = SIZE // 2, scale: int = 1):
    """The right half, by default, of a picture."""
    mask = np.zeros((SIZE * scale, SIZE * scale), np.uint8)
    mask[:, left * scale :] = 255
    Image.fromarray(mask).save(folder / "roi.png")
    return str(folder / "roi.png")


@pytest.fixture(params=[{}, ENCODER], ids=["pixels", "encoder"])
def model(request, tmp_path):
    pictures = blob_pictures(range(24))
    return last_model({"x": pictures}, roi=mask_file(tmp_path, scale=3), false_alarm_rate=0.2, **request.param)


def test_outside_nothing_counts_and_inside_everything_does(model, tmp_path):
    good = draw_blob(3)[0]
    left, right = good.copy(), good.copy()
    left[12:18, 3:9] = right[12:18, 22:28] = (0, 255, 255)
    found = [model.score(picture) for picture in (good, left, right)]
    assert all((r.heatmap[:, : SIZE // 2] == 0).all() and r.heatmap[:, SIZE // 2 :].max() > 0 for r in found)
    assert [r.anomalous for r in found][0::2] == [False, True]
    assert all(region.box[0] >= SIZE // 2 for region in found[2].regions)
    if model.view().kind == "pixels":  # an encoder sees a little beyond
        assert not found[1].anomalous
    model.save(tmp_path / "model")
    again = load_model(tmp_path / "model")
    for picture, result in zip((good, left, right), found, strict=True):
        assert np.array_equal(again.score(picture).heatmap, result.heatmap)
        assert again.score(picture).score == result.score


def test_the_threshold_is_that_of_scores_inside(model, tmp_path):
    whole = last_model({"x": blob_pictures(range(24))}, false_alarm_rate=0.2)
    scores = model.info.categories["x"].scores
    assert model.threshold().value in scores
    if model.view().kind == "pixels":
        assert np.median(scores) < np.median(whole.info.categories["x"].scores)


def test_figures_are_those_inside(tmp_path):
    root = write_category(tmp_path / "blob")
    for path in (root / "test" / "square").iterdir():  # a defect beyond the region, which its mask marks
        picture = np.array(Image.open(path))
        picture[:6, :6] = (255, 0, 255)
        Image.fromarray(picture).save(path)
        where = root / "ground_truth" / "square" / f"{path.stem}_mask.png"
        mask = np.array(Image.open(where))
        mask[:6, :6] = 255
        Image.fromarray(mask).save(where)
    model = last_model({"blob": blob_pictures(range(24))}, roi=mask_file(tmp_path, left=7))
    *_, last = evaluate(model, find_test_items(root), EvaluateSettings(bootstrap=0, pixel_size=SIZE))
    assert last.result["pixel_auroc"] > 0.95 and last.result["image_auroc"] == 1.0


@pytest.mark.parametrize(
    ("size", "left", "parts"),
    [((64, 32), 0, ("64 x 32", "32 x 32", "one shape")), ((4096, 4096), 4095, ("smaller than a place",))],
)
def test_a_region_that_does_not_fit_is_refused(tmp_path, size, left, parts):
    mask = np.zeros(size[::-1], np.uint8)
    mask[:1, left:] = 255
    Image.fromarray(mask).save(tmp_path / "roi.png")
    with pytest.raises(DataError) as caught:
        last_model({"x": blob_pictures(range(4))}, roi=str(tmp_path / "roi.png"))
    assert_one_sentence(caught.value, *parts)


def test_a_stored_region_takes_no_memory_that_is_not_there(model, tmp_path):
    model.save(tmp_path / "model")
    path = tmp_path / "model" / "model.json"
    text = path.read_text()
    assert text.count('"roi": [') == 1
    path.write_text(text.replace('"roi": [', '"roi": [1000000000, 1000000000, '))
    with pytest.raises(ModelError) as caught:
        load_model(tmp_path / "model")
    assert_one_sentence(caught.value, "do not fit")


def test_the_command_line_takes_it(call, tmp_path, category_folder):
    data, roi = category_folder / "train" / "good", mask_file(tmp_path)
    quick = ("--encoder", "none", "--size", 32, "--times", 3)
    assert call("fit", data, "--out", tmp_path / "m", "--roi", roi, *quick)[0] == 0
    assert (load_model(tmp_path / "m").score(data / "000.png").heatmap[:, : SIZE // 2] == 0).all()
    code, _, err = call("fit", data, "--out", tmp_path / "n", "--roi", tmp_path / "none.png", *quick)
    assert code == 2 and not (tmp_path / "n").exists()
    assert_one_sentence(err.strip().splitlines()[-1], "'none.png'")
