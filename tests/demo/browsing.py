"""One browser and one app for all browser tests, and what these have in common: waiting, pressing, scrubbing."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
REPAINT_MS = 100
STARTED_WITHIN = 30  # seconds; about 4 on two idle cores
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@contextmanager
def running_app(embedded: Path, temporary: Path) -> Iterator[str]:
    """Address of an app of its own, started as a user would, with other embedded models."""
    with app_process(embedded, temporary) as (url, _):
        yield url


@contextmanager
def app_process(embedded: Path, temporary: Path) -> Iterator[tuple[str, int]]:
    """As `running_app`, with the number of its process; ``temporary`` gets what it says, app.log."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = {
        "FLOW_MISMATCHING_EMBEDDED": str(embedded),
        "GRADIO_SERVER_PORT": str(port),
        "GRADIO_SERVER_NAME": "127.0.0.1",
        "GRADIO_TEMP_DIR": str(temporary / "gradio"),
        "OMP_NUM_THREADS": "1",  # as many as the test process, which computes the same scores
        "CI": "1",  # open no browser window
    }
    log = (temporary / "app.log").open("w")
    process = subprocess.Popen([sys.executable, "app.py"], cwd=ROOT, env=os.environ | settings, stdout=log, stderr=log)
    url, started = f"http://127.0.0.1:{port}", time.monotonic()
    try:
        while True:
            assert process.poll() is None, Path(log.name).read_text()
            assert time.monotonic() - started < STARTED_WITHIN, "the app did not start in time"
            try:
                urllib.request.urlopen(url, timeout=5).close()
                break
            except OSError:
                time.sleep(0.1)
        yield url, process.pid
    finally:
        process.terminate()
        process.wait(10)
        log.close()


def chromium() -> tuple[str, str]:
    """Paths of the browser and its driver, or a skip; in automatic runs they must be there."""
    browser, driver = shutil.which("chromium") or shutil.which("google-chrome"), shutil.which("chromedriver")
    if browser and driver:
        return browser, driver
    reason = "chromium and chromedriver are not installed"
    pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)


@pytest.fixture(scope="session")
def gear_folder(tmp_path_factory) -> Path:
    """A Gaussian field of rendered gears at 128 px, and examples of them."""
    from conftest import last_model

    from fmcore.data.rendered import RenderSettings, write_dataset

    root = tmp_path_factory.mktemp("embedded")
    for _ in write_dataset(
        root / "examples", RenderSettings(categories=("gear",), train=24, test_good=1, test_per_defect=1)
    ):
        pass
    paths = sorted((root / "examples" / "gear" / "train" / "good").iterdir())
    model = last_model({"gear": paths}, view={"size": 128}, paths={})
    model.save(root / "gaussian")
    return root


@pytest.fixture(scope="session")
def gear_url(gear_folder, tmp_path_factory):
    """An app of that model alone."""
    with running_app(gear_folder, tmp_path_factory.mktemp("app")) as address:
        yield address


@pytest.fixture(scope="session")
def chrome(tmp_path_factory):
    """One browser for all tests: starting it takes longer than most of them."""
    browser, driver = chromium()
    from selenium.webdriver import Chrome, ChromeOptions
    from selenium.webdriver.chrome.service import Service

    options = ChromeOptions()
    options.binary_location = browser
    profile = tmp_path_factory.mktemp("profile")
    for flag in (*FLAGS, f"--user-data-dir={profile}", "--window-size=1280,1000"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    window = Chrome(options=options, service=Service(driver))
    try:
        yield window
    finally:
        window.quit()


@pytest.fixture
def window(chrome, tmp_path):
    """The browser at a laptop's size; what it shows last is kept for whoever looks for a failure."""
    yield chrome
    chrome.save_screenshot(str(tmp_path / "last.png"))
    chrome.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


@pytest.fixture
def page(window, gear_url):
    """The app, freshly opened, with its first example scored."""
    go_to(window, gear_url)
    wait(window, "ready")
    return window


@pytest.fixture
def seen(window, gear_url):
    """As `page`, but as an earlier test left it where that is an example's result: for tests that only look."""
    kept = "return document.querySelector('.fm')?.dataset.state === 'ready' && location.origin === arguments[0]"
    named = "return document.querySelector('.fm .named')?.textContent.startsWith('Example')"
    inspect = "return document.querySelector('button[role=tab]')?.getAttribute('aria-selected') === 'true'"
    if not (script(window, kept, gear_url) and script(window, named) and script(window, inspect)):
        go_to(window, gear_url)
        wait(window, "ready")
    return window


def go_to(page, address: str) -> None:
    """Open an address; what an earlier page says as it is left is not taken for an error of the next one."""
    page.get("about:blank")
    page.get_log("browser")
    page.get(address)


def script(page, code: str, *arguments):
    return page.execute_script(code, *arguments)


def state(page) -> str | None:
    return script(page, "return document.querySelector('.fm')?.dataset.state")


def wait(page, wanted: str, seconds: float = 40) -> None:
    until(lambda: state(page) == wanted, f"state '{wanted}'", seconds)


def until(condition, what: str, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what} was not reached in {seconds} s"
        time.sleep(0.01)


def no_errors(page) -> None:
    assert [e for e in page.get_log("browser") if e["level"] == "SEVERE"] == []


# Pressed in one go, and until it is selected: the tabs are drawn anew while the page loads, which would lose a press.
PRESS_TAB = """
const tab = [...document.querySelectorAll('button[role=tab]')].find(b => b.textContent.trim() === arguments[0]);
if (tab?.getAttribute('aria-selected') === 'true') return true;
tab?.click();
return false;
"""


def press_tab(page, name: str) -> None:
    until(lambda: script(page, PRESS_TAB, name), f"the tab {name}", 40)


def text(page, selector: str) -> str:
    return page.find_element("css selector", selector).text


def upload(page, *paths: Path, to: str = "#files") -> None:
    page.find_element("css selector", f"{to} input[type=file]").send_keys("\n".join(map(str, paths)))


def upload_and_wait(page, path: Path) -> None:
    # The first message names the new file, so the result that is already there is not taken for the new one.
    script(page, "document.querySelector('.fm').dataset.state = 'asked'")
    upload(page, path)
    wait(page, "ready")


def set_number(page, index: int, value: int) -> None:
    """Open the settings, and write into the number box of their slider of this index."""
    page.find_element("css selector", "#settings button").click()
    boxes = "#settings input[type=number]"
    until(lambda: page.find_elements("css selector", boxes), "the settings")
    box = page.find_elements("css selector", boxes)[index]
    box.clear()
    box.send_keys(str(value))
    box.send_keys("\ue004")  # tab


# Moves a slider as a finger does and returns how long the repaint took, with the maps before and after.
SCRUB = """
const [selector, value, canvas] = arguments;
const slider = document.querySelector(selector), painted = document.querySelector(canvas);
const before = painted.toDataURL(), requests = performance.getEntriesByType('resource').length;
const start = performance.now();
slider.value = value;
slider.dispatchEvent(new Event('input', {bubbles: true}));
painted.getContext('2d').getImageData(0, 0, 1, 1);  // waits for the drawing
const took = performance.now() - start;
return [took, before !== painted.toDataURL(), performance.getEntriesByType('resource').length - requests];
"""


def scrub(page, selector: str, value: int, canvas: str) -> float:
    took, changed, requests = script(page, SCRUB, selector, value, canvas)
    assert changed and requests == 0
    return took


def show_at(page, width: int, scheme: str) -> None:
    """Make the window that of a phone or a desktop, and the visitor's preference light or dark."""
    metrics = {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": width < 600}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    page.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    )
    # Two frames: until then the page is as wide as before.
    page.execute_async_script("const done = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(done))")
    until(lambda: script(page, "return innerWidth") == width, "the width")


LOOKS = [(width, scheme) for scheme in ("light", "dark") for width in (1920, 1280, 390)]


AXE = """
const done = arguments[0];
axe.run({resultTypes: ['violations']}).then(({violations}) => done(violations
  .filter(one => ['serious', 'critical'].includes(one.impact))
  .map(one => [one.id, one.help, one.nodes.slice(0, 4).map(node => node.html.slice(0, 120))])));
"""


def assert_accessible(page) -> None:
    """No violation that axe calls serious or critical, in what shows now."""
    from axe_core_python.selenium import Axe

    if not script(page, "return !!window.axe"):
        script(page, Axe().axe_script)
    serious = page.execute_async_script(AXE)
    if serious:  # colours that are just changing are not those to be judged
        time.sleep(1)
        serious = page.execute_async_script(AXE)
    assert not serious, "\n".join(map(str, serious))
