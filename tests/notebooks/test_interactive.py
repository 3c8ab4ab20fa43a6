"""Charts to point at: what they show, and that a page with them works in a browser without network."""

from __future__ import annotations

import json
import os
import re
import shutil
from base64 import b64decode
from io import BytesIO

import notebook_helpers  # noqa: F401  (makes the notebooks' packages importable)
import numpy as np
import pytest
from notebook_helpers import outside_sources
from PIL import Image
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.support.wait import WebDriverWait
from test_report import RESULT

from common import output as outputs
from common.output import Output
from figures.interactive import score_dots, time_scrub, turning_landscape
from figures.pictures import Panel, thumbnail
from figures.style import Figure
from fmcore.decomposition.landscape import PlaneGrid
from fmcore.mismatch import HeatSettings, Mismatch

FLAGS = ("--headless=new", "--no-sandbox", "--window-size=1000,900", "--enable-unsafe-swiftshader")
PICTURE = np.zeros((20, 30, 3), dtype=np.uint8)
MISMATCH = Mismatch(np.array([0.25, 0.5, 0.75]), np.arange(1, 37, dtype=np.float32).reshape(3, 1, 3, 4))


@pytest.fixture
def page(tmp_path, monkeypatch):
    """The page that a notebook with all three charts would show, and its file."""
    shown: list[str] = []
    monkeypatch.setattr(outputs, "get_ipython", lambda: object())
    monkeypatch.setattr(outputs, "display", lambda html: shown.append(html.data))
    output, file = Output(tmp_path), thumbnail((Panel(PICTURE), Panel(np.ones((20, 30), np.float32))), 1.0)
    dots = score_dots({"a": RESULT}, {"a": file})
    output.figure(Figure(), "first", dots)
    output.figure(Figure(), "scrub", time_scrub(MISMATCH, HeatSettings(exponent=1.0), Panel(PICTURE)))
    output.figure(Figure(), "first", dots)  # its cell run again
    grid = PlaneGrid(side=5)
    output.figure(Figure(), "turn", turning_landscape({"x": np.ones((5, 5)), "y": np.full((5, 5), 9.0)}, grid))
    html = f"<html><body>{shown[2]}{shown[1]}{shown[3]}</body></html>"
    (tmp_path / "page.html").write_text(html)
    return html, tmp_path / "page.html"


def test_a_page_carries_the_library_once_and_loads_nothing_else(page):
    html, _ = page
    assert html.count("* plotly.js v") == 1 and outside_sources(html) == []
    assert html.count('class="printed"') == 3 and html.count("data:image/png;base64,") >= 3


def test_every_image_is_a_dot_at_its_score_and_knows_its_picture():
    dots = score_dots({"a": RESULT, "b": RESULT}, {"b": "jpeg"})
    traces = dots.figure.data
    assert len(traces) == 4 and sorted(x for t in traces for x in t.x) == [1.0, 1.0, 1.5, 1.5, 3.0, 3.0]
    told = {text: dots.pictures[number] for t in traces for number, text in t.customdata}
    assert told == {"good/g: score 1": None, "dent/a: score 3": None, "dent/b: score 1.5": "jpeg"}
    assert {t.name for t in traces} == {"good", "defective"} and len(dots.pictures) == 6
    lines = [shape.x0 for shape in dots.figure.layout.shapes]
    assert lines == [2.0, 2.0]
    named = [each.x for each in dots.figure.layout.annotations if each.text == "threshold"]
    assert named == pytest.approx([np.log10(2)] * 2)  # as logarithmic axes take it


def test_images_of_one_score_are_stacked():
    same = RESULT | {"images": [{**i, "score": 2.0, "file": f"{n}"} for n, i in enumerate(RESULT["images"] * 3)]}
    heights = sorted(y for trace in score_dots({"a": same}, {}).figure.data for y in trace.y)
    assert heights == list(range(1, 10))


def test_the_slider_shows_the_weighted_map_of_its_time_and_the_average_so_far():
    heat = HeatSettings(exponent=1.0)
    figure = time_scrub(MISMATCH, heat, Panel(PICTURE)).figure
    (slider,) = figure.layout.sliders
    assert [step.label for step in slider.steps] == ["0.25", "0.50", "0.75"]
    for j, step in enumerate(slider.steps):
        (shown,) = [step.args[1]]
        alone, so_far = [trace for trace, visible in zip(figure.data, shown, strict=True) if visible][1:]
        np.testing.assert_allclose(alone.customdata, MISMATCH.weighted(heat)[j], rtol=1e-5)
        np.testing.assert_allclose(so_far.customdata, MISMATCH.running(heat)[j], rtol=1e-5)
        inside = np.asarray(alone.customdata) > 1e-3 * MISMATCH.weighted(heat).max()
        np.testing.assert_allclose(10 ** np.asarray(alone.z)[inside], np.asarray(alone.customdata)[inside], rtol=1e-4)
    assert [trace.visible for trace in figure.data[1:]] == [False] * 4 + [True] * 2


def test_a_landscape_shows_one_of_its_panels_at_a_time():
    figure = turning_landscape({"x": np.ones((5, 5)), "y": np.full((5, 5), 9.0)}, PlaneGrid(side=5)).figure
    assert [trace.visible for trace in figure.data] == [False, True]
    assert [button.args[1] for button in figure.layout.updatemenus[0].buttons] == [(True, False), (False, True)]
    np.testing.assert_allclose(10 ** np.asarray(figure.data[1].z), 9.0, rtol=1e-5)


def test_a_thumbnail_has_the_picture_and_its_map_side_by_side():
    hot = np.zeros((100, 100), np.float32)
    hot[:, 50:] = 2.0
    small = Image.open(
        BytesIO(b64decode(thumbnail((Panel(np.full((100, 100, 3), 200, np.uint8)), Panel(hot)), 2.0, 50)))
    )
    assert small.size == (100, 50)
    shown = np.asarray(small).astype(int)
    assert abs(shown[25, 25] - 200).max() < 10 and shown[25, 60].max() < 30 and shown[25, 95].max() > 200


def test_in_a_browser_the_charts_are_drawn_and_the_pointer_brings_up_a_picture(page):
    if not (shutil.which("chromium") and shutil.which("chromedriver")):
        (pytest.fail if os.environ.get("CI") else pytest.skip)("chromium and chromedriver are not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    options.set_capability("goog:loggingPrefs", {"performance": "ALL"})
    for flag in FLAGS:
        options.add_argument(flag)
    browser = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    try:
        browser.get(page[1].as_uri())
        wait = WebDriverWait(browser, 30)
        wait.until(
            lambda b: b.execute_script("return document.querySelectorAll('.js-plotly-plot .main-svg').length >= 5")
        )
        image = browser.find_element("css selector", "figure img")
        assert not image.is_displayed()
        dots = browser.find_elements("css selector", ".js-plotly-plot .scatterlayer .point")
        assert len(dots) == 3
        for dot in dots:
            webdriver.ActionChains(browser).move_to_element(dot).pause(0.2).perform()
            if image.is_displayed():
                break
        wait.until(lambda _: image.is_displayed())
        assert browser.find_element("css selector", "figcaption").text == "dent/a: score 3"
        assert image.get_attribute("src").startswith("data:image/jpeg;base64,")
        events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
        asked = [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
        assert not [url for url in asked if not re.match("data:|file:|blob:", url)]
    finally:
        browser.quit()
