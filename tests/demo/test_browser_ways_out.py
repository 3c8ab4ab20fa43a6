"""Ways out of every tab in a real browser: the back button, cancel, and a sentence where something fails."""

from __future__ import annotations

import io
import time
import zipfile

import pytest
from browsing import go_to, no_errors, press_tab, script, set_number, state, text, until, upload, wait
from PIL import Image

from fmcore.data.rendered import render

TABS = ("Batch", "Draw", "Compare", "Playground", "Decomposition")
CHOSEN = "return document.querySelector('button[role=tab][aria-selected=true]')?.textContent.trim()"
MANY = 300  # pictures, which take some seconds


@pytest.fixture(scope="module")
def gear() -> bytes:
    """A PNG file."""
    Image.fromarray(render("gear", 99, defect="stain", split="test").image).save(found := io.BytesIO(), "PNG")
    return found.getvalue()


@pytest.fixture
def offline(window):
    """Call it to cut the page off from its server."""
    window.execute_cdp_cmd("Network.enable", {})

    def set_offline(on: bool) -> None:
        speed = {"offline": on, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
        window.execute_cdp_cmd("Network.emulateNetworkConditions", speed)

    yield set_offline
    set_offline(False)


def data(page, root: str, name: str) -> str | None:
    return script(page, "return document.querySelector(arguments[0])?.dataset[arguments[1]]", root, name)


@pytest.fixture
def own_history(window, gear_url):
    """The app in a tab of its own: that of all tests has no room left in its history."""
    shared = window.current_window_handle
    window.switch_to.new_window("tab")
    go_to(window, gear_url)
    wait(window, "ready")
    yield window
    window.close()
    window.switch_to.window(shared)


def test_back_and_forward_go_through_all_tabs(own_history):
    page = own_history
    for name in TABS:
        press_tab(page, name)
        until(lambda name=name: f"tab={name.lower()}" in page.current_url, "the tab in the address")
    for name in (*TABS[-2::-1], "Inspect"):
        script(page, "history.back()")  # the browser's button leaves out what no real click led to
        until(lambda name=name: script(page, CHOSEN) == name, f"{name} again")
    script(page, "history.forward()")
    until(lambda: script(page, CHOSEN) == TABS[0], "forward again")
    no_errors(page)


def test_a_cancelled_scoring_leaves_what_is_finished(page, tmp_path, gear):
    set_number(page, 1, 48)
    until(lambda: state(page) == "ready" and "No verdict" in text(page, ".verdict"), "the score with T = 48")
    files = [tmp_path / f"{number}.png" for number in range(8)]
    for path in files:
        path.write_bytes(gear)
    upload(page, *files)
    until(lambda: "of 8" in text(page, ".named") and state(page) == "scoring", "the first map")
    page.find_element("css selector", "#cancel").click()
    until(lambda: state(page) in ("ready", "stopped"), "the end")
    time.sleep(1)
    finished = len(page.find_elements("css selector", "#results label"))
    time.sleep(1)
    assert state(page) != "scoring"  # nothing arrives after the run was cancelled
    assert len(page.find_elements("css selector", "#results label")) == finished < len(files)
    page.find_element("css selector", "#score").click()
    wait(page, "ready")
    until(lambda: len(page.find_elements("css selector", "#results label")) == len(files), "all of them")


def test_a_cancelled_batch_shows_what_was_finished(page, tmp_path, gear):
    with zipfile.ZipFile(tmp_path / "parts.zip", "w") as archive:
        for number in range(MANY):
            archive.writestr(f"parts/{number:03d}.png", gear)
    press_tab(page, "Batch")
    until(lambda: data(page, ".bt", "state") == "ready", "the examples", 40)
    upload(page, tmp_path / "parts.zip", to="#batch-files")
    until(lambda: "Scoring picture" in text(page, ".bt .note") and "000.png" not in text(page, ".bt .note"), "work", 40)
    page.find_element("css selector", "#batch-cancel").click()
    until(lambda: data(page, ".bt", "state") == "ready", "what was finished")
    assert text(page, ".bt .note").startswith("Stopped: these were finished.")
    assert 0 < script(page, "return document.querySelectorAll('.bt .card').length") < MANY
    no_errors(page)


def test_a_cancelled_decomposition_can_be_computed_again(page):
    press_tab(page, "Decomposition")
    until(lambda: data(page, ".fd", "state") == "ready", "the decomposition", 40)
    page.find_element("css selector", "#fd-more input").click()
    until(lambda: page.find_elements("css selector", "#fd-law input[value=network]"), "the further laws")
    script(page, "document.querySelector('#fd-law input[value=network]').click()")
    page.find_element("css selector", "#fd-start").click()
    until(lambda: data(page, ".fd", "state") == "working", "the training of the law")
    page.find_element("css selector", "#fd-cancel").click()
    until(lambda: data(page, ".fd", "state") != "working", "the end")
    script(page, "document.querySelector('#fd-law input[value=image]').click()")
    page.find_element("css selector", "#fd-start").click()
    until(lambda: data(page, ".fd", "state") == "ready", "another law", 40)
    no_errors(page)


def test_a_stopped_training_keeps_the_field_so_far(page):
    press_tab(page, "Playground")
    until(lambda: page.find_elements("css selector", ".pg [name=pg-field]"), "the plane")
    page.find_elements("css selector", ".pg [name=pg-field]")[1].click()
    until(lambda: 0 < int(data(page, ".pg", "trained") or 0) < 2000, "some steps", 40)
    page.find_element("css selector", ".pg .train").click()
    until(lambda: text(page, ".pg .train") == "Train anew", "the end")
    assert int(data(page, ".pg", "trained")) < 2000
    no_errors(page)


def test_without_the_server_draw_says_so_and_goes_on_later(page, offline):
    press_tab(page, "Draw")
    until(lambda: data(page, ".dr", "scored"), "the good picture", 40)
    paper = page.find_element("css selector", ".dr .paper canvas")
    offline(True)
    paper.send_keys(" ")
    until(lambda: "did not answer" in text(page, ".dr .note"), "the sentence")
    offline(False)
    count = int(data(page, ".dr", "scored"))
    paper.send_keys("\ue014", " ")  # right, and the brush
    until(lambda: int(data(page, ".dr", "scored")) > count and "score" in text(page, ".dr .figures"), "a score again")


def test_a_file_that_is_no_picture_is_said_where_it_was_asked_for(page, tmp_path):
    press_tab(page, "Compare")
    until(lambda: data(page, ".cp", "state") == "ready", "both sides", 40)
    (tmp_path / "text.png").write_text("this is no image")
    script(page, "document.querySelector('.cp .file').click = () => {}")  # the browser's own dialogue
    side = "const e = document.querySelector('.cp .side .example');"
    script(page, f"{side} e.value = 'mine'; e.dispatchEvent(new Event('change'))")
    page.find_element("css selector", ".cp .file").send_keys(str(tmp_path / "text.png"))
    until(lambda: "'text.png' cannot be read as a picture" in text(page, ".cp .side .regions"), "the sentence")
    assert text(page, ".cp .side .word") == "No result"


def test_an_address_that_names_what_is_not_there_opens_the_app(window, gear_url):
    go_to(window, f"{gear_url}/?tab=nowhere&model=none&category=of&example=-7&exponent=nan")
    wait(window, "ready")
    assert script(window, CHOSEN) == "Inspect"
    no_errors(window)
