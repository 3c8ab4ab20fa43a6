"""The running app, asked as its programming interface is: equal scores, plain errors, own images, cancelling."""

from __future__ import annotations

import json
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

import numpy as np
import pytest
from conftest import ROOT, SIZE, assert_one_sentence, draw_blob, last_model, write_blobs
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image

from demo import inspection, own, viewer
from fmcore.data.folders import load_images, split_loaded
from fmcore.data.picture import read_picture
from fmcore.detector.model import load_model, save_model
from fmcore.detector.score import judge, score_picture, score_steps
from fmcore.mismatch.mismatch import HeatSettings, Mismatch, PathSettings

FORMS = ("a.png", "a.jpg", "a.bmp", "a.gif", "a.webp", "a.tif")
STARTED_WITHIN = 30  # seconds; about 4 on two idle cores


@contextmanager
def running_app(embedded: Path, temporary: Path) -> Iterator[str]:
    """Address of an app of its own, started as a user would, with other embedded models."""
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
        yield url
    finally:
        process.terminate()
        process.wait(10)
        log.close()


@pytest.fixture(scope="module")
def embedded(tmp_path_factory, gaussian_model, category_folder) -> Path:
    root = tmp_path_factory.mktemp("embedded")
    good = [read_picture(p).tensor(SIZE, 3) for p in sorted((category_folder / "train" / "good").iterdir())]
    images, _ = split_loaded(good)
    network = last_model({"blob": images}, field="unet", steps=3, widths=(16, 16), false_alarm_rate=0.5)
    for name, model in (("gaussian", gaussian_model), ("unet", network)):
        (root / name).mkdir()
        save_model(root / name, model)
    shutil.copytree(category_folder, root / "examples" / "blob")
    return root


@pytest.fixture(scope="module")
def url(embedded, tmp_path_factory):
    with running_app(embedded, tmp_path_factory.mktemp("app")) as address:
        yield address


@pytest.fixture
def client(url) -> Client:
    return Client(url, verbose=False)


def score(client, file, **options):
    own = dict.fromkeys(("paths", "times", "smoothing"))  # None: the model's own
    options = {"model": "gaussian", "category": "blob"} | own | options
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
        assert (answer["anomalous"], answer["note"]) == (expected.anomalous, expected.note)


def test_settings_reach_fmcore_and_end_the_verdict(client, embedded, files):
    model, picture = load_model(embedded / "gaussian"), read_picture(files / "a.png")
    paths = PathSettings(paths=3, times=5, structure=0.3)
    heat = HeatSettings(aggregator="percentile", percentile=0.5, exponent=1.0, smoothing=0.5)
    expected = judge(model, Mismatch.collect(score_steps(model, picture, paths)), paths, heat)
    options = {"paths": 3, "times": 5, "structure": 0.3}
    options |= {"aggregator": "percentile", "percentile": 0.5, "exponent": 1, "smoothing": 0.5}
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
        ({"structure": 1.5}, "structure"),
        ({"structure": -1}, "structure"),
        ({"structure": "0.5"}, "structure"),
        ({"exponent": "2"}, "exponent"),
        ({"exponent": 99}, "exponent"),
        ({"smoothing": -1}, "smoothing"),
        ({"percentile": [1]}, "percentile"),
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


@pytest.mark.parametrize("example", [8, -2, 1.5, "one", True, [0]])
def test_bad_example_ends_in_one_sentence(client, example):
    refusal(lambda: score(client, None, example=example), "no example")


def test_missing_file_ends_in_one_sentence(client):
    refusal(lambda: score(client, None), "upload an image")


@pytest.mark.parametrize("meta", [{}, {"meta": {"_type": "gradio.FileData"}}])
def test_files_of_the_server_are_out_of_reach(url, meta):
    """Sent as raw HTTP, because the client would upload its own file of that name instead."""
    api = json.load(urllib.request.urlopen(f"{url}/config"))
    index = next(d["id"] for d in api["dependencies"] if d["api_name"] == "score")
    data = [{"path": "/etc/passwd", **meta}, "gaussian", "blob", 2, 3, "min", 0.25, 2, 2, -1, None]
    body = json.dumps({"data": data, "fn_index": index, "session_hash": "raw"}).encode()
    join = urllib.request.Request(f"{url}/gradio_api/queue/join", body, {"Content-Type": "application/json"})
    urllib.request.urlopen(join).close()
    stream = urllib.request.urlopen(f"{url}/gradio_api/queue/data?session_hash=raw", timeout=20)
    last = next(line for line in stream if b"process_completed" in line)
    assert b'"success":false' in last and b"passwd' is" not in last


def inspect(client, paths, *, model="gaussian", k=2, t=3):
    settings = (model, "blob", k, t, 0.0, "min", 0.25, 2.0, 2.0)
    return client.submit([handle_file(p) for p in paths], *settings, api_name="/inspect")


def test_one_bad_file_does_not_stop_the_others(client, files):
    answers = list(inspect(client, [files / "text.png", files / "a.png"]))
    messages = [message for message, _ in answers if isinstance(message, str)]
    head, arrays = viewer.unpack(messages[-1])
    notice = answers[-1][1]
    assert head["kind"] == "partial" and "a.png" in head["name"] and arrays["running"].shape == (1, SIZE, SIZE)
    assert "Skipped" in notice and "text.png" in notice
    refusal(lambda: inspect(client, [files / "text.png", files / "empty.png"]).result(), "text.png")


def test_too_many_files_are_refused(client, files):
    refusal(lambda: inspect(client, [files / "a.png"] * 13).result(), "at most 12")


def test_anytime_map_comes_first_and_cancel_frees_the_model(client, files):
    job = inspect(client, [files / "a.png"] * 12, model="unet", k=16, t=48)
    while not job.outputs():
        time.sleep(0.01)
        assert not job.done()
    assert viewer.unpack(job.outputs()[0][0])[0]["done"] == 1
    job.cancel()
    started = time.monotonic()
    assert score(client, files / "a.png")["score"] > 0
    assert time.monotonic() - started < 5


def test_own_images_are_fitted_and_used_at_once(client, files, tmp_path):
    paths = write_blobs(tmp_path, range(24), size=80)
    *_, sentence = client.submit([handle_file(p) for p in paths], 64, api_name="/fit")
    assert "Fitted to 24 images. Threshold" in sentence
    images, _ = split_loaded(list(load_images(paths, size=64, channels=3)))
    model = last_model(
        {inspection.OWN_CATEGORY: images},
        field="gaussian",
        size=64,
        calibration_images=own.CALIBRATED,
        paths=PathSettings.recommended(),
    )
    expected = score_picture(model, read_picture(files / "a.png"))
    answer = score(client, files / "a.png", model="own", category=None, structure=None)
    assert answer["score"] == expected.score and answer["anomalous"] is True
    # Another visitor does not see it.
    stranger = Client(client.src, verbose=False)
    refusal(lambda: score(stranger, files / "a.png", model="own"), "fitted to your images")


def test_five_images_make_a_field_without_a_threshold(client, files, tmp_path):
    paths = write_blobs(tmp_path, range(5))
    assert "too few" in client.predict([handle_file(p) for p in paths], 64, api_name="/fit")
    assert score(client, files / "a.png", model="own")["anomalous"] is None


@pytest.mark.parametrize(("count", "said"), [(own.CALIBRATED - 1, "too few"), (own.CALIBRATED, "Threshold")])
def test_the_fewest_images_that_give_a_threshold_are_as_the_page_says(client, tmp_path, count, said):
    paths = write_blobs(tmp_path, range(count))
    assert said in client.predict([handle_file(p) for p in paths], 64, api_name="/fit")


def test_bad_own_images_end_in_one_sentence(client, files, tmp_path):
    paths = [handle_file(p) for p in write_blobs(tmp_path, range(5))]
    bad = handle_file(files / "text.png")
    for given, size, part in (
        (paths[:4], 64, "at least 5"),
        ([*paths[:4], bad], 64, "text.png"),
        ([bad] * 5, 64, "None of the 5"),
        (paths * 41, 64, "at most 200"),
        (paths, 100, "64 or 128"),
        (paths, "64", "64 or 128"),
        (None, 64, "No file"),
    ):
        refusal(lambda given=given, size=size: client.predict(given, size, api_name="/fit"), part)


def test_only_the_chosen_endpoints_are_documented(client):
    assert list(client.view_api(return_format="dict")["named_endpoints"]) == ["/score", "/decompose"]


def test_app_starts_without_embedded_models(tmp_path):
    with running_app(tmp_path, tmp_path) as url:
        refusal(lambda: score(Client(url, verbose=False), None, example=0), "none is installed")
