"""The Decomposition tab's handlers: messages that hold what fmcore computed, shared results, bad input."""

from __future__ import annotations

import json

import gradio as gr
import numpy as np
import pytest
import torch
from conftest import SIZE, assert_one_sentence, write_blobs

from demo.common import embedded as models
from demo.common import messages
from demo.decomposition import api, tab
from demo.decomposition import decompose as run
from demo.decomposition.decompose import run_request, show_result
from demo.decomposition.request import check_request
from demo.decomposition.view import LAWS, ZERO
from fmcore.data.picture import read_picture
from fmcore.decomposition.laws import decompose_law, empirical_law, image_law
from fmcore.decomposition.sampled import NAMES, DecompositionSettings, Terms
from fmcore.errors import FlowMismatchingError

CHOICES = {"law": "noisy", "noise": 0.1, "ends": "picture", "samples": 4, "times": 3, "seed": 0}
pytestmark = pytest.mark.usefixtures("blob_app")


def request(files=None, example=0, model="gaussian", category="blob", **changes):
    return check_request(files, example, model, category, **(CHOICES | changes))


def finish(asked, exponent=2.0):
    """Messages of a run, then the token of its result."""
    *early, (nothing, token) = run_request(asked, exponent)
    assert nothing is None and token is not None
    return [message for message, _ in early], token


def uploaded(paths) -> list[dict]:
    return [{"path": str(path)} for path in paths]


def by_hand(law_of, **settings) -> tuple[Terms, torch.Tensor]:
    model, _ = models.find("gaussian", "blob")
    y, p = model.view("blob")(read_picture(models.examples("blob")[0].path)), model.field("blob")
    return Terms.collect(decompose_law(p, law_of(y), DecompositionSettings(samples=4, times=3), **settings)), y


def test_result_is_what_fmcore_computes_and_the_message_carries_it():
    _, token = finish(request())
    expected, _ = by_hand(lambda y: image_law(y, 0.1))
    head, arrays = messages.unpack(show_result(token, 2.0))
    assert head["kind"] == "full" and head["times"] == expected.times.tolist() and head["paths"] == 4
    for name in NAMES:
        assert head["values"][name] == expected.values[name].tolist()
        assert head["errors"][name] == expected.errors[name].tolist()
        maps = expected.weighted(2.0)[name]
        codes, scale = arrays[name].astype(float), head["scale"]
        shown = (codes - ZERO) / (ZERO - 1) * scale if name == "cross" else codes / 254 * scale
        inside = np.abs(maps) < scale
        assert np.abs(shown - maps)[inside].max() <= scale / 127
        np.testing.assert_array_equal(arrays[f"all_{name}"].shape, (1, SIZE, SIZE))
    assert head["posterior"] == expected.posterior.tolist()
    # Both fields are Gaussian, so the Fisher term is known without a draw.
    assert np.abs(np.array(head["closed_fisher"]) - expected.values["fisher"]).max() < 6 * max(head["errors"]["fisher"])
    ratio = (np.array(head["times"]) / (1 - np.array(head["times"]))) ** 2
    np.testing.assert_allclose(head["divergence"], ratio * head["values"]["fisher"])
    assert arrays["outline"].shape[1] == 4


def test_terms_sum_up_in_the_message_and_the_weight_only_changes_the_maps():
    _, token = finish(request(law="gaussian"))
    heads = []
    for exponent in (2.0, 0.0):
        head, arrays = messages.unpack(show_result(token, exponent))
        total = sum(np.array(head["values"][name]) for name in NAMES[1:])
        np.testing.assert_allclose(head["values"]["mismatch"], total, rtol=1e-4)
        heads.append((head, arrays))
    assert heads[0][0]["values"] == heads[1][0]["values"]
    assert not np.array_equal(heads[0][1]["all_fisher"], heads[1][1]["all_fisher"])
    assert heads[0][0]["posterior"] is None and heads[0][0]["divergence"] is None


def test_partial_messages_come_first_and_grow():
    messages, _ = finish(request(samples=5, times=6))
    heads = [json.loads(message) for message in messages]
    assert heads[0]["kind"] == "working"
    partial = [head for head in heads if head["kind"] == "partial"]
    assert partial and partial[0]["image"].startswith("data:image/png")
    counts = [len(head["times"]) for head in partial]
    assert counts == sorted(counts) and counts[-1] < 6 and {head["run"] for head in heads} == {heads[0]["run"]}


def test_every_law_runs_and_says_what_is_special(monkeypatch):
    monkeypatch.setattr(run, "NETWORK", run.NETWORK.replace(steps=2, batch=2))
    monkeypatch.setattr(run, "WIDTHS", (16,))
    notes = set()
    for law in LAWS:
        _, token = finish(request(law=law))
        head, _ = messages.unpack(show_result(token, 2.0))
        notes.add(head["note"])
        if law == "image":
            assert max(map(abs, head["values"]["cross"])) < 1e-2 * max(head["values"]["mismatch"])
            assert max(head["values"]["denoising"]) < 1e-6 * max(head["values"]["mismatch"])
        exact = law in ("image", "noisy", "empirical")
        assert (head["divergence"] is not None) == exact
        assert run.RESULTS.get(token).table()["exact"] == exact
    assert len(notes) == len(LAWS)


def test_paths_to_the_whole_mix_and_uploads_that_join_it(tmp_path):
    _, token = finish(request(law="empirical", ends="mix"))
    view = models.find("gaussian", "blob")[0].view("blob")
    mix = torch.stack([view(read_picture(item.path)) for item in models.examples("blob")])
    expected, _ = by_hand(lambda y: empirical_law(mix))
    head, arrays = messages.unpack(show_result(token, 2.0))
    assert head["values"]["fisher"] == expected.values["fisher"].tolist()
    assert head["paths"] == len(mix) and head["seen"] == f"One of {len(mix)} pictures" and "outline" not in arrays
    files = uploaded(write_blobs(tmp_path, range(700, 702)))
    asked = request(files=files, law="empirical", ends="mix")
    assert len(asked.mix) == len(mix) + 2 and asked.name == "000.png." and asked.key is None
    _, own = finish(asked)
    assert isinstance(own, str) and run.RESULTS.get(own).paths == len(mix) + 2
    run.RESULTS.drop([own])
    with pytest.raises(FlowMismatchingError, match="Decompose"):
        show_result(own, 2.0)


def test_examples_are_computed_once_for_all_visitors():
    _, first = finish(request(seed=5))
    messages, again = finish(request(seed=5))
    assert messages == [] and first == again
    assert show_result(list(first), 2.0)  # as a state that travelled as JSON


def test_opening_the_tab_computes_only_what_is_not_there():
    chosen = (None, 0, "gaussian", "blob", "noisy", 0.1, "picture", 4, 3, 0, 2.0)
    *_, (_, token, shown_for, _) = tab._first_look(None, None, *chosen)
    assert run.RESULTS.get(token) is not None
    ((message, same, still, _),) = tab._first_look(token, shown_for, *chosen)
    assert (same, still) == (token, shown_for) and not isinstance(message, str)


def test_a_result_says_when_settings_have_changed_since():
    given = (None, 0, "gaussian", "blob", "noisy", 0.1, "picture", 4, 3, 0)
    *_, (_, token, shown_for, _) = tab._run(*given, 2.0)

    def said(*changed) -> str:
        return json.loads(tab._mark(token, shown_for, *changed))["kind"]

    assert said(*given) == "current"
    assert said(*given[:6], "mix", *given[7:]) == "current"  # of no meaning for this law
    for place, other in ((1, 1), (4, "image"), (5, 0.2), (7, 5), (9, 1)):
        assert said(*given[:place], other, *given[place + 1 :]) == "outdated"
    assert tab._mark(None, None, *given) == gr.skip()


def test_a_long_job_leaves_the_queue_of_short_ones(monkeypatch):
    monkeypatch.setattr(run, "NETWORK", run.NETWORK.replace(steps=2, batch=2))
    monkeypatch.setattr(run, "WIDTHS", (16,))
    given = (None, 0, "gaussian", "blob", "network", 0.1, "picture", 4, 3, 7)
    ((message, token, shown_for, waiting),) = tab._run(*given, 2.0)
    assert json.loads(message)["kind"] == "working" and (token, shown_for) == (None, None)
    *_, (_, token, shown_for, _) = tab._run_long(waiting)
    assert run.RESULTS.get(token).request.law == "network" and shown_for == tab._wish(*given)
    # What is there already needs no queue, and the same wish once more is a new one.
    *_, (_, again, _, left) = tab._run(*given, 2.0)
    assert again == token and left == gr.skip()
    run.RESULTS.drop([token])
    ((*_, other),) = tab._run(*given, 2.0)
    assert other != waiting and other[1:] == waiting[1:]


def test_menus_left_as_they_were_change_nothing():
    assert tab._model_changed(["gaussian", "blob"], "gaussian", "blob") == [gr.skip()] * 4
    assert tab._category_changed(["gaussian", "blob"], "gaussian", "blob") == [gr.skip()] * 3
    *_, chosen = tab._model_changed([None, None], "gaussian", "blob")
    assert chosen == ["gaussian", "blob"]


def test_laws_of_several_pictures_are_folded_away():
    few, all_laws = (dict(tab._law_choices(more)) for more in (False, True))
    assert set(all_laws.values()) == set(LAWS) and set(few.values()) == {"image", "noisy"}
    update, noise, ends = tab._more_changed(False, "gaussian")
    assert update["value"] == "noisy" and noise["visible"] and not ends["visible"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"law": "cauchy"}, "not on offer"),
        ({"law": ["noisy"]}, "not on offer"),
        ({"ends": None}, "not on offer"),
        ({"noise": 0}, "Noise"),
        ({"noise": "0.1"}, "Noise"),
        ({"noise": True}, "Noise"),
        ({"noise": float("nan")}, "Noise"),
        ({"samples": 3.7}, "samples"),
        ({"samples": "8"}, "samples"),
        ({"samples": 1}, "samples"),
        ({"samples": 100_000}, "at most 64"),
        ({"times": 90}, "at most 24"),
        ({"times": None}, "times"),
        ({"seed": -1}, "seed"),
        ({"model": "resnet"}, "no model"),
        ({"model": {}}, "must be names"),
        ({"category": "../.."}, "no category"),
        ({"example": 99}, "no example"),
        ({"example": "0"}, "no example"),
        ({"files": [{"path": "a.png"}] * 13}, "too many"),
    ],
)
def test_bad_input_is_refused_in_one_sentence_before_anything_runs(changes, words):
    with pytest.raises(FlowMismatchingError) as caught:
        request(**changes)
    assert_one_sentence(caught.value, words)


@pytest.mark.parametrize("exponent", [-1, "2", None, 1e9])
def test_bad_weights_and_files_become_messages_of_the_app(exponent, tmp_path):
    with pytest.raises(gr.Error) as caught:
        tab._show(("nothing",), exponent)
    assert_one_sentence(caught.value.message, "exponent")
    (tmp_path / "text.png").write_text("no image")
    arguments = (uploaded([tmp_path / "text.png"]), 0, "gaussian", "blob", "noisy", 0.1, "picture", 4, 3, 0)
    with pytest.raises(gr.Error) as caught:
        list(tab._run(*arguments, 2.0))
    assert_one_sentence(caught.value.message, "text.png")
    with pytest.raises(gr.Error):
        api.decompose("blob", arguments[0])  # not in the folder of uploads


def test_programming_interface_gives_the_table():
    table = api.decompose("blob", example=1, noise=0.1, samples=4, times=3)
    json.dumps(table)
    total = np.array(table["denoising"]) + table["fisher"] + table["cross"]
    np.testing.assert_allclose(table["mismatch"], total, rtol=1e-4)
    assert table["category"] == "blob" and table["settings"] == {"samples": 4, "times": 3, "seed": 0}
