"""The Playground tab in a real browser: how fast a drag repaints, and what works without the server."""

from __future__ import annotations

import statistics
import time

import pytest
from browsing import LOOKS, assert_accessible, go_to, no_errors, press_tab, script, show_at, text, until

DRAG_MS = 150  # on two idle cores; measured 25 to 40 there
TOLERANCE = 2  # for a machine that does other work at the same time
LANDSCAPE_MS = 1000
TRAINED_WITHIN = 60  # seconds; about 5 on an idle core


@pytest.fixture
def page(window, gear_url):
    """The tab, freshly opened."""
    go_to(window, gear_url)
    open_tab(window)
    return window


@pytest.fixture
def looked(window, gear_url):
    """As `page`, but as an earlier test left it: for tests that ask the same of any state."""
    here = "return location.origin === arguments[0] && document.querySelector('.pg')?.checkVisibility()"
    if not script(window, here, gear_url):
        go_to(window, gear_url)
        open_tab(window)
    return window


def open_tab(page) -> None:
    press_tab(page, "Playground")
    until(lambda: data(page, "state") == "ready" and data(page, "landscapes"), "the first look", 40)


def data(page, name: str) -> str | None:
    return script(page, f"return document.querySelector('.pg')?.dataset.{name}")


def set_value(page, selector: str, value: object, event: str = "input") -> None:
    code = "const e = document.querySelector(arguments[0]); e.value = arguments[1]; e.dispatchEvent(new Event('%s'))"
    script(page, code % event, f".pg {selector}", str(value))


def canvas(page, index: int):
    return page.find_elements("css selector", ".pg .plane canvas")[index]


def picture(page, selector: str) -> str:
    return script(page, "return document.querySelector(arguments[0]).toDataURL()", f".pg {selector}")


def requests(page) -> int:
    return script(page, "return performance.getEntriesByType('resource').length")


def bars(page, kind: str, target: int) -> list[float]:
    # In one go: a repaint replaces the bars.
    code = "return [...document.querySelectorAll(arguments[0])].map(bar => +bar.dataset.value)"
    return script(page, code, f".pg .terms[data-target='{target}'] rect.{kind}")


def score(page, target: int) -> float:
    return float(page.find_elements("css selector", ".pg .plane .score")[target].text.split()[1])


def test_opens_with_a_normal_and_an_unlike_target(page):
    assert 5 * score(page, 0) < score(page, 1)
    assert len(bars(page, "fisher", 0)) == len(bars(page, "fisher", 1)) == 12
    no_errors(page)
    assert text(page, ".pg .say") == ""
    assert script(page, "return [...document.querySelectorAll('.pg figcaption')].every(c => c.textContent.length > 20)")


def test_a_drag_repaints_at_once(page):
    """From the pointer's event to the repainted canvas, server and network included; median of 15 steps."""
    from selenium.webdriver.common.action_chains import ActionChains

    before, plane = score(page, 0), canvas(page, 0)
    script(page, "document.querySelector('.gradio-container').scrollIntoView()")
    centre = plane.rect["width"] / 2
    target = (3.0 / 6.5 * centre, -(7.0 - 3.25) / 6.5 * centre)  # of A, from the middle of the canvas
    mouse = ActionChains(page, duration=10)
    mouse.move_to_element_with_offset(plane, round(target[0]), round(target[1])).click_and_hold().perform()
    took = []
    for _ in range(15):
        script(page, "delete document.querySelector('.pg').dataset.latency")
        ActionChains(page, duration=10).move_by_offset(-5, 6).perform()
        until(lambda: data(page, "latency"), "the repaint")
        took.append(float(data(page, "latency")))
    ActionChains(page).release().perform()
    print(f"drag to repaint: median {statistics.median(took):.0f} ms, slowest {max(took):.0f} ms")
    assert statistics.median(took) <= DRAG_MS * TOLERANCE
    assert score(page, 0) > 5 * before  # it left the arc


def test_arrow_keys_move_the_target(page):
    before = score(page, 1)
    script(page, "arguments[0].focus()", canvas(page, 1))
    for _ in range(4):
        canvas(page, 1).send_keys("\ue013")  # up, away from the arc
    until(lambda: score(page, 1) > before, "a higher score")


def test_a_finger_drags_the_target_and_scrolls_beside_it(page):
    plane = canvas(page, 0)
    script(page, "arguments[0].scrollIntoView({block: 'center'})", plane)
    box = script(page, "const b = arguments[0].getBoundingClientRect(); return [b.left, b.top, b.width]", plane)
    left, top, width = box

    def touch(kind: str, x: float | None = None, y: float | None = None) -> None:
        points = [] if x is None else [{"x": round(left + x * width), "y": round(top + y * width)}]
        page.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    def swipe(x: float, y: float) -> None:
        touch("touchStart", x, y)
        for step in range(1, 9):
            touch("touchMove", x - 0.02 * step, y - 0.02 * step)
        touch("touchEnd")
        time.sleep(0.3)

    before, scrolled = score(page, 0), script(page, "return scrollY")
    swipe((3.0 + 6.5) / 13, (9.75 - 7.0) / 13)  # on A
    until(lambda: score(page, 0) != before, "another score")
    assert script(page, "return scrollY") == scrolled
    moved = score(page, 0)
    swipe(0.5, 0.9)
    assert score(page, 0) == moved and script(page, "return scrollY") != scrolled


def test_scrubbing_and_playing_ask_the_server_nothing(page):
    time.sleep(0.5)
    asked = requests(page)
    pictures = [".plane canvas", ".map.at canvas", ".map.all canvas"]
    for step in (0, 11, 4):
        before = [picture(page, p) for p in pictures]
        set_value(page, ".time", step)
        assert all(old != picture(page, p) for old, p in zip(before, pictures, strict=True))
    assert text(page, ".pg .clock") == "t = 0.38"
    button = page.find_element("css selector", ".pg .play")
    button.click()
    assert button.get_attribute("aria-label") == "Pause"
    until(lambda: data(page, "step") == "11", "the last time")
    until(lambda: button.get_attribute("aria-label") == "Play", "the end of playing")
    assert requests(page) == asked


def test_landscape_follows_the_starts_within_a_second(page):
    before, count = picture(page, ".map.all canvas"), data(page, "landscapes")
    start = time.monotonic()
    page.find_element("css selector", ".pg .redraw").click()
    until(lambda: data(page, "landscapes") != count, "the landscape")
    took = 1000 * (time.monotonic() - start)
    print(f"new noise to landscape: {took:.0f} ms")
    assert took <= LANDSCAPE_MS * TOLERANCE
    assert picture(page, ".map.all canvas") != before


def test_starts_can_be_added_and_removed(page):
    def paths() -> str:
        return text(page, ".pg .paths-text")

    assert paths() == "8"
    page.find_element("css selector", ".pg .another").click()
    until(lambda: paths() == "9", "one more")
    page.find_element("css selector", ".pg [data-tool=starts]").click()
    canvas(page, 1).click()  # its middle, where no start lies
    until(lambda: paths() == "10", "the placed one")
    canvas(page, 1).click()
    until(lambda: paths() == "9", "its removal")
    for _ in range(10):
        script(page, "document.querySelector('.pg .fewer').click()")
    until(lambda: paths() == "1", "the last one, which stays")


def test_spread_and_aggregator_change_the_terms(page):
    assert bars(page, "denoising", 0) == [0] * 12
    before = bars(page, "fisher", 0)
    set_value(page, ".spread", 0.5)
    until(lambda: min(bars(page, "denoising", 0)) > 0, "the denoising term")
    set_value(page, ".spread", 0)
    set_value(page, ".aggregator", "mean", "change")
    until(lambda: all(b > a for a, b in zip(before, bars(page, "fisher", 0), strict=True)), "the mean over starts")


def test_live_training_shows_a_falling_loss(page):
    page.find_elements("css selector", ".pg [name=pg-field]")[1].click()
    until(lambda: data(page, "loss"), "the first loss", TRAINED_WITHIN)
    first = float(data(page, "loss"))
    until(lambda: data(page, "trained") == "2000", "the end of training", TRAINED_WITHIN)
    assert float(data(page, "loss")) < first
    assert script(page, "return document.querySelector('.pg path.losses').getAttribute('d').split('L').length") == 100
    until(lambda: text(page, ".pg .train") == "Train anew", "the end")
    until(lambda: 3 * score(page, 0) < score(page, 1), "the learned field telling A and B apart")
    set_value(page, ".law", "two_moons", "change")  # a network of another law is of no use
    until(lambda: script(page, "return document.querySelector('.pg [value=exact]').checked"), "the exact field")
    assert text(page, ".pg .say") == ""


def test_own_points_are_drawn_and_used(page):
    from selenium.webdriver.common.action_chains import ActionChains

    set_value(page, ".law", "own", "change")
    until(lambda: "0 of at most" in text(page, ".pg .count"), "an empty plane")
    count = data(page, "landscapes")
    pen = ActionChains(page, duration=10).move_to_element_with_offset(canvas(page, 0), -80, 20).click_and_hold()
    for _ in range(10):
        pen.move_by_offset(15, -3)
    pen.release().perform()
    until(lambda: data(page, "landscapes") != count, "the landscape of the own points")
    assert "11 of at most" in text(page, ".pg .count")
    until(lambda: score(page, 0) * 5 < score(page, 1), "A on the points, B beside them")
    page.find_element("css selector", ".pg .clear").click()
    until(lambda: "0 of at most" in text(page, ".pg .count"), "an empty plane again")


def test_errors_are_shown_as_a_sentence(page):
    script(page, "document.querySelector('.pg .times').max = 99")
    set_value(page, ".times", 60)
    until(lambda: "choose at most 48" in text(page, ".pg .say"), "the sentence")
    set_value(page, ".times", 10)
    until(lambda: text(page, ".pg .say") == "", "its end")


def test_fits_every_screen_and_is_accessible(looked, tmp_path):
    # Nothing sticks out of the column either, where the looked would cut it off.
    code = "return [...document.querySelectorAll('.pg *')].every(e => e.getBoundingClientRect().right <= arguments[0])"
    for width, scheme in LOOKS:
        show_at(looked, width, scheme)
        assert script(looked, "return document.documentElement.scrollWidth") <= width
        assert script(looked, code, width)
        looked.save_screenshot(str(tmp_path / f"{width}-{scheme}.png"))
        assert_accessible(looked)


def test_nothing_is_asked_before_the_tab_is_seen(window, gear_url):
    page = window
    go_to(page, gear_url)
    until(lambda: page.find_elements("css selector", "button[role=tab]"), "the tabs", 40)
    time.sleep(1)
    asked = script(
        page,
        "return performance.getEntriesByType('resource').map(e => e.name).filter(n => n.includes('component_server'))",
    )
    assert asked == []
