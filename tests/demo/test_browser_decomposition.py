"""The Decomposition tab in a real browser: bars and maps appear, scrubbing is local, the numbers add up."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from browsing import (
    LOOKS,
    REPAINT_MS,
    assert_accessible,
    go_to,
    no_errors,
    press_tab,
    script,
    scrub,
    show_at,
    text,
    until,
    upload,
)

from fmcore.data.rendered import render
from fmcore.palette import COLOURS

NUMBERS = """
return [...document.querySelectorAll('.term')].map(e => [e.dataset.term, e.querySelector('.number').innerText]);
"""
# How many pixels of each canvas are brighter than the colour of zero.
LIT = """
return [...document.querySelectorAll('.fd .maps canvas')].map((canvas) => {
  const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
  let lit = 0;
  for (let i = 0; i < data.length; i += 4) lit += data[i] + data[i + 1] + data[i + 2] > 4;
  return lit;
});
"""
CHART = """
return (document.querySelector('.fd .bars').data || []).map(
  ({name, type, x, y, customdata, marker}) => ({name, type, x, y, said: customdata, colour: marker.color}));
"""
RIGHT_EDGES = """
return [...document.querySelectorAll('.term, .maps figure, .fd .bars svg')].map(e => e.getBoundingClientRect().right);
"""


@pytest.fixture
def tab(page):
    """The page with the tab freshly opened and its first result shown."""
    assert page.find_elements("css selector", ".fd[data-state=ready]") == []  # nothing computed before it is looked at
    open_tab(page)
    return page


@pytest.fixture
def looked(window, gear_url):
    """As `tab`, but as an earlier test left it: for tests that only look."""
    here = "return location.origin === arguments[0] && document.querySelector('.fd')?.checkVisibility() && !uploaded()"
    here = here.replace("uploaded()", "document.querySelector('#fd-files .file-preview')")
    if not (script(window, here, gear_url) and state(window) == "ready"):
        go_to(window, gear_url)
        open_tab(window)
    return window


def open_tab(page) -> None:
    press_tab(page, "Decomposition")
    ready(page)


def state(page) -> str | None:
    return script(page, "return document.querySelector('.fd')?.dataset.state")


def ready(page) -> None:
    until(lambda: state(page) == "ready", "the decomposition", 40)


def choose_law(page, law: str) -> None:
    if law not in ("image", "noisy"):
        page.find_element("css selector", "#fd-more input").click()
        until(lambda: page.find_elements("css selector", f"#fd-law input[value={law}]"), "the further laws")
    script(page, f"document.querySelector('#fd-law input[value={law}]').click()")


def decompose(page) -> None:
    script(page, "document.querySelector('.fd').dataset.state = 'asked'")
    page.find_element("css selector", "#fd-start").click()
    ready(page)


def shown_numbers(page) -> dict[str, str]:
    """The numbers of the identity, as the page shows them."""
    return dict(script(page, NUMBERS))


def number(shown: str) -> float:
    return float(shown.replace(",", "").replace("−", "-"))


def traces(page) -> dict[str, dict]:
    """What the chart shows, by name, once it has been drawn."""
    until(lambda: script(page, CHART), "the chart")
    return {trace["name"]: trace for trace in script(page, CHART)}


def assert_identity(page) -> None:
    shown = shown_numbers(page)
    mismatch, *terms = (number(shown[name]) for name in ("mismatch", "denoising", "fisher", "cross"))
    digits = len(shown["mismatch"].partition(".")[2])
    assert abs(mismatch - sum(terms)) <= 2.01 * 10**-digits + 1e-5 * mismatch  # each is rounded on its own
    assert mismatch > 0


def test_opens_on_bars_maps_and_an_identity_that_adds_up(tab):
    assert re.fullmatch(r"At t = 0\.\d\d: denoising .* Fisher .* cross .* of the mismatch", text(tab, ".fd .word"))
    for name, colour in (("Denoising", COLOURS["denoising_term"]), ("Fisher", COLOURS["fisher_term"])):
        trace = traces(tab)[name]
        assert trace["type"] == "bar" and trace["colour"] == colour
        assert len(trace["y"]) == 12 and min(trace["y"]) > 0
    assert_identity(tab)
    photo, *maps = script(tab, LIT)  # the picture, four maps at this t, four over all t
    assert photo > 1000 and len(maps) == 8
    assert all(maps[index] > 500 for index in (0, 2, 4, 5, 6))  # cross, and denoising at one t, may be near zero
    # The default model here is a Gaussian field, so the Fisher term is known without draws.
    assert re.search(r"Without draws: [\d,.]+", text(tab, ".closing"))
    no_errors(tab)


@pytest.mark.alone
def test_scrubbing_repaints_at_once_without_the_server_and_the_identity_follows(looked):
    seen, took = set(), []
    for step in (0, 5, 11, 3):
        took.append(scrub(looked, ".fd .time", step, ".now-fisher"))
        assert_identity(looked)
        seen.add(tuple(shown_numbers(looked).values()))
        assert text(looked, ".fd .clock") == f"t = {(step + 1) / 13:.2f}"
        said = number(traces(looked)["Fisher"]["said"][step].partition(" ")[0])
        assert said == pytest.approx(number(shown_numbers(looked)["fisher"]), rel=1e-3)
    assert len(seen) == 4 and max(took) <= REPAINT_MS


def test_clicking_a_bar_chooses_its_time_and_the_unit_can_be_changed(looked):
    from selenium.webdriver.common.action_chains import ActionChains

    def axis() -> str:
        return script(looked, "return document.querySelector('.fd .bars .ytitle')?.textContent")

    before = traces(looked)["Fisher"]["y"]
    looked.find_element("css selector", "[data-unit=sum]").click()
    until(lambda: axis() == "sum over pixels", "the other unit")
    assert traces(looked)["Fisher"]["y"] != before
    bar = looked.find_elements("css selector", ".fd .bars .barlayer .trace")[1].find_elements("css selector", "path")[2]
    script(looked, "document.querySelector('.fd .bars').scrollIntoView({block: 'center'})")
    ActionChains(looked).move_to_element(bar).click().perform()
    until(lambda: text(looked, ".fd .clock") == "t = 0.23", "the time of the bar")
    shape = "return document.querySelector('.fd .bars').layout.shapes[0]"
    until(lambda: script(looked, shape)["x0"] < 0.23 < script(looked, shape)["x1"], "the mark at this time")
    looked.find_element("css selector", "[data-unit=share]").click()
    until(lambda: "%" in axis(), "shares again")


def test_a_single_picture_has_no_denoising_and_no_cross_term(tab):
    choose_law(tab, "image")
    decompose(tab)
    shown = shown_numbers(tab)
    assert shown["denoising"].strip("0.") == "" and number(shown["mismatch"]) > 0
    assert "all of the mismatch is Fisher term" in text(tab, ".fd .word")
    assert_identity(tab)


def test_a_learned_law_shows_its_error_below_the_axis(tab):
    choose_law(tab, "gaussian")
    until(lambda: tab.find_elements("css selector", "#fd-ends input"), "the choice of where paths end")
    drawn = "return +document.querySelector('.fd').dataset.charts"
    before = script(tab, drawn)
    decompose(tab)
    assert_identity(tab)
    until(lambda: script(tab, drawn) > before, "the new chart")
    cross = traces(tab)["Cross"]["y"]  # in percent
    assert max(map(abs, cross)) > 1
    top = "return [...document.querySelectorAll(arguments[0])].map(e => e.getBoundingClientRect().top)"
    (zero,) = script(tab, top, ".fd .bars .zl")
    tops = script(tab, top, ".fd .bars .barlayer .trace:nth-child(3) .point path")
    for value, above in zip(cross, tops, strict=True):
        assert value > -1 or above >= zero - 2
    assert "error of the learned" in text(tab, ".fd .chart-title")


def test_a_changed_law_dims_the_result_until_it_is_computed_or_changed_back(tab):
    def dimmed() -> bool:
        return script(tab, "return document.querySelector('.fd').dataset.outdated") == "true"

    before = shown_numbers(tab)
    choose_law(tab, "image")
    until(dimmed, "the dimmed result")
    assert "Settings changed" in text(tab, ".fd .changed") and shown_numbers(tab) == before
    choose_law(tab, "noisy")
    until(lambda: not dimmed(), "the result as it was")
    choose_law(tab, "image")
    until(dimmed, "the dimmed result")
    decompose(tab)
    assert not dimmed() and shown_numbers(tab) != before


def test_the_button_is_above_the_fold(looked):
    assert script(looked, "return document.querySelector('#fd-start').getBoundingClientRect().bottom") < 900


def test_own_picture_and_bad_file(tab, tmp_path):
    from PIL import Image

    path = Path(tmp_path / "own.png")
    Image.fromarray(render("gear", 98, defect="stain", split="test").image).save(path)
    script(tab, "document.querySelector('.fd').dataset.state = 'asked'")
    upload(tab, path, to="#fd-files")
    ready(tab)
    assert "own.png" in text(tab, ".fd .note") and not tab.find_element("css selector", ".fd .outlined").is_displayed()
    assert_identity(tab)


def test_bad_file_is_explained_in_one_sentence(tab, tmp_path):
    (tmp_path / "text.png").write_text("this is no image")
    upload(tab, tmp_path / "text.png", to="#fd-files")
    until(lambda: "'text.png' is not an image of a known kind" in text(tab, "body"), "the message")
    assert "Traceback" not in text(tab, "body")


def test_fits_every_screen_and_is_accessible(looked, tmp_path):
    for width, scheme in LOOKS:
        show_at(looked, width, scheme)
        assert script(looked, "return document.documentElement.scrollWidth") <= width
        # The chart follows the width a moment later.
        until(lambda width=width: max(script(looked, RIGHT_EDGES)) <= width, "everything inside the window")
        looked.save_screenshot(str(tmp_path / f"{width}-{scheme}.png"))
        assert_accessible(looked)
