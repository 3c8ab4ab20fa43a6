"""Models to and from the Hub, of which a stand-in answers on this machine: round trips, cards, errors."""

from __future__ import annotations

import json
import pickle
import socket
import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT, assert_one_sentence, blob_pictures, draw_blob, last_model
from hub_stand_in import TOKEN, hub_stand_in
from huggingface_hub import ModelCard, constants

from fmcore.detector.hub import SAID, download
from fmcore.detector.model import FILE, Model, load_model, read_info
from fmcore.errors import ModelError
from fmcore.evaluation.metrics import NAMES

PICTURE = draw_blob(300, defect=True)[0]
ID = "user/blobs"


@pytest.fixture
def point_to(monkeypatch, tmp_path):
    """Let huggingface_hub take another address for the Hub's, with an empty cache and without Xet's own protocol."""

    def point(url: str) -> None:
        monkeypatch.setattr(constants, "ENDPOINT", url)
        template = url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setenv("HF_TOKEN", TOKEN)

    return point


@pytest.fixture
def hub(point_to):
    with hub_stand_in() as running:
        point_to(running.url)
        yield running


@pytest.fixture
def pushed(hub, gaussian_model):
    gaussian_model.push_to_hub(ID)
    return hub


def refusal(ask, *parts: str) -> str:
    with pytest.raises(ModelError) as caught:
        ask()
    assert_one_sentence(caught.value, *parts)
    return str(caught.value)


def test_a_pushed_model_scores_to_the_last_bit_when_it_is_fetched(hub, gaussian_model):
    address = gaussian_model.push_to_hub(ID)
    assert address == f"{hub.url}/{ID}/commit/{hub.files(ID)[0]}"
    for fetched in (Model.from_pretrained(ID), Model.from_pretrained(ID, revision=hub.files(ID)[0])):
        first, second = gaussian_model.score(PICTURE), fetched.score(PICTURE)
        assert (first.score, first.threshold) == (second.score, second.threshold) and first.score > 0
        np.testing.assert_array_equal(first.heatmap, second.heatmap)
    names = {FILE, "weights-00.safetensors"}
    assert set(hub.files(ID)[1]) == {".gitattributes", "README.md", *names} and hub.fetched() == names


def test_only_json_and_safetensors_are_ever_fetched(pushed):
    class Trap:
        def __reduce__(self):
            return (pytest.fail, ("unpickled",))

    trap = pickle.dumps(Trap())
    names = ("model.pkl", "weights-01.bin", "pytorch_model.bin", "config.json", "modeling.py", "weights/model.json")
    pushed.commit(ID, pushed.files(ID)[1] | dict.fromkeys(names, trap))
    assert Model.from_pretrained(ID).score(PICTURE).score > 0
    assert pushed.fetched() == {FILE, "weights-00.safetensors"}
    assert sorted(path.name for path in download(ID).iterdir()) == [FILE, "weights-00.safetensors"]


def test_a_revision_stays_what_it_was(pushed, gaussian_model):
    before, _ = pushed.files(ID)
    other = last_model({"blob": blob_pictures(range(20, 30))})
    other.push_to_hub(ID)
    scores = [Model.from_pretrained(ID, revision=at).score(PICTURE).score for at in (before, None)]
    assert scores == [model.score(PICTURE).score for model in (gaussian_model, other)] and scores[0] != scores[1]


def test_weights_of_a_larger_model_leave_the_repository(pushed, gaussian_model):
    pushed.commit(ID, pushed.files(ID)[1] | {"weights-07.safetensors": b"old", "notes.txt": b"kept"})
    gaussian_model.push_to_hub(ID)
    files = pushed.files(ID)[1]
    assert set(files) == {".gitattributes", "README.md", "notes.txt", FILE, "weights-00.safetensors"}
    assert Model.from_pretrained(ID).score(PICTURE).score == gaussian_model.score(PICTURE).score


def test_a_folder_goes_before_an_id(hub, tmp_path, monkeypatch, gaussian_model):
    gaussian_model.save_pretrained(tmp_path / "user" / "blobs")
    monkeypatch.chdir(tmp_path)
    assert Model.from_pretrained(ID).score(PICTURE).score == gaussian_model.score(PICTURE).score and not hub.asked
    assert load_model(ID).info.files == read_info(ID).files


def test_what_was_fetched_is_there_without_a_network(pushed, gaussian_model):
    assert Model.from_pretrained(ID).categories == ("blob",)
    pushed.down = True
    assert Model.from_pretrained(ID).score(PICTURE).score == gaussian_model.score(PICTURE).score


def test_what_cannot_be_fetched_is_said_in_a_sentence(pushed, point_to):
    refusal(lambda: Model.from_pretrained("user/gone"), "'user/gone' is not on the Hub")
    refusal(lambda: Model.from_pretrained(ID, revision="a1b2"), "no such revision")
    refusal(lambda: Model.from_pretrained("models/of/mine"), "neither a folder nor an id", "'models/of/mine'")
    pushed.commit("user/other", {"README.md": b"no model", "weights.bin": b""})
    refusal(lambda: Model.from_pretrained("user/other"), "'user/other'", "holds no model", FILE)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    point_to(f"http://127.0.0.1:{port}")
    refusal(lambda: Model.from_pretrained(ID), f"'{ID}'", "check the network")


@pytest.mark.parametrize("name", [FILE, "weights-00.safetensors"])
def test_a_damaged_model_is_named_by_its_id(pushed, tmp_path, name):
    files = pushed.files(ID)[1]
    pushed.commit(ID, files | {name: files[name][: len(files[name]) // 2]})
    said = refusal(lambda: Model.from_pretrained(ID), f"'{ID}/{name}'", "damaged")
    assert str(tmp_path) not in said


def test_a_push_without_the_right_to_is_said_in_a_sentence(hub, gaussian_model, tmp_path):
    refusal(lambda: gaussian_model.push_to_hub(ID, token="hf_other"), ID, "401", "log in")
    refusal(lambda: gaussian_model.push_to_hub("no id/at all/"), "neither a folder nor an id")
    (tmp_path / "list.json").write_text("[1]")
    for wrong in (tmp_path / "list.json", tmp_path / "gone.json"):
        asked = len(hub.asked)
        card = {"evaluation": wrong}
        refusal(lambda card=card: gaussian_model.push_to_hub(ID, model_card_kwargs=card), wrong.name, "no figures")
        assert len(hub.asked) == asked  # nothing was begun
    hub.down = True
    refusal(lambda: gaussian_model.push_to_hub(ID), ID, "503")


def test_the_card_says_what_the_model_is(hub, gaussian_model):
    gaussian_model.push_to_hub(ID)
    card = ModelCard(hub.files(ID)[1]["README.md"].decode())
    assert card.data.license == "mit" and card.data.tags == ["anomaly-detection"]
    threshold = gaussian_model.threshold()
    row = next(line for line in card.text.splitlines() if line.startswith("| blob |"))
    for part in ("| 12 |", f"{threshold.value:.4g}", "20 %", threshold.origin, f"{threshold.held_out} of them"):
        assert part in row, row
    assert f'from_pretrained("{ID}")' in card.text and "None were given" in card.text and "Limits" in card.text
    for settings in (gaussian_model.info.paths, gaussian_model.info.heat):
        assert str(settings.model_dump()) in card.text
    assert "EfficientNet" not in card.text  # pixels have no encoder


def test_the_card_has_the_figures_of_an_evaluation(call, tmp_path, category_folder, gaussian_model):
    gaussian_model.save(tmp_path / "model")
    code, *_ = call("evaluate", tmp_path / "model", category_folder, "--json", tmp_path / "figures.json")
    found = json.loads((tmp_path / "figures.json").read_text())
    assert code == 0 and set(NAMES) <= set(found)
    card = {"evaluation": tmp_path / "figures.json", "license": "cc-by-4.0"}
    gaussian_model.save_pretrained(tmp_path / "card", model_card_kwargs=card)
    text = (tmp_path / "card" / "README.md").read_text()
    figures = " | ".join(f"{found[name]:.3f}" for name in ("image_auroc", "pixel_auroc", "aupro"))
    assert f"| blob | 4, 4 | {figures} | {found['false_alarms']} | {found['misses']} |" in text
    assert "license: cc-by-4.0" in text and "None were given" not in text


def test_the_card_of_several_categories_without_a_threshold(tmp_path):
    blobs = blob_pictures(range(8))
    small = {"encoder": "efficientnet-lite0", "view": {"resolution": 64, "places": 16}, "paths": {}}
    model = last_model({"a": blobs, "b": blobs}, **small)
    rows = {name: {"category": name, "n_good": 3, "n_defective": 0, "image_auroc": None} for name in "ab"}
    (tmp_path / "two.json").write_text(json.dumps({"category": "mean", "categories": rows}))
    model.save_pretrained(tmp_path / "model", model_card_kwargs={"evaluation": tmp_path / "two.json"})
    text = (tmp_path / "model" / "README.md").read_text()
    for name in "ab":
        assert f"| {name} | 8 |" in text and f"| {name} | 3, 0 | n/a | n/a | n/a | n/a | n/a |" in text
    assert model.note("a") in text and "EfficientNet-lite0, is Apache-2.0" in text


def test_names_of_errors_are_those_of_the_library():
    from huggingface_hub import errors

    assert all(issubclass(getattr(errors, name), Exception) for name in SAID)


def test_a_fresh_process_fetches_from_the_endpoint_of_its_environment(pushed, gaussian_model, tmp_path):
    code = (
        "import sys; from fmcore.detector.model import Model; from PIL import Image; import numpy as np\n"
        f"print(repr(Model.from_pretrained('{ID}').score(np.load(sys.argv[1])).score))"
    )
    np.save(tmp_path / "picture.npy", PICTURE)
    environment = {"HF_ENDPOINT": pushed.url, "HF_HOME": str(tmp_path / "home"), "OMP_NUM_THREADS": "1", "PATH": "/bin"}
    command = [sys.executable, "-c", code, str(tmp_path / "picture.npy")]
    said = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert said.returncode == 0, said.stderr
    assert float(said.stdout) == gaussian_model.score(PICTURE).score
