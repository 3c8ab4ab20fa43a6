"""The app's pure parts: packing for the browser, outlines, checks of inputs, the store of results."""

from __future__ import annotations

import csv
import io
import re
import shutil
import threading
import zipfile
from dataclasses import replace
from pathlib import Path

import gradio as gr
import numpy as np
import pytest
from conftest import PATHS, PIXELS, ROOT, SIZE, assert_one_sentence, draw_blob
from gradio.utils import get_upload_folder
from PIL import Image

import demo
from demo.common import checks, embedded, features, messages, own
from demo.common.component import HEAT_COLOURS, LOOK
from demo.common.store import Store
from demo.inspect import download, handlers, scoring, view
from demo.inspect.scales import scales_of_good
from fmcore.data.picture import Picture
from fmcore.detector.calibration import NormalRange
from fmcore.detector.fit import fit
from fmcore.detector.score import judge, score_steps
from fmcore.detector.settings import FitSettings
from fmcore.errors import FlowMismatchingError, SettingsError
from fmcore.mismatch import HeatSettings, Mismatch, PathSettings, has_exact_mean

HEAT = HeatSettings()


@pytest.fixture(scope="module")
def scored(gaussian_model):
    """Pixels, mask, mismatch and verdict of a defective picture."""
    pixels, mask = draw_blob(200, defect=True)
    mismatch = Mismatch.collect(score_steps(gaussian_model, Picture(pixels)))
    return pixels, mask, mismatch, judge(gaussian_model, mismatch)


def message(model, scored, paths=PATHS, heat=HEAT, truth=None) -> tuple[dict, dict]:
    pixels, mask, mismatch, verdict = scored
    picture = view.Shown("a.png", pixels, messages.outline(mask), truth)
    return messages.unpack(messages.pack(*view.full_parts(picture, model, "blob", paths, heat, mismatch, verdict, {})))


def test_pictures_of_one_name_are_numbered():
    given = [{"path": f"/up/{n}/{name}"} for n, name in enumerate(("000.png", "a.png", "000.png"))]
    items = scoring.uploaded_items(given)
    assert [item.name for item in items] == ["000.png #1", "a.png", "000.png #2"]
    assert [str(item.path) for item in items] == [file["path"] for file in given]


def test_message_carries_what_fmcore_computed(gaussian_model, scored):
    _, mask, mismatch, verdict = scored
    head, arrays = message(gaussian_model, scored)
    assert head["score"] == verdict.score and head["score_text"].startswith(format(verdict.score, ".4g"))
    assert head["times"] == mismatch.times.tolist()
    for name, maps in (("weighted", mismatch.weighted(HEAT)), ("running", mismatch.running(HEAT))):
        low, high = np.array(head["scales"][name]).T[..., None, None]
        codes = arrays[name].astype(float)
        inside = maps <= high
        shown = low + codes / 254 * (high - low)
        assert (np.abs(shown - np.maximum(maps, low)) / (high - low))[inside].max() <= 0.51 / 254
        assert (codes[~inside] == messages.OVER).all()
    assert head["beyond"] == (mismatch.heatmap(HEAT) > head["scales"]["running"][-1][1]).mean()
    np.testing.assert_allclose(arrays["per_time"], mismatch.per_time(HEAT), rtol=1e-3, atol=1e-7)
    normal_range = gaussian_model.normal_ranges["blob"]
    np.testing.assert_array_equal(arrays["upper"], normal_range.upper)
    assert len(arrays["rows"]) == mask.shape[0] and arrays["rows"][-1] == normal_range.upper.shape[1] - 1
    assert verdict.heatmap[tuple(head["peak"])] == verdict.heatmap.max()


def test_normal_range_is_left_out_where_it_does_not_apply(gaussian_model, scored):
    others = (
        (PATHS.replace(paths=1), HEAT),
        (PATHS, HEAT.replace(aggregator="mean")),
    )
    for paths, heat in others:
        head, arrays = message(gaussian_model, scored, paths, heat)
        assert "upper" not in arrays and "K = 2, min" in head["band_note"]


def test_colours_run_from_the_least_of_good_pictures_to_three_times_as_far_as_their_most(gaussian_model):
    normal_range = gaussian_model.normal_ranges["blob"]
    r, times = HEAT.exponent, normal_range.times
    own = scales_of_good(normal_range, r, times)
    for j, t in enumerate(times):
        low, high = np.quantile(t**r * normal_range.lower[j], 0.5), np.quantile(t**r * normal_range.upper[j], 0.9)
        assert own.weighted[j] == pytest.approx([low, low + 3 * (high - low)])
    weights = (times**r)[:, None, None]
    low = np.median((weights * normal_range.lower).mean(0))
    high = np.quantile((weights * normal_range.upper).mean(0), 0.9)
    assert own.running[-1] == pytest.approx([low, low + 3 * (high - low)])
    other = scales_of_good(normal_range, r, np.array([times[0], times[:2].mean(), times[-1]]))
    assert other.weighted[1] == pytest.approx(own.weighted[:2].mean(0))


def test_scores_have_four_digits_or_as_many_as_tell_them_apart():
    assert messages.figure(92.45081) == "92.45" and messages.figure(13881.4) == "13881"
    assert (messages.figure(72.96721, 72.96724), messages.figure(72.96724, 72.96721)) == ("72.96721", "72.96724")
    assert messages.figure(5.0, 5.0) == "5"


def test_without_a_normal_range_colours_end_at_the_largest_value_of_each_map(gaussian_model, scored):
    bare = replace(gaussian_model, normal_ranges={})
    head, arrays = message(bare, scored)
    assert not head["of_good"] and head["beyond"] == 0 and "no normal range" in head["band_note"]
    assert (arrays["weighted"].max((1, 2)) == 254).all() and (arrays["running"].max((1, 2)) == 254).all()


def test_maps_keep_their_own_grid_whatever_the_picture_measures(gaussian_model, scored):
    pixels, mask, mismatch, _ = scored
    coarse = Mismatch(mismatch.times, mismatch.maps[:, :, ::4, ::2])
    normal_range = gaussian_model.normal_ranges["blob"]
    coarse_range = NormalRange(normal_range.times, normal_range.lower[:, ::8, ::4], normal_range.upper[:, ::8, ::4])
    model = replace(gaussian_model, normal_ranges={"blob": coarse_range})
    _, arrays = message(model, (pixels, mask, coarse, judge(model, coarse)))
    assert arrays["running"].shape == (3, SIZE // 4, SIZE // 2)
    assert arrays["rows"].tolist() == np.repeat(range(4), 2).tolist()
    assert arrays["columns"].tolist() == np.repeat(range(8), 2).tolist()


def test_a_verdict_is_held_against_what_an_example_is_known_to_be(gaussian_model, scored):
    *picture, verdict = scored
    for anomalous, truth, aside in (
        (False, "bent pin", "missed: a real defect (bent pin) below the threshold"),
        (True, "good", "false alarm: this one is good"),
        (True, "bent pin", ""),
        (False, "good", ""),
        (False, None, ""),
        (None, "bent pin", ""),
    ):
        head, _ = message(gaussian_model, (*picture, replace(verdict, anomalous=anomalous)), truth=truth)
        assert head["aside"] == aside and head["anomalous"] is anomalous


def test_a_picture_of_something_else_is_asked_about_instead_of_judged(gaussian_model):
    noise = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
    mismatch = Mismatch.collect(score_steps(gaussian_model, Picture(noise)))
    scored = (noise, np.zeros((SIZE, SIZE), bool), mismatch, judge(gaussian_model, mismatch))
    head, _ = message(gaussian_model, scored)
    assert head["beyond"] > view.FOREIGN and head["anomalous"] is None
    assert "Not a picture of" in head["word"] and "My own good images" in head["note"]


def test_what_was_scored_can_be_taken_away(gaussian_model, scored, tmp_path):
    pixels, mask, mismatch, verdict = scored
    names = ("own part/7.png", "own part/7.png")
    tokens = []
    for name in names:
        picture = view.Shown(name, pixels, messages.outline(mask))
        result = scoring.Scored(picture, gaussian_model, "blob", PATHS, mismatch, {})
        tokens.append(scoring.RESULTS.put(result, 1))
    heat = gaussian_model.info.heat
    with zipfile.ZipFile(download.write_zip(tmp_path, [*tokens, "gone"], heat)) as archive:
        rows = list(csv.DictReader(archive.read("results.csv").decode().splitlines()))
        assert [row["name"] for row in rows] == list(names)
        assert float(rows[0]["score"]) == verdict.score and rows[0]["anomalous"] == str(verdict.anomalous)
        assert float(rows[0]["threshold"]) == verdict.threshold
        values = np.load(io.BytesIO(archive.read("maps/01_own_part_7.png.npy")))
        np.testing.assert_array_equal(values, verdict.heatmap)
        with Image.open(io.BytesIO(archive.read("heatmaps/02_own_part_7.png_heat.png"))) as picture:
            assert picture.size == pixels.shape[1::-1]
        assert "run from 0 (black)" in archive.read("about.txt").decode()
    with pytest.raises(SettingsError) as caught:
        download.write_zip(tmp_path, ["gone"], heat)
    assert_one_sentence(caught.value, "score a picture first")


def test_no_draws_are_said_to_be_exact():
    assert view.draws_text(0) == "all noise, exact" and view.draws_text(4) == "K = 4"


def test_a_wish_changes_with_what_it_is_for_and_only_then():
    wish = handlers.asked_for(None, 1, "unet", "chip", "token", 4, 12)
    assert wish == handlers.asked_for(None, 1, "unet", "chip", "another fit", 4, 12)
    files = [{"path": "/up/a.png"}]
    others = [
        handlers.asked_for(files, 1, "unet", "chip", "token", 4, 12),
        handlers.asked_for(None, 2, "unet", "chip", "token", 4, 12),
        handlers.asked_for(None, 1, "unet", "gear", "token", 4, 12),
        handlers.asked_for(None, 1, "unet", "chip", "token", 1, 12),
        handlers.asked_for(files, 1, "own", None, "token", 4, 12),
        handlers.asked_for(files, 1, "own", None, "another fit", 4, 12),
    ]
    assert len({repr(one) for one in [wish, *others]}) == 7
    assert handlers.asked_for(files, None, "own", None, None, 4, 12) is None
    assert handlers.asked_for(None, None, "unet", "chip", None, 4, 12) is None


def test_partial_message_brings_the_image_only_once(scored):
    pixels, _, _, verdict = scored
    head = {"name": "a", "t": 0.5, "done": 1, "total": 3}
    first, arrays = messages.unpack(view.partial_message(head, verdict.heatmap, (0.0, 2.0), pixels))
    later, _ = messages.unpack(view.partial_message(head, verdict.heatmap, (0.0, 2.0), None))
    assert first["image"].startswith("data:image/png;base64,") and later["image"] is None
    assert arrays["running"].shape == (1, *verdict.heatmap.shape)


def test_encode_marks_only_what_exceeds_the_scale():
    codes = messages.encode(np.array([[0.0, 1.0, 2.0, 2.0001, 1e30, np.inf]]), 2.0)
    assert codes.tolist() == [[0, 127, 254, 255, 255, 255]]


def test_outline_surrounds_the_mask():
    mask = np.zeros((6, 8), dtype=bool)
    mask[2:4, 3:7] = True
    assert sorted(map(tuple, messages.outline(mask).tolist())) == [
        (3, 2, 3, 4),
        (3, 2, 7, 2),
        (3, 4, 7, 4),
        (7, 2, 7, 4),
    ]
    assert len(messages.outline(np.ones((3, 3), dtype=bool))) == 4
    assert messages.outline(np.zeros((3, 3), dtype=bool)).shape == (0, 4)


def test_outline_length_is_the_number_of_border_edges():
    mask = np.random.default_rng(0).random((20, 30)) > 0.5
    padded = np.pad(mask, 1).astype(int)
    lines = messages.outline(mask).astype(int)
    length = np.abs(lines[:, 2:] - lines[:, :2]).sum()
    assert length == np.abs(np.diff(padded, axis=0)).sum() + np.abs(np.diff(padded, axis=1)).sum()


def test_heat_colours_are_tabulated_for_the_browser():
    import base64

    from matplotlib import colormaps

    assert HEAT_COLOURS.tobytes() == base64.b64decode(LOOK["heat"]) and HEAT_COLOURS.shape == (256, 3)
    np.testing.assert_allclose(HEAT_COLOURS / 255, colormaps["inferno"](range(256))[:, :3], atol=0.5 / 255)


def test_page_asks_nothing_of_other_hosts():
    texts = [p.read_text() for p in Path(demo.__file__).parent.glob("*/*") if p.suffix in (".js", ".css", ".html")]
    assert len(texts) > 10 and not [found for text in texts for found in re.findall(r"https?://|@import|url\(", text)]


@pytest.mark.parametrize(
    ("paths", "times", "part"),
    [
        (3.7, 5, "3.7"),
        ("4", 5, "'4'"),
        (None, 5, "None"),
        (True, 5, "True"),
        (0, 5, "K = 0"),
        (17, 5, "at most 16"),
    ]
    + [(4, 49, "at most 48"), (4, 10**9, "100"), (4, float("nan"), "nan"), (4, [1], "[1]")],
)
def test_path_settings_are_checked(paths, times, part):
    with pytest.raises(SettingsError) as caught:
        checks.path_settings(PathSettings(), paths, times)
    assert_one_sentence(caught.value, part)


@pytest.mark.parametrize(
    "values",
    [
        ("max", 0.2, 2.0, 1.0),
        ("percentile", 0, 2.0, 1.0),
        ([], 0.2, 2.0, 1.0),
        ("min", 0.2, "2", 1.0),
        ("min", 0.2, 2.0, -1),
    ],
)
def test_heat_settings_are_checked(values):
    with pytest.raises(SettingsError) as caught:
        checks.heat_settings(*values)
    assert_one_sentence(caught.value)


def test_number_of_files_is_checked():
    one = {"path": "/tmp/a.png"}
    assert [p.name for p in checks.uploads(one)] == ["a.png"]
    for files, part in ((None, "upload an image"), ([], "upload an image"), ([one] * 13, "at most 12")):
        with pytest.raises(SettingsError) as caught:
            checks.uploads(files)
        assert_one_sentence(caught.value, part)


@pytest.mark.parametrize("model", ["features", "gaussian"])
def test_a_category_that_is_needed_is_asked_for_by_name(model):
    with pytest.raises(SettingsError) as caught:
        own.named_model(model, None)
    assert_one_sentence(caught.value, "several categories: choose one of brick, chip, gear, grass, gravel")


def test_errors_are_escaped_and_cut():
    error = checks.shown_error(SettingsError("<img src=x onerror=alert(1)>" * 100))
    assert "<" not in error.message and len(error.message) < 1000 and not error.print_exception


def test_plain_errors_covers_generators():
    @checks.plain_errors
    def steps():
        yield 1
        raise SettingsError("No.")

    running = steps()
    assert next(running) == 1
    with pytest.raises(gr.Error, match="No"):
        next(running)


def test_store_forgets_the_least_recently_used():
    store = Store(10)
    first, second = store.put("a", 5), store.put("b", 5)
    assert store.get(first) == "a"
    third = store.put("c", 5)
    assert (store.get(first), store.get(second), store.get(third)) == ("a", None, "c")
    store.drop([first, "unknown"])
    assert store.get(first) is None and len(third) > 16


@pytest.fixture
def good(monkeypatch, tmp_path, category_folder):
    """An app with nothing but good pictures, that has fitted nothing yet."""
    monkeypatch.setenv("FLOW_MISMATCHING_EMBEDDED", str(tmp_path))
    shutil.copytree(category_folder / "train" / "good", tmp_path / "good" / "blob")
    return tmp_path / "good" / "blob"


def test_a_detector_is_fitted_once_for_all_who_wait_and_says_how_far_it_is(good, monkeypatch):
    calls = []

    def counted(pictures, settings):
        calls.append(pictures)
        return fit(pictures, settings)

    monkeypatch.setattr(features, "fit", counted)
    said = [[], []]
    waiting = [threading.Thread(target=lambda s=s: s.extend(embedded.preparing("features", "blob"))) for s in said]
    for thread in waiting:
        thread.start()
    for thread in waiting:
        thread.join(60)
    assert len(calls) == 1 and list(calls[0]["blob"]) == sorted(good.iterdir()) and all(said)
    model, category = embedded.find("features", "blob")
    assert list(embedded.preparing("features", "blob")) == [] and category == "blob"
    # What the page shows before there is a model is what the model then has.
    assert embedded.settings("features") == (model.info.paths, model.info.heat)
    assert has_exact_mean(model.field("blob")) and len(calls) == 1


def test_a_detector_that_failed_is_tried_again(good, tmp_path, monkeypatch):
    monkeypatch.setattr(features, "SETTINGS", FitSettings.parse(**PIXELS))
    away = good.rename(tmp_path / "away")
    good.mkdir()
    with pytest.raises(FlowMismatchingError):
        list(embedded.preparing("features", "blob"))
    good.rmdir()
    away.rename(good)
    list(embedded.preparing("features", "blob"))
    assert embedded.find("features", "blob")[0].categories == ("blob",)


@pytest.mark.parametrize("category", ["../..", "bottle", None])
def test_only_known_categories_are_fitted(good, category):
    (good.parent / "other").mkdir()  # of one alone None is that one
    for ask in (embedded.find, lambda *about: list(embedded.preparing(*about))):
        with pytest.raises(SettingsError) as caught:
            ask("features", category)
        assert_one_sentence(caught.value, "blob")


def test_files_that_were_not_uploaded_are_refused(tmp_path):
    for files, part in (([{"path": str(tmp_path)}], "uploaded"), (["a.png"], "handle_file"), (5, "handle_file")):
        with pytest.raises(SettingsError) as caught:
            checks.sent(files)
        assert_one_sentence(caught.value, part)
    inside = {"path": f"{get_upload_folder()}/x/a.png"}
    assert checks.sent(inside) == [Path(inside["path"])]


def test_app_without_models_is_empty(monkeypatch, tmp_path):
    monkeypatch.setenv("FLOW_MISMATCHING_EMBEDDED", str(tmp_path))
    assert embedded.model_names() == [] and embedded.examples("blob") == [] and embedded.first_category("unet") is None
    for ask in (lambda: embedded.find("unet", "blob"), lambda: embedded.example("..", 0)):
        with pytest.raises(SettingsError) as caught:
            ask()
        assert_one_sentence(caught.value)


def test_no_embedded_file_is_too_large_for_a_space():
    """The Hub takes files above 10 MB by LFS only."""
    large = [p for p in (ROOT / "demo").rglob("*") if p.is_file() and p.stat().st_size > 10_000_000]
    assert large == []


def test_the_container_file_copies_what_is_there():
    lines = (ROOT / "demo" / "Dockerfile").read_text().splitlines()
    copied = [name for line in lines if line.startswith("COPY") for name in line.split()[1:-1]]
    assert {"requirements.txt", "app.py", "fmcore", "demo"} <= set(copied)
    assert all((ROOT / name).exists() for name in copied)
