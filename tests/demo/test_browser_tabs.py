"""The tabs Batch, Draw and Compare in a real browser."""

from __future__ import annotations

import io
import time
import urllib.request
import zipfile

import numpy as np
import pytest
from browsing import LOOKS, assert_accessible, go_to, no_errors, press_tab, script, show_at, text, until, upload
from PIL import Image

from fmcore.data.picture import read_picture
from fmcore.data.rendered import render
from fmcore.detector.model import load_model
from fmcore.detector.score import score as score_picture

FIT = "return document.documentElement.scrollWidth"


def requests_so_far(page) -> int:
    """Once none has come for a while: the browser notes one a moment after its answer was used."""
    counts = [-1]

    def is_quiet() -> bool:
        time.sleep(0.4)
        counts.append(script(page, "return performance.getEntriesByType('resource').length"))
        return counts[-1] == counts[-2]

    until(is_quiet, "a quiet network")
    return counts[-1]


@pytest.fixture
def fresh(window, gear_url):
    """The app, just opened, whatever it shows."""
    go_to(window, gear_url)
    return window


def data(page, root: str, name: str) -> str | None:
    return script(page, "return document.querySelector(arguments[0])?.dataset[arguments[1]]", root, name)


def set_value(page, selector: str, value: object, event: str = "input") -> None:
    code = "const [at, value, event] = arguments, e = document.querySelector(at); e.value = value;"
    code += "e.dispatchEvent(new Event(event));"
    script(page, code, selector, value, event)


def fits_every_screen(page, tmp_path) -> None:
    for width, scheme in LOOKS:
        show_at(page, width, scheme)
        assert script(page, FIT) <= width
        page.save_screenshot(str(tmp_path / f"{width}-{scheme}.png"))
        assert_accessible(page)


# ---- Batch ----
def open_batch(page) -> None:
    press_tab(page, "Batch")
    until(lambda: data(page, ".bt", "state") == "ready" and data(page, ".bt", "charts"), "the batch", 40)


def names(page) -> list[str]:
    return script(page, "return [...document.querySelectorAll('.bt .card .name')].map(e => e.textContent)")


def test_batch_opens_on_the_examples_and_the_threshold_relabels_them_without_the_server(fresh, gear_folder, tmp_path):
    page = fresh
    open_batch(page)
    test = gear_folder / "examples" / "gear" / "test"
    model = load_model(gear_folder / "gaussian")
    scores = {path: score_picture(model, read_picture(path)).score for path in test.glob("*/*.png")}
    anomalous = sum(score > model.threshold().value for score in scores.values())
    assert text(page, ".bt .word") == f"{anomalous} of {len(scores)} anomalous"
    assert script(page, "return document.querySelectorAll('.bt .histogram .bars path, .bt .roc .scatter').length") > 2
    assert "Image AUROC" in text(page, ".bt .roc-say")
    asked = requests_so_far(page)
    set_value(page, ".bt .threshold", 0)
    assert text(page, ".bt .word") == f"{len(scores)} of {len(scores)} anomalous"
    assert "false alarms 1 of 1" in text(page, ".bt .figures") and "by hand" in text(page, ".bt .note")
    page.find_element("css selector", ".bt .own").click()
    assert text(page, ".bt .word") == f"{anomalous} of {len(scores)} anomalous"
    page.find_element("css selector", ".bt .list").click()
    assert "rows" in page.find_element("css selector", ".bt .cards").get_attribute("class")
    assert script(page, "return performance.getEntriesByType('resource').length") == asked
    fits_every_screen(page, tmp_path)
    no_errors(page)


def test_batch_takes_a_zip_file_skips_what_is_bad_and_gives_everything_back(fresh, tmp_path):
    page = fresh
    open_batch(page)
    with zipfile.ZipFile(tmp_path / "parts.zip", "w") as archive:
        for number, defect in enumerate((None, None, "stain", "scratch")):
            picture = io.BytesIO()
            Image.fromarray(render("gear", 300 + number, defect=defect, split="test").image).save(picture, "PNG")
            archive.writestr(f"parts/{defect or 'good'}/{number}.png", picture.getvalue())
        archive.writestr("parts/stain/cut.png", picture.getvalue()[:900])
    upload(page, tmp_path / "parts.zip", to="#batch-files")
    until(lambda: any("stain/2.png" in name for name in names(page)), "the batch of the zip file", 40)
    assert sorted(names(page)) == ["good/0.png", "good/1.png", "scratch/3.png", "stain/2.png"]
    assert text(page, ".bt .skipped summary") == "1 left out"
    page.find_element("css selector", ".bt .save").click()
    until(lambda: page.find_elements("css selector", "#batch-saved a"), "the file")
    address = page.find_element("css selector", "#batch-saved a").get_attribute("href")
    with zipfile.ZipFile(io.BytesIO(urllib.request.urlopen(address).read())) as archive:
        found = archive.namelist()
        assert {"scores.csv", "about.txt"} <= set(found) and len([n for n in found if n.startswith("masks/")]) == 4
        maps = [np.load(io.BytesIO(archive.read(name))) for name in found if name.endswith(".npy")]
    assert len(maps) == 4 and maps[0].ndim == 2
    (tmp_path / "no.zip").write_text("no zip")
    upload(page, tmp_path / "no.zip", to="#batch-files")
    until(lambda: "not a zip file" in text(page, ".bt .note"), "the sentence")
    assert data(page, ".bt", "state") == "empty"


# ---- Draw ----
def test_a_stroke_on_a_good_picture_moves_the_score(fresh, tmp_path):
    from selenium.webdriver.common.action_chains import ActionChains

    page = fresh
    assert data(page, ".dr", "scored") is None
    press_tab(page, "Draw")
    until(lambda: data(page, ".dr", "scored"), "the good picture", 40)
    before = float(data(page, ".dr", "score"))
    paper = page.find_element("css selector", ".dr .paper canvas")
    set_value(page, ".dr .colour", "#ff2020")
    chain = ActionChains(page).move_to_element_with_offset(paper, -40, -40).click_and_hold()
    for _ in range(6):
        chain = chain.move_by_offset(12, 10)
    chain.release().perform()
    until(lambda: float(data(page, ".dr", "score")) > 1.5 * before, "a higher score")
    page.find_element("css selector", ".dr .clear").click()
    until(lambda: float(data(page, ".dr", "score")) == before, "the score of the good picture")
    page.find_element("css selector", ".dr .undo").click()
    until(lambda: float(data(page, ".dr", "score")) > before, "the stroke again")
    paper.send_keys("\ue014", "\ue015", " ")  # right, down, space: the brush by keys
    fits_every_screen(page, tmp_path)
    no_errors(page)


# ---- Compare ----
def test_two_sides_share_one_time_and_can_be_changed_alone(fresh, tmp_path):
    page = fresh
    press_tab(page, "Compare")
    until(lambda: data(page, ".cp", "state") == "ready", "both sides", 40)
    left, right = page.find_elements("css selector", ".cp .side")
    figures = [side.find_element("css selector", ".figures") for side in (left, right)]
    assert right.find_element("css selector", ".example").get_attribute("value") == "5"  # the good one
    assert figures[0].text.startswith("score") and figures[0].text != figures[1].text
    asked = requests_so_far(page)
    set_value(page, ".cp .time", 4)
    assert left.get_attribute("data-step") == right.get_attribute("data-step") == "2"
    assert script(page, "return performance.getEntriesByType('resource').length") == asked
    Image.fromarray(render("gear", 99, defect="stain", split="test").image).save(tmp_path / "own.png")
    before = figures[0].text
    script(page, "document.querySelector('.cp .file').click = () => {}")  # the browser's own dialogue
    set_value(page, ".cp .side .example", "mine", "change")
    page.find_element("css selector", ".cp .file").send_keys(str(tmp_path / "own.png"))
    until(lambda: figures[0].text.startswith("score") and figures[0].text != before, "the score of the own picture")
    page.find_element("css selector", "[data-preset=aggregators]").click()
    until(lambda: "No verdict" in right.text and "score" in figures[1].text, "the other aggregator")
    fits_every_screen(page, tmp_path)
    no_errors(page)
