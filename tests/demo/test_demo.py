"""The app's pure parts: packing for the browser, outlines, checks of inputs, the store of results."""

from __future__ import annotations

import re

import gradio as gr
import numpy as np
import pytest
from conftest import PATHS, assert_one_sentence, draw_blob

from demo import checks, inspection, library, viewer
from demo.shelf import Shelf
from demo.style import COLOURS, heat_colours
from fmcore.data.picture import Picture
from fmcore.detector.score import judge, score_steps
from fmcore.errors import SettingsError
from fmcore.mismatch.mismatch import HeatSettings, Mismatch, PathSettings

HEAT = HeatSettings()


@pytest.fixture(scope="module")
def scored(gaussian_model):
    """Pixels, mask, mismatch and verdict of a defective picture."""
    pixels, mask = draw_blob(200, defect=True)
    mismatch = Mismatch.collect(score_steps(gaussian_model, Picture(pixels)))
    return pixels, mask, mismatch, judge(gaussian_model, mismatch)


def message(model, scored, paths=PATHS, heat=HEAT) -> tuple[dict, dict]:
    pixels, mask, mismatch, verdict = scored
    text = viewer.full_message(
        name="a.png",
        image=pixels,
        outline=viewer.outline(mask),
        model=model,
        category="blob",
        paths=paths,
        heat=heat,
        mismatch=mismatch,
        verdict=verdict,
    )
    return viewer.unpack(text)


def test_pictures_of_one_name_are_numbered():
    given = [{"path": f"/up/{n}/{name}"} for n, name in enumerate(("000.png", "a.png", "000.png"))]
    items = inspection.uploaded_items(given)
    assert [item.name for item in items] == ["000.png #1", "a.png", "000.png #2"]
    assert [str(item.path) for item in items] == [file["path"] for file in given]


def test_message_carries_what_fmcore_computed(gaussian_model, scored):
    _, mask, mismatch, verdict = scored
    head, arrays = message(gaussian_model, scored)
    scale = gaussian_model.normal_ranges["blob"].scale(HEAT.exponent)
    assert head["score"] == verdict.score and head["score_text"] == format(verdict.score, ".6g")
    assert head["scale"] == scale and head["times"] == mismatch.times.tolist()
    for name, maps in (("weighted", mismatch.weighted(HEAT)), ("running", mismatch.running(HEAT))):
        codes = arrays[name].astype(float)
        inside = maps <= scale
        assert np.abs(codes / 254 * scale - maps)[inside].max() <= scale / 254 * 0.51
        assert (codes[~inside] == viewer.OVER).all()
    np.testing.assert_allclose(arrays["per_time"], mismatch.per_time(HEAT), rtol=1e-3, atol=1e-7)
    normal_range = gaussian_model.normal_ranges["blob"]
    np.testing.assert_array_equal(arrays["upper"], normal_range.upper)
    assert len(arrays["rows"]) == mask.shape[0] and arrays["rows"][-1] == normal_range.upper.shape[1] - 1
    assert verdict.heatmap[tuple(head["peak"])] == verdict.heatmap.max()


def test_normal_range_is_left_out_where_it_does_not_apply(gaussian_model, scored):
    others = (
        (PATHS.replace(paths=1), HEAT),
        (PATHS, HEAT.replace(aggregator="mean")),
        (PATHS.replace(structure=0.5), HEAT),
    )
    for paths, heat in others:
        head, arrays = message(gaussian_model, scored, paths, heat)
        assert "upper" not in arrays and "K = 2, min" in head["band_note"]


def test_partial_message_brings_the_image_only_once(scored):
    pixels, _, _, verdict = scored
    head = {"name": "a", "t": 0.5, "done": 1, "total": 3}
    first, arrays = viewer.unpack(viewer.partial_message(head, verdict.heatmap, 2.0, pixels))
    later, _ = viewer.unpack(viewer.partial_message(head, verdict.heatmap, 2.0, None))
    assert first["image"].startswith("data:image/png;base64,") and later["image"] is None
    assert arrays["running"].shape == (1, *verdict.heatmap.shape)


def test_encode_marks_only_what_exceeds_the_scale():
    codes = viewer.encode(np.array([[0.0, 1.0, 2.0, 2.0001, 1e30, np.inf]]), 2.0)
    assert codes.tolist() == [[0, 127, 254, 255, 255, 255]]


def test_outline_surrounds_the_mask():
    mask = np.zeros((6, 8), dtype=bool)
    mask[2:4, 3:7] = True
    assert sorted(map(tuple, viewer.outline(mask).tolist())) == [(3, 2, 3, 4), (3, 2, 7, 2), (3, 4, 7, 4), (7, 2, 7, 4)]
    assert len(viewer.outline(np.ones((3, 3), dtype=bool))) == 4
    assert viewer.outline(np.zeros((3, 3), dtype=bool)).shape == (0, 4)


def test_outline_length_is_the_number_of_border_edges():
    mask = np.random.default_rng(0).random((20, 30)) > 0.5
    padded = np.pad(mask, 1).astype(int)
    lines = viewer.outline(mask).astype(int)
    length = np.abs(lines[:, 2:] - lines[:, :2]).sum()
    assert length == np.abs(np.diff(padded, axis=0)).sum() + np.abs(np.diff(padded, axis=1)).sum()


def test_colours_are_those_of_inferno_and_told_apart():
    colormaps = pytest.importorskip("matplotlib").colormaps
    np.testing.assert_array_equal(heat_colours(), np.round(np.array(colormaps["inferno"].colors) * 255))
    assert len(set(COLOURS.values())) == len(COLOURS)


def test_page_asks_nothing_of_other_hosts():
    texts = [
        p.read_text() for p in library.embedded_folder().parent.glob("*.*") if p.suffix in (".js", ".css", ".html")
    ]
    assert texts and not [found for text in texts for found in re.findall(r"https?://|@import|url\(", text)]


@pytest.mark.parametrize(
    ("paths", "times", "part"),
    [(3.7, 5, "3.7"), ("4", 5, "'4'"), (None, 5, "None"), (True, 5, "True"), (0, 5, "0"), (17, 5, "at most 16")]
    + [(4, 49, "at most 48"), (4, 10**9, "100"), (4, float("nan"), "nan"), (4, [1], "[1]")],
)
def test_path_settings_are_checked(paths, times, part):
    with pytest.raises(SettingsError) as caught:
        checks.path_settings(PathSettings(), paths, times)
    assert_one_sentence(caught.value, part)


@pytest.mark.parametrize(
    "values", [("max", 0.2, 2.0, 1.0), ("min", 0, 2.0, 1.0), ("min", 0.2, "2", 1.0), ("min", 0.2, 2.0, -1)]
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


def test_shelf_forgets_the_least_recently_used():
    shelf = Shelf(10)
    first, second = shelf.put("a", 5), shelf.put("b", 5)
    assert shelf.get(first) == "a"
    third = shelf.put("c", 5)
    assert (shelf.get(first), shelf.get(second), shelf.get(third)) == ("a", None, "c")
    shelf.drop([first, "unknown"])
    assert shelf.get(first) is None and len(third) > 16


def test_library_without_models_is_empty(monkeypatch, tmp_path):
    monkeypatch.setenv("FLOW_MISMATCHING_EMBEDDED", str(tmp_path))
    assert library.model_names() == [] and library.examples("blob") == [] and library.first_category("unet") is None
    for ask in (lambda: library.model("unet"), lambda: library.example("..", 0)):
        with pytest.raises(SettingsError) as caught:
            ask()
        assert_one_sentence(caught.value)
