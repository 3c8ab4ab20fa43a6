"""Models of the Hub in the app: those on its list are fetched when first chosen, and nothing else ever is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from browsing import go_to, no_errors, press_tab, running_app, script, state, text, until, upload, wait
from conftest import assert_one_sentence, blob_pictures, last_model, write_blobs
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from hub_stand_in import hub_stand_in

from demo.common import embedded, hub, own
from fmcore.detector.model import FILE
from fmcore.errors import ModelError, SettingsError

ONE, PINNED, GONE, FOREIGN, SECRET = "user/one", "user/two", "user/gone", "user/foreign", "user/secret"


def content(model, folder: Path) -> dict[str, bytes]:
    """The files of a model as a repository has them."""
    model.save_pretrained(folder)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def models(gaussian_model):
    """By name: of one category, of two, and of other pictures."""
    pictures = blob_pictures(range(20, 32))
    two = last_model({"plate": pictures, "screw": pictures[::-1]}, false_alarm_rate=0.2)
    return {ONE: two, PINNED: gaussian_model, "later": last_model({"blob": pictures})}


@pytest.fixture(scope="module")
def stand_in(models, tmp_path_factory):
    """A Hub with what is allowed, what is allowed and not there, what cannot be used here, and what is not allowed."""
    root = tmp_path_factory.mktemp("repositories")
    with hub_stand_in() as running:
        running.commit(ONE, content(models[ONE], root / "one"))
        first = running.commit(PINNED, content(models[PINNED], root / "two"))
        running.commit(PINNED, content(models["later"], root / "later"))
        foreign = content(models[PINNED], root / "foreign")
        info = json.loads(foreign[FILE])
        info["categories"]["blob"]["view"]["config"]["encoder"] = "somebody/backbone"
        running.commit(FOREIGN, foreign | {FILE: json.dumps(info).encode()})
        running.commit(SECRET, content(models["later"], root / "secret"))
        running.allowed = f"{ONE}, {PINNED}@{first},{GONE},{FOREIGN},"
        yield running


@pytest.fixture(scope="module")
def url(stand_in, blob_app, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FM_MODELS", stand_in.allowed)
        patch.setenv("HF_ENDPOINT", stand_in.url)
        patch.setenv("HF_HOME", str(tmp_path_factory.mktemp("home")))
        with running_app(blob_app, tmp_path_factory.mktemp("app")) as address:
            yield address


@pytest.fixture(scope="module")
def client(url) -> Client:
    return Client(url, verbose=False)


@pytest.fixture(scope="module")
def picture(tmp_path_factory) -> Path:
    return write_blobs(tmp_path_factory.mktemp("picture"), range(90, 91), size=80, defect=True)[0]


def refusal(ask, *parts: str) -> None:
    with pytest.raises(AppError) as caught:
        ask()
    assert_one_sentence(caught.value, *parts)


def test_a_model_of_the_list_scores_to_the_last_bit_and_is_fetched_once(client, stand_in, models, picture):
    pinned = f"{PINNED}@{stand_in.repos[PINNED][0][0]}"
    for name, category, model in ((ONE, "screw", models[ONE]), (pinned, None, models[PINNED])):
        expected = model.score(picture, category)
        for endpoint in ("/score", "/explain"):
            answer = client.predict(handle_file(picture), model=name, category=category, api_name=endpoint)
            assert (answer["score"], answer["threshold"]) == (expected.score, expected.threshold)
    answer = client.predict([handle_file(picture)], ONE, "plate", api_name="/score_batch")
    assert answer["pictures"][0]["score"] == models[ONE].score(picture, "plate").score
    weights = [one for one in stand_in.asked if one.startswith("GET") and one.endswith("weights-00.safetensors")]
    assert len(weights) == len(set(weights)) == 2
    assert stand_in.fetched() <= {FILE, "weights-00.safetensors"}


def test_nothing_outside_the_list_is_asked_for(client, stand_in, picture):
    sha = stand_in.repos[PINNED][1][0]
    for name in (SECRET, PINNED, f"{PINNED}@{sha}", f"{ONE}@main", f"{ONE}/", "https://huggingface.co/user/secret"):
        refusal(lambda name=name: client.predict(handle_file(picture), model=name, api_name="/score"), "no model", ONE)
    assert not any(SECRET in one or sha in one for one in stand_in.asked)


def test_what_cannot_be_used_is_said_in_a_sentence(client, picture):
    def ask(**wish):
        return lambda: client.predict(handle_file(picture), api_name="/score", **wish)

    refusal(ask(model=GONE), f"'{GONE}' is not on the Hub")
    refusal(ask(model=FOREIGN), "another encoder")
    refusal(ask(model=ONE), "several categories: choose one of plate, screw")
    refusal(ask(model=ONE, category="gear"), "no category 'gear'")


def choose(page, name: str, menu: str = "#model") -> None:
    page.find_element("css selector", f"{menu} input").click()
    items = "ul[role=listbox] li"

    def found():
        return [item for item in page.find_elements("css selector", items) if item.text.strip().endswith(name)]

    until(found, f"'{name}' in the menu")
    found()[0].click()


def value(page, menu: str) -> str:
    return script(page, f"return document.querySelector('{menu} input').value")


def test_a_model_is_chosen_in_the_menu_and_one_that_fails_leaves_the_page_as_it_was(window, url, models, picture):
    go_to(window, url)
    wait(window, "ready")
    first, before = value(window, "#model"), text(window, ".figures")
    choose(window, GONE)
    until(lambda: f"'{GONE}' is not on the Hub" in text(window, "body"), "the message")
    until(lambda: value(window, "#model") == first, "the menu as it was")
    assert state(window) == "ready" and text(window, ".figures") == before and value(window, "#category") == "blob"
    choose(window, ONE)
    until(lambda: "The model is here" in text(window, ".note"), "what to do next")
    assert (value(window, "#model"), value(window, "#category")) == (ONE, "plate")
    assert not window.find_elements("css selector", "#examples")
    upload(window, picture)
    wait(window, "ready")
    assert float(script(window, "return document.querySelector('.fm').dataset.score")) == pytest.approx(
        models[ONE].score(picture, "plate").score
    )
    score = "return +document.querySelector('.fm').dataset.score"
    for category in ("screw", "plate", "screw"):  # no result is lost, however soon it comes after another
        choose(window, category, "#category")
        expected = pytest.approx(models[ONE].score(picture, category).score)
        until(lambda wanted=expected: script(window, score) == wanted, f"the score as {category}")
    window.find_element("css selector", "#files button[aria-label=Clear]").click()
    until(lambda: state(window) == "empty", "the empty screen")
    choose(window, first)
    until(lambda: text(window, ".figures") == before, "the example that the page opened with")
    assert len(window.find_elements("css selector", "#examples button.thumbnail-item")) == 8
    no_errors(window)


def test_a_batch_is_scored_by_a_model_of_the_list(window, url, picture):
    go_to(window, url)
    press_tab(window, "Batch")
    until(lambda: window.find_elements("css selector", "#batch-files input[type=file]"), "the tab")
    choose(window, ONE, "#batch-model")
    until(lambda: value(window, "#batch-category") == "plate", "the categories of the model")
    until(lambda: "Drop pictures" in text(window, "#batch"), "an empty screen, as the model brings no examples")
    upload(window, picture, to="#batch-files")
    until(lambda: f"{ONE}, plate" in text(window, "#batch"), "the batch")


@pytest.mark.parametrize("text_", ["own", "gpt2", "user/one@", "user/one two", "https://a.b/user/one", "../a", "a/b/c"])
def test_a_list_that_cannot_be_is_said_at_once(monkeypatch, text_):
    monkeypatch.setenv("FM_MODELS", f"user/fine,{text_}")
    with pytest.raises(SettingsError) as caught:
        own.menu()
    assert_one_sentence(caught.value, "FM_MODELS", text_, "user/name@revision")


def test_the_menu_holds_what_is_allowed_between_what_comes_with_the_app_and_the_visitors_own(monkeypatch, blob_app):
    monkeypatch.delenv("FM_MODELS", raising=False)
    assert [name for _, name in own.menu()] == ["gaussian", "own"] and not own.is_of_hub("user/one")
    monkeypatch.setenv("FM_MODELS", " user/one,, user/two@abc/d , user/one")
    names = [("user/one", "user/one"), ("user/two@abc/d", "user/two@abc/d")]
    assert own.menu() == [(embedded.LABELS["gaussian"], "gaussian"), *names, (own.OWN_LABEL, "own")]


def test_one_that_failed_is_tried_again_and_one_that_is_there_is_kept(monkeypatch, gaussian_model):
    monkeypatch.setenv("FM_MODELS", "user/later")
    answers = [ModelError("'user/later' is not on the Hub."), gaussian_model]

    def load(name):
        if isinstance(answer := answers.pop(0), Exception):
            raise answer
        return answer

    monkeypatch.setattr(hub, "_load", load)
    with pytest.raises(ModelError):
        list(hub.progress("user/later"))
    assert hub.info("user/later") is None and own.categories("user/later") == []
    for _ in range(2):
        assert own.find_model("user/later", None, None) == (gaussian_model, "blob")
    monkeypatch.setattr(hub, "_LOADS", {})  # it made room for others: what it says of itself is still known
    assert own.categories("user/later") == ["blob"] and own.settings("user/later", None)[0] == gaussian_model.info.paths
