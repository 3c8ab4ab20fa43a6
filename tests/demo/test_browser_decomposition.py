"""The Decomposition tab in a real browser: bars and maps appear, scrubbing is local, the numbers add up."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

import pytest
from selenium.common.exceptions import StaleElementReferenceException
from test_browser import REPAINT_MS, embedded, page, script, scrub, text, until, upload, url  # noqa: F401

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
def tab(page):  # noqa: F811
    """The page with the tab opened and its first result shown."""
    assert page.find_elements("css selector", ".fd[data-state=ready]") == []  # nothing computed before it is looked at
    open_tab(page)
    return page


def open_tab(page) -> None:  # noqa: F811
    """Press the tab's button; on a narrow screen it may be behind the overflow menu."""
    until(lambda: opened(page), "the tab Decomposition", 40)
    ready(page)


def opened(page) -> bool:  # noqa: F811
    """Whether the tab shows, after one press if it did not. The tabs are drawn anew while the page loads."""
    if script(page, "return document.querySelector('#fd-law')?.checkVisibility()"):
        return True
    with suppress(StaleElementReferenceException):
        for more in page.find_elements("css selector", ".overflow-menu > button"):
            if more.is_displayed():
                more.click()
        for button in page.find_elements("css selector", "button"):
            if button.text == "Decomposition" and button.is_displayed():
                button.click()
                break
    return False


def state(page) -> str | None:  # noqa: F811
    return script(page, "return document.querySelector('.fd')?.dataset.state")


def ready(page) -> None:  # noqa: F811
    until(lambda: state(page) == "ready", "the decomposition", 40)


def choose_law(page, law: str) -> None:  # noqa: F811
    if law not in ("image", "noisy"):
        page.find_element("css selector", "#fd-more input").click()
        until(lambda: page.find_elements("css selector", f"#fd-law input[value={law}]"), "the further laws")
    script(page, f"document.querySelector('#fd-law input[value={law}]').click()")


def decompose(page) -> None:  # noqa: F811
    script(page, "document.querySelector('.fd').dataset.state = 'asked'")
    page.find_element("css selector", "#fd-start").click()
    ready(page)


def shown_numbers(page) -> dict[str, str]:  # noqa: F811
    """The numbers of the identity, as the page shows them."""
    return dict(script(page, NUMBERS))


def number(shown: str) -> float:
    return float(shown.replace(",", "").replace("−", "-"))


def assert_identity(page) -> None:  # noqa: F811
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
    assert [e for e in tab.get_log("browser") if e["level"] == "SEVERE"] == []


def test_scrubbing_repaints_at_once_without_the_server_and_the_identity_follows(tab):
    seen, took = set(), []
    for step in (0, 5, 11, 3):
        took.append(scrub(tab, ".fd .time", step, ".now-fisher"))
        assert_identity(tab)
        seen.add(tuple(shown_numbers(tab).values()))
        assert text(tab, ".fd .clock") == f"t = {(step + 1) / 13:.2f}"
        bar = tab.find_element("css selector", f".column[data-step='{step}'] .bar-fisher")
        assert float(bar.get_attribute("data-value")) == pytest.approx(number(shown_numbers(tab)["fisher"]), rel=1e-3)
    assert len(seen) == 4 and max(took) <= REPAINT_MS


def test_clicking_a_bar_chooses_its_time_and_the_unit_can_be_changed(tab):
    before = tab.find_element("css selector", ".column[data-step='0'] .bar-fisher").get_attribute("height")
    tab.find_element("css selector", "[data-unit=sum]").click()
    after = tab.find_element("css selector", ".column[data-step='0'] .bar-fisher").get_attribute("height")
    assert float(after) != float(before) and "sum over pixels" in text(tab, ".fd .chart svg")
    click = "dispatchEvent(new MouseEvent('click', {bubbles: true}))"
    script(tab, f"document.querySelector('.column[data-step=\"2\"] rect').{click}")
    assert text(tab, ".fd .clock") == "t = 0.23"


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


def test_the_button_is_above_the_fold(tab):
    assert script(tab, "return document.querySelector('#fd-start').getBoundingClientRect().bottom") < 900


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


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_fits_a_phone(page, scheme):  # noqa: F811
    page.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
    )
    page.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    )
    page.refresh()
    open_tab(page)
    assert script(page, "return document.documentElement.scrollWidth") <= 390
    assert max(script(page, RIGHT_EDGES)) <= 390
