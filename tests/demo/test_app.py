"""The running app, asked as its programming interface is: equal scores, plain errors, own images, cancelling."""

from __future__ import annotations

import json
import re
import shutil
import time
import urllib.request
import zipfile
from pathlib import Path

import numpy as np
import pytest
from browsing import running_app
from conftest import ROOT, SIZE, assert_one_sentence, draw_blob, last_model, write_blobs
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image

import fmcore
from demo.common import features, messages
from fmcore.data.picture import read_picture
from fmcore.detector.fit import fit
from fmcore.detector.model import load_model
from fmcore.detector.score import judge, score_steps
from fmcore.detector.score import score as score_picture
from fmcore.mismatch import HeatSettings, Mismatch, image_score
from fmcore.training import TrainSettings

FORMS = ("a.png", "a.jpg", "a.bmp", "a.gif", "a.webp", "a.tif")


@pytest.fixture(scope="module")
def embedded(tmp_path_factory, gaussian_model, category_folder) -> Path:
    root = tmp_path_factory.mktemp("embedded")
    good = sorted((category_folder / "train" / "good").iterdir())
    options = {"options": {"widths": (16, 16)}, "training": TrainSettings(steps=3), "false_alarm_rate": 0.5}
    network = last_model({"blob": good}, field="unet", **options)
    for name, model in (("gaussian", gaussian_model), ("unet", network)):
        model.save(root / name)
    shutil.copytree(category_folder, root / "examples" / "blob")
    shutil.copytree(category_folder / "train" / "good", root / "good" / "blob")
    return root


@pytest.fixture(scope="module")
def app_folder(tmp_path_factory) -> Path:
    """Where the app has its uploads, and app.log."""
    return tmp_path_factory.mktemp("app")


@pytest.fixture(scope="module")
def url(embedded, app_folder):
    with running_app(embedded, app_folder) as address:
        yield address


@pytest.fixture
def client(url) -> Client:
    return Client(url, verbose=False)


def score(client, file, **options):
    options = {"model": "gaussian", "category": "blob"} | options
    return client.predict(None if file is None else handle_file(file), api_name="/score", **options)


def refusal(ask, *parts: str) -> None:
    with pytest.raises(AppError) as caught:
        ask()
    assert_one_sentence(caught.value, *parts)


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    """One picture in many forms, good and bad."""
    folder = tmp_path_factory.mktemp("files")
    pixels, _ = draw_blob(200, size=80, defect=True)
    rgb = Image.fromarray(pixels)
    for name in FORMS:
        rgb.save(folder / name)
    rgb.convert("L").save(folder / "gray.png")
    Image.fromarray(np.dstack([pixels, pixels[..., 0]])).save(folder / "alpha.png")
    Image.fromarray(pixels[..., 0].astype(np.uint16) * 257).save(folder / "deep.png")
    (folder / "cut.png").write_bytes((folder / "a.png").read_bytes()[:900])
    (folder / "empty.png").write_bytes(b"")
    (folder / "text.png").write_text("this is no image")
    Image.new("1", (13000, 13000)).save(folder / "huge.png")
    return folder


@pytest.mark.parametrize("name", [*FORMS, "gray.png", "alpha.png", "deep.png"])
def test_score_equals_fmcore_to_the_last_bit(client, embedded, files, name):
    for model in ("gaussian", "unet"):
        expected = score_picture(load_model(embedded / model), read_picture(files / name))
        answer = score(client, files / name, model=model)
        assert answer["score"] == expected.score
        assert answer["anomalous"] == expected.anomalous
        # All of this one is unlike blobs, which is said.
        assert answer["note"] == ("Most of it is unlike this category." if name == "alpha.png" else expected.note)


def test_the_model_on_feature_maps_is_that_of_its_good_pictures(client, embedded, files):
    good = sorted((embedded / "good" / "blob").iterdir())
    *_, record = fit({"blob": good}, features.SETTINGS)
    answer = client.predict(handle_file(files / "a.png"), category="blob", heatmap=True, api_name="/score")
    expected = score_picture(record.model, files / "a.png")
    assert answer["score"] == expected.score and np.array(answer["heatmap"]).shape == record.model.view().shape[1:]
    # Its only category may be left out.
    assert client.predict(handle_file(files / "a.png"), api_name="/score")["score"] == expected.score
    refusal(lambda: client.predict(None, 0, "features", "bottle", api_name="/score"), "no category 'bottle'")


def test_settings_reach_fmcore_and_end_the_verdict(client, embedded, files):
    model, picture = load_model(embedded / "gaussian"), read_picture(files / "a.png")
    paths = model.info.paths.replace(paths=3, times=5)
    heat = HeatSettings(aggregator="percentile", alpha=0.5, exponent=1.0, smoothing=0.5)
    expected = judge(model, Mismatch.collect(score_steps(model, picture, paths)), paths, heat)
    options = {"paths": 3, "times": 5}
    options |= {"aggregator": "percentile", "alpha": 0.5, "exponent": 1, "smoothing": 0.5}
    answer = score(client, files / "a.png", **options)
    assert answer["score"] == expected.score
    assert answer["anomalous"] is None and "other settings" in answer["note"]


def test_examples_are_scored_by_number(client, embedded):
    path = embedded / "examples" / "blob" / "test" / "square" / "001.png"
    assert (
        score(client, None, example=1)["score"]
        == score_picture(load_model(embedded / "gaussian"), read_picture(path)).score
    )


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("cut.png", "damaged or cut off"),
        ("empty.png", "empty"),
        ("text.png", "not an image"),
        ("huge.png", "13000 x 13000"),
    ],
)
def test_bad_files_end_in_one_sentence(client, files, name, part):
    refusal(lambda: score(client, files / name), name, part)


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"paths": 3.7}, "3.7"),
        ({"paths": "four"}, "four"),
        ({"times": 0}, "greater"),
        ({"times": 49}, "at most 48"),
        ({"paths": 17}, "at most 16"),
        ({"exponent": "2"}, "exponent"),
        ({"exponent": 99}, "exponent"),
        ({"smoothing": -1}, "smoothing"),
        ({"aggregator": "percentile", "alpha": [1]}, "alpha"),
        ({"aggregator": "max"}, "aggregator"),
        ({"model": "resnet"}, "no model 'resnet'"),
        ({"model": "../gaussian"}, "no model"),
        ({"model": {"a": 1}}, "must be names"),
        ({"category": "bottle"}, "no category 'bottle'"),
        ({"model": "own"}, "fitted to your images"),
    ],
)
def test_bad_settings_end_in_one_sentence(client, files, options, part):
    refusal(lambda: score(client, files / "a.png", **options), part)


def test_heat_map_comes_when_asked_for(client, embedded, files):
    expected = score_picture(load_model(embedded / "gaussian"), files / "gray.png")
    heatmap = np.array(score(client, files / "gray.png", heatmap=True)["heatmap"], np.float32)
    assert heatmap.shape == (SIZE, SIZE) and image_score(heatmap) == expected.score
    assert score(client, files / "gray.png")["heatmap"] is None


def test_a_batch_is_scored_with_labels_and_a_bad_file_is_skipped(client, embedded, files, tmp_path):
    good = write_blobs(tmp_path, range(100, 102))
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for path in good:
            archive.write(path, f"good/{path.name}")
        archive.write(files / "a.png", "hole/a.png")
        archive.write(files / "cut.png", "hole/cut.png")
    given = [handle_file(tmp_path / "a.zip"), handle_file(files / "gray.png"), handle_file(files / "text.png")]
    answer = client.predict(given, "gaussian", api_name="/score_batch")
    model = load_model(embedded / "gaussian")
    expected = {
        name: model.score(path).score
        for name, path in (("hole/a.png", files / "a.png"), ("gray.png", files / "gray.png"))
    }
    scores = {one["name"]: one["score"] for one in answer["pictures"]}
    assert len(scores) == 4 and expected.items() <= scores.items()
    assert list(scores.values()) == sorted(scores.values(), reverse=True)
    assert answer["image_auroc"] == 1.0 and answer["threshold"] == model.threshold().value
    assert len(answer["skipped"]) == 2 and "cut.png" in answer["skipped"][0] and "text.png" in answer["skipped"][1]
    refusal(lambda: client.predict([], api_name="/score_batch"), "No file")


def test_a_score_is_explained_by_place_and_time(client, embedded, files):
    model = load_model(embedded / "gaussian")
    answer = client.predict(handle_file(files / "a.png"), model="gaussian", api_name="/explain")
    result = score_picture(model, files / "a.png")
    assert (answer["score"], answer["anomalous"], answer["threshold"]) == (result.score, True, result.threshold)
    regions = result.regions
    assert answer["regions"][0]["box"] == list(regions[0].box) and answer["regions"][0]["peak"] == regions[0].peak
    assert answer["marked_area"] == 100 * result.mask.mean()
    row, column = answer["peak"]
    heatmap = np.array(answer["heatmap"], np.float32)
    assert heatmap[row, column] == heatmap.max() and image_score(heatmap) == result.score
    mismatch = Mismatch.collect(score_steps(model, read_picture(files / "a.png"))).per_time(model.info.heat)
    np.testing.assert_allclose(answer["mismatch"], mismatch[:, row, column])
    assert answer["upper"] == model.normal_ranges["blob"].upper[:, row, column].tolist() and len(answer["times"]) == 3


def test_plain_http_does_without_a_client(url, files, tmp_path):
    """As curl does: upload, call, read the stream of events."""
    boundary, body = "b0undary", b""
    for path in (files / "a.png", *write_blobs(tmp_path, range(19), size=80)):
        body += f'--{boundary}\r\nContent-Disposition: form-data; name="files"; filename="{path.name}"'.encode()
        body += b"\r\n\r\n" + path.read_bytes() + b"\r\n"
    body += f"--{boundary}--\r\n".encode()
    kind = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    paths = json.load(urllib.request.urlopen(urllib.request.Request(f"{url}/gradio_api/upload", body, kind)))
    file, *good = ({"path": path, "meta": {"_type": "gradio.FileData"}} for path in paths)
    for endpoint, given in (
        ("score", [file, None, "gaussian", *[None] * 7, False]),
        ("explain", [file, None, "gaussian", None]),
        ("score_batch", [[file], "gaussian", None]),
        ("fit", [good]),
    ):
        call, kind = f"{url}/gradio_api/call/{endpoint}", {"Content-Type": "application/json"}
        request = urllib.request.Request(call, json.dumps({"data": given}).encode(), kind)
        event = json.load(urllib.request.urlopen(request))["event_id"]
        stream = urllib.request.urlopen(f"{call}/{event}", timeout=120).read().decode()
        (answer,) = json.loads(stream.split("event: complete\ndata: ")[1].splitlines()[0])
        assert answer["threshold"] > 0 and answer.get("category", "blob") == "blob"
    assert len(answer["model"]) > 16 and "Fitted to 19 pictures" in answer["said"]


def test_health_says_that_it_is_well(url):
    with urllib.request.urlopen(f"{url}/health") as answer:
        told = json.load(answer)
    assert (
        told["status"] == "ok" and told["waiting"] >= 0 and set(told["bytes_kept"]) == {"results", "models", "batches"}
    )


def test_the_lines_of_the_apps_readme_run(url, files, tmp_path, monkeypatch, capsys):
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "demo" / "README.md").read_text(), re.DOTALL)
    (tmp_path / "parts" / "new").mkdir(parents=True)
    shutil.copy(files / "a.png", tmp_path / "parts" / "new" / "017.png")
    monkeypatch.chdir(tmp_path)
    exec(code.replace("http://127.0.0.1:7860", url).replace('"gear"', '"blob"'), {})
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 4 and said[-1].endswith(" []")  # the client's greeting, and a line per endpoint


def test_nothing_of_a_visitor_is_logged(client, app_folder, files, tmp_path):
    for name in ("a.png", "cut.png"):
        shutil.copy(files / name, tmp_path / f"secret part {name}")
    assert score(client, tmp_path / "secret part a.png")["score"] > 0
    refusal(lambda: score(client, tmp_path / "secret part cut.png"), "secret part cut.png")
    refusal(lambda: client.predict([handle_file(tmp_path / "secret part a.png")], api_name="/fit"), "too few")
    log = (app_folder / "app.log").read_text()
    assert "secret" not in log and "POST" not in log


def test_endpoints_are_named_typed_and_documented(client):
    api = client.view_api(return_format="dict")["named_endpoints"]
    for name, types in {
        "/score": {"picture": "None | filepath", "example": "None | int", "paths": "None | int", "heatmap": "bool"},
        "/explain": {"picture": "None | filepath", "example": "None | int", "category": "None | str"},
        "/score_batch": {"pictures": "list[filepath]", "model": "str"},
        "/fit": {"pictures": "list[filepath]"},
        "/decompose": {"pictures": "None | list[filepath]", "samples": "int", "noise": "float"},
    }.items():
        found = {p["parameter_name"]: p["python_type"]["type"] for p in api[name]["parameters"]}
        assert types.items() <= found.items()
        assert "float" in api[name]["returns"][0]["python_type"]["type"]


@pytest.mark.parametrize("example", [8, -2, 1.5, "one", True, [0]])
def test_bad_example_ends_in_one_sentence(client, example):
    refusal(lambda: score(client, None, example=example), "no example")


def test_missing_file_ends_in_one_sentence(client):
    refusal(lambda: score(client, None), "upload an image")


FOREIGN = "/etc/passwd"


@pytest.mark.parametrize("meta", [{}, {"meta": {"_type": "gradio.FileData"}}])
@pytest.mark.parametrize(
    ("endpoint", "data"),
    [
        ("score", [{"path": FOREIGN}, None, "gaussian", "blob", *[None] * 6, False]),
        ("fit", [[{"path": FOREIGN}] * 5]),
        ("explain", [{"path": FOREIGN}, None, "gaussian", "blob"]),
        ("score_batch", [[{"path": FOREIGN}], "gaussian", "blob"]),
        ("fit_own", [[{"path": FOREIGN}] * 5]),
        ("decompose", ["blob", [{"path": FOREIGN}], 0, "gaussian", "noisy", 0.1, "picture", 4, 3, 0]),
    ],
)
def test_files_of_the_server_are_out_of_reach(url, endpoint, data, meta):
    """Sent as raw HTTP, because the client would upload its own file of that name instead."""
    for value in data:
        for file in value if isinstance(value, list) else [value]:
            if isinstance(file, dict):
                file |= meta
    api = json.load(urllib.request.urlopen(f"{url}/config"))
    index = next(d["id"] for d in api["dependencies"] if d["api_name"] == endpoint)
    body = json.dumps({"data": data, "fn_index": index, "session_hash": "raw"}).encode()
    join = urllib.request.Request(f"{url}/gradio_api/queue/join", body, {"Content-Type": "application/json"})
    urllib.request.urlopen(join).close()
    stream = urllib.request.urlopen(f"{url}/gradio_api/queue/data?session_hash=raw", timeout=20)
    last = next(line for line in stream if b"process_completed" in line)
    assert b'"success":false' in last and b"passwd' is" not in last


def inspect(client, paths, *, model="gaussian", k=2, t=3):
    settings = (model, "blob", k, t, "min", 0.25, 2.0, 2.0)
    return client.submit([handle_file(p) for p in paths], *settings, api_name="/inspect")


def test_one_bad_file_does_not_stop_the_others(client, files):
    answers = list(inspect(client, [files / "text.png", files / "a.png"]))
    texts = [message for message, *_ in answers if isinstance(message, str)]
    head, arrays = messages.unpack(texts[-1])
    notice = answers[-1][-1]
    assert head["kind"] == "partial" and "a.png" in head["name"] and arrays["running"].shape == (1, SIZE, SIZE)
    assert "Skipped" in notice and "text.png" in notice
    *_, last = inspect(client, [files / "a.png", files / "text.png"])  # the bad one after all good ones
    assert "Skipped" in last[-1] and "text.png" in last[-1]
    refusal(lambda: inspect(client, [files / "text.png", files / "empty.png"]).result(), "text.png")


def test_too_many_files_are_refused(client, files):
    refusal(lambda: inspect(client, [files / "a.png"] * 13).result(), "at most 12")


def test_anytime_map_comes_first_and_cancel_frees_the_model(client, files):
    job = inspect(client, [files / "a.png"] * 12, model="unet", k=16, t=48)
    while not job.outputs():
        time.sleep(0.01)
        assert not job.done()
    assert messages.unpack(job.outputs()[0][0])[0]["done"] == 1
    job.cancel()
    started = time.monotonic()
    assert score(client, files / "a.png")["score"] > 0
    assert time.monotonic() - started < 5


def test_own_images_are_fitted_and_used_at_once(client, files, tmp_path):
    paths = write_blobs(tmp_path, range(6), size=80)
    *_, sentence = client.submit([handle_file(p) for p in paths], api_name="/fit_own")
    assert "Fitted to 6 pictures in" in sentence and "too few" in sentence
    texts = [answer[0] for answer in inspect(client, [files / "a.png"], model="own", k=0) if isinstance(answer[0], str)]
    assert messages.unpack(texts[-1])[0]["name"] == "a.png"
    # Another visitor does not see it.
    refusal(lambda: inspect(Client(client.src, verbose=False), [files / "a.png"], model="own").result(), "fitted to")


def test_scoring_does_not_wait_for_a_fit(client, files, tmp_path):
    job = client.submit([handle_file(p) for p in write_blobs(tmp_path, range(40), size=80)], api_name="/fit_own")
    while not job.outputs():
        time.sleep(0.01)
        assert not job.done()
    assert score(Client(client.src, verbose=False), files / "a.png")["score"] > 0
    assert not job.done()
    job.cancel()


def test_own_images_are_fitted_through_the_interface(client, files, tmp_path):
    paths = write_blobs(tmp_path, range(19), size=80)
    fitted = client.predict([handle_file(p) for p in paths], api_name="/fit")
    expected = score_picture(fmcore.fit(paths), files / "a.png")
    answer = score(client, files / "a.png", model=fitted["model"], category=None)
    assert (answer["score"], answer["threshold"]) == (expected.score, expected.threshold) and answer["anomalous"]
    assert fitted["threshold"] == expected.threshold and fitted["unlike"] == [] and "Threshold" in fitted["said"]
    refusal(lambda: client.predict([], api_name="/fit"), "no good pictures yet")


def test_only_the_chosen_endpoints_are_documented(client):
    named = ["/score", "/explain", "/fit", "/score_batch", "/decompose"]
    assert list(client.view_api(return_format="dict")["named_endpoints"]) == named


def test_app_starts_without_embedded_models(tmp_path):
    with running_app(tmp_path, tmp_path) as url:
        refusal(lambda: score(Client(url, verbose=False), None, example=0), "none is installed")
