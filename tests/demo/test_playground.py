"""The playground's requests: answers are fmcore's, and every untrusted value is checked."""

from __future__ import annotations

import base64
import gzip
import json
import math
import threading

import numpy as np
import pytest
import torch
from conftest import assert_one_sentence

from demo.common.store import Store
from demo.playground import answers as playground
from demo.playground import scenes
from demo.playground.tab import build_playground_tab
from fmcore.decomposition.landscape import PlaneGrid, landscape, probe
from fmcore.fields import semicircle
from fmcore.mismatch import HeatSettings, PathSettings
from fmcore.path import draw_noise

HANDLERS = (playground.scene, playground.look, playground.scores, playground.train)
HEAT = HeatSettings(smoothing=0.0)


def request(**changes) -> dict:
    """What the browser sends, with some values changed."""
    return {
        "law": "semicircle",
        "points": [],
        "width": 0.3,
        "network": None,
        "seed": 0,
        "targets": [[3, 7.0], [-2.0, 8.5]],
        "starts": draw_noise(4, (2,), 0).tolist(),
        "times": 6,
        "aggregator": "min",
        "alpha": 0.25,
        "exponent": 2,
        "spread": 0,
        **changes,
    }


def unpacked(answer: dict) -> np.ndarray:
    """Codes ``(2, T, side, side)`` of the landscapes."""
    side, count = answer["side"], len(answer["times"])
    data = gzip.decompress(base64.b64decode(answer["codes"]))
    return np.frombuffer(data, np.uint8).reshape(2, count, side, side)


@pytest.mark.parametrize("law", ["semicircle", "three_clusters", "two_moons"])
def test_scene_shows_the_law_and_nested_noise(law):
    answer = json.loads(json.dumps(playground.scene(request(law=law))))
    assert len(answer["samples"]) == playground.SAMPLES
    left, right, bottom, top = answer["window"]
    assert right - left == top - bottom  # a square picture with equal units
    for x, y in answer["samples"] + answer["targets"]:
        assert left < x < right and bottom < y < top
    np.testing.assert_allclose(answer["starts"], draw_noise(16, (2,), 0), atol=1e-4)
    assert answer["starts"] != playground.scene(request(law=law, seed=1))["starts"]


def test_first_targets_are_normal_and_not():
    """A scores well below B in every scene, as the captions under the charts say."""
    for law in ("semicircle", "three_clusters", "two_moons"):
        targets = playground.scene(request(law=law))["targets"]
        a, b = (t["running"][-1] for t in playground.look(request(law=law, targets=targets, times=12))["targets"])
        assert 8 * a < b, law


def test_look_is_the_probe():
    answer = playground.look(request(spread=0.4, aggregator="mean"))
    starts, targets = torch.tensor(request()["starts"]), torch.tensor(request()["targets"])
    expected = probe(semicircle(), targets, starts, times=6, spread=0.4, seed=2)
    how = HEAT.replace(aggregator="mean")
    assert len(answer["targets"]) == 2
    for one, other in zip(answer["targets"], expected, strict=True):
        for name in ("states", "predicted", "geometric", "ends", "denoising"):
            np.testing.assert_allclose(one[name], getattr(other, name), atol=6e-5, rtol=1e-5)
        np.testing.assert_allclose(one["fisher"], other.fisher_per_time(how), atol=6e-5, rtol=1e-5)
        np.testing.assert_allclose(one["running"], other.running(how), atol=6e-5, rtol=1e-5)


def test_scores_are_the_landscape_on_one_stated_scale():
    answer = playground.scores(request())
    codes, (low, high) = unpacked(answer), answer["scale"]
    left, right, bottom, top = answer["window"]
    grid = PlaneGrid(left=left, right=right, bottom=bottom, top=top, side=answer["side"])
    noise = torch.tensor(request()["starts"])
    found = landscape(semicircle(), grid, PathSettings(paths=4, times=6), noise=noise)
    for part, maps in zip(codes, (found.per_time(HEAT), found.running(HEAT)), strict=True):
        inside = (maps > low * 1.01) & (maps < high * 0.99)
        assert inside.mean() > 0.2
        shown = low * (high / low) ** (part[inside] / 254.0)
        np.testing.assert_allclose(shown, maps[inside], rtol=0.6 * math.log(high / low) / 254)
        assert (part[maps > high * 1.01] == 255).all() and (part[maps < low] == 0).all()
    for name in ("basin", "running_basin", "spread", "running_spread"):
        assert len(answer[name]) == 6 and all(v >= 0 for v in answer[name])


def test_own_points_make_a_law():
    points = [[0.0, 0.0], [2.0, 0.0], [1.0, 2.0]]
    own = request(law="own", points=points)
    answer = playground.scene(own)
    assert answer["samples"] == points and answer["targets"][0] in points
    for width in (0.0, 0.3):
        near, far = playground.look({**own, "width": width, "targets": [[2, 0], [-3, 3]]})["targets"]
        assert near["running"][-1] < far["running"][-1] / 5
        assert playground.scores({**own, "width": width})["side"] == playground.SIDES[1]


def test_most_points_make_a_coarser_landscape():
    points = [[math.cos(i), math.sin(i)] for i in range(scenes.MAX_POINTS)]
    answer = playground.scores(request(law="own", points=points, times=24))
    assert playground.SIDES[0] <= answer["side"] < playground.SIDES[1]


def test_training_goes_on_from_request_to_request_and_its_network_is_used():
    first = playground.train(request(law="three_clusters"))
    assert first["step"] >= 1 and len(first["network"]) > 16
    answer = first
    for _ in range(2):
        answer = playground.train(request(law="three_clusters", network=first["network"]))
    assert answer["step"] > first["step"] and answer["network"] == first["network"]
    assert len(answer["losses"]) == answer["step"] // playground.LOSS_MEAN
    assert answer["losses"][0] > answer["losses"][-1] > 0.7 * answer["floor"]
    exact, learned = (playground.look(request(law="three_clusters", network=n)) for n in (None, first["network"]))
    assert exact["targets"][0]["predicted"] != learned["targets"][0]["predicted"]
    assert playground.scores(request(law="three_clusters", network=first["network"]))["side"] > 16


def test_trainings_stay_under_their_memory_limit(monkeypatch):
    monkeypatch.setattr(playground, "TRAININGS", Store(600_000))  # room for one
    monkeypatch.setattr(playground, "CHUNK_SECONDS", 0.0)
    first, second = (playground.train(request()) for _ in range(2))
    assert "error" in playground.train(request(network=first["network"]))
    assert playground.train(request(network=second["network"]))["step"] > second["step"]


def test_heavy_work_takes_turns_and_gives_up_politely(monkeypatch):
    monkeypatch.setattr(playground, "PATIENCE", 0.05)
    monkeypatch.setattr(playground, "HEAVY", threading.BoundedSemaphore(1))
    with playground._turn():
        assert_one_sentence(playground.scores(request())["error"], "try again")
        assert "error" not in playground.look(request())  # a drag never waits
    assert "error" not in playground.scores(request(times=2))


BAD = {
    "law": [None, "spiral", 3, ["semicircle"]],
    "seed": [-1, 1.5, "0", None, 2**40],
    "times": [0, 49, 3.7, "12", None, True],
    "aggregator": ["max", None, 3],
    "alpha": [0, 1.5, "x"],
    "exponent": [-1, 9, float("nan"), None],
    "spread": [-0.1, 2.5, "0", None, float("nan"), True],
    "network": ["unknown", 5, "x" * 10_000, ["a"]],
    "targets": [[], None, [[0, 0]] * 3, [[0]], [[0, "1"]], [[0, 1e9]], [[0, float("nan")]], {"0": 1}, [[True, 1]]],
    "starts": [[], [[0, 0]] * 17, [[0, float("inf")]], [0, 1], "starts"],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in BAD.items() for value in values])
def test_bad_values_end_in_one_sentence(name, value):
    bad = {"aggregator": "percentile", name: value}  # the one that takes an alpha
    assert_one_sentence(playground.look(request(**bad))["error"])
    if name not in ("targets", "spread"):
        assert_one_sentence(playground.scores(request(**bad))["error"])


@pytest.mark.parametrize("points", [[], [[0, 0]], [[0, 0]] * 301, [[0, 0, 0]] * 5, None, [[0, 99]] * 5])
def test_bad_own_points_end_in_one_sentence(points):
    for handler in HANDLERS:
        assert_one_sentence(handler(request(law="own", points=points))["error"])
    assert_one_sentence(playground.look(request(law="own", points=[[0, 0]] * 5, width=-1))["error"], "'width'")


@pytest.mark.parametrize("body", [None, 3, "law", [], {}])
def test_bodies_that_are_no_request_end_in_one_sentence(body):
    for handler in HANDLERS:
        assert_one_sentence(handler(body)["error"])


def test_tab_can_be_built_alone():
    import gradio as gr

    with gr.Blocks() as app:
        build_playground_tab(app)
    component = next(b for b in app.blocks.values() if getattr(b, "elem_id", None) == "playground")
    assert {f.__name__ for f in component.server_fns} == {"scene", "look", "scores", "train"}
