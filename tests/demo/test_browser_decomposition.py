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
RIGHT_EDGES = """
return [...document.querySelectorAll('.term, .maps figure, .fd svg')].map(e => e.getBoundingClientRect().right);
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


def assert_identity(page) -> None:
    shown = shown_numbers(page)
    mismatch, *terms = (number(shown[name]) for name in ("mismatch", "denoising", "fisher", "cross"))
    digits = len(shown["mismatch"].partition(".")[2])
    assert abs(mismatch - sum(terms)) <= 2.01 * 10**-digits + 1e-5 * mismatch  # each is rounded on its own
    assert mismatch > 0


def test_opens_on_bars_maps_and_an_identity_that_adds_up(tab):
    assert re.fullmatch(r"At t = 0\.\d\d: denoising .* Fisher .* cross .* of the mismatch", text(tab, ".fd .word"))
    for name, colour in (("denoising", COLOURS["denoising_term"]), ("fisher", COLOURS["fisher_term"])):
        bars = tab.find_elements("css selector", f".bar-{name}")
        assert len(bars) == 12 and all(bar.get_attribute("fill") == colour for bar in bars)
        assert all(float(bar.get_attribute("height")) > 0 for bar in bars)
    assert_identity(tab)
    photo, *maps = script(tab, LIT)  # the picture, four maps at this t, four over all t
    assert photo > 1000 and len(maps) == 8
    assert all(maps[index] > 500 for index in (0, 2, 4, 5, 6))  # cross, and denoising at one t, may be near zero
    # The default model here is a Gaussian field, so the Fisher term is known without draws.
    assert re.search(r"Without draws: [\d,.]+", text(tab, ".closing"))
    no_errors(tab)


def test_scrubbing_repaints_at_once_without_the_server_and_the_identity_follows(looked):
    seen, took = set(), []
    for step in (0, 5, 11, 3):
        took.append(scrub(looked, ".fd .time", step, ".now-fisher"))
        assert_identity(looked)
        seen.add(tuple(shown_numbers(looked).values()))
        assert text(looked, ".fd .clock") == f"t = {(step + 1) / 13:.2f}"
        bar = looked.find_element("css selector", f".column[data-step='{step}'] .bar-fisher")
        assert float(bar.get_attribute("data-value")) == pytest.approx(
            number(shown_numbers(looked)["fisher"]), rel=1e-3
        )
    assert len(seen) == 4 and max(took) <= REPAINT_MS


def test_clicking_a_bar_chooses_its_time_and_the_unit_can_be_changed(looked):
    before = looked.find_element("css selector", ".column[data-step='0'] .bar-fisher").get_attribute("height")
    looked.find_element("css selector", "[data-unit=sum]").click()
    after = looked.find_element("css selector", ".column[data-step='0'] .bar-fisher").get_attribute("height")
    assert float(after) != float(before) and "sum over pixels" in text(looked, ".fd .chart svg")
    click = "dispatchEvent(new MouseEvent('click', {bubbles: true}))"
    script(looked, f"document.querySelector('.column[data-step=\"2\"] rect').{click}")
    assert text(looked, ".fd .clock") == "t = 0.23"


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
    decompose(tab)
    assert_identity(tab)
    cross = [float(bar.get_attribute("data-value")) for bar in tab.find_elements("css selector", ".bar-cross")]
    assert max(map(abs, cross)) > 1
    zero = script(tab, "return document.querySelector('.fd svg line[stroke-width=\"2\"]').getBoundingClientRect().top")
    for step, value in enumerate(cross):
        if value < -1:
            bar = (
                f"return document.querySelector('.column[data-step=\"{step}\"] .bar-cross').getBoundingClientRect().top"
            )
            assert script(tab, bar) >= zero - 2
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
        assert max(script(looked, RIGHT_EDGES)) <= width
        looked.save_screenshot(str(tmp_path / f"{width}-{scheme}.png"))
        assert_accessible(looked)
