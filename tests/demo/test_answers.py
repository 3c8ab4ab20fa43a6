"""What the page asks of Draw and Compare past the queue: the scores of fmcore, one sentence for nonsense."""

from __future__ import annotations

import base64
import io
import threading

import numpy as np
import pytest
from conftest import assert_one_sentence, draw_blob
from PIL import Image

from demo.common import answering, embedded, messages
from demo.compare import answers as compare
from demo.draw import answers as draw
from demo.inspect import scoring
from demo.inspect.sight import sight
from fmcore.data.picture import Picture, read_picture
from fmcore.detector.score import find_regions
from fmcore.detector.score import score as score_picture
from fmcore.mismatch import HeatSettings
from fmcore.path import draw_noise, interior_times

pytestmark = pytest.mark.usefixtures("blob_app")
CHOICE = {"model": "gaussian", "category": "blob"}


def png(pixels: np.ndarray) -> str:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def test_drawing_begins_with_a_good_example_and_its_score(gaussian_model):
    answer = draw.begin({**CHOICE, "number": 5})
    path = [item.path for item in embedded.examples("blob") if item.is_good][5 % 4]
    assert answer["score"] == score_picture(gaussian_model, read_picture(path)).score
    # What the page shows and sends back unchanged has that score too.
    assert draw.score({**CHOICE, "picture": answer["image"]})["score"] == answer["score"]


def test_what_was_drawn_is_scored(gaussian_model):
    pixels = draw_blob(7, defect=True)[0]
    expected, answer = score_picture(gaussian_model, pixels), draw.score({**CHOICE, "picture": png(pixels)})
    assert (answer["score"], answer["anomalous"]) == (expected.score, expected.anomalous)
    ((_, _, shape),) = answer["arrays"]
    assert shape == [1, *expected.heatmap.shape]


@pytest.mark.parametrize(
    ("picture", "part"),
    [
        (None, "sent as PNG"),
        ("data:image/jpeg;base64,AAAA", "sent as PNG"),
        ("data:image/png;base64,!!!", "damaged"),
        ("data:image/png;base64,AAAA", "not an image"),
        ("data:image/png;base64," + "A" * answering.MOST_LETTERS, "at most"),
        (png(np.zeros((600, 600), np.uint8)), "too large"),
        (png(draw_blob(1)[0])[:-400], "d"),
    ],
)
def test_drawings_are_checked(picture, part):
    assert_one_sentence(draw.score({**CHOICE, "picture": picture})["error"], part)


@pytest.mark.parametrize(
    ("ask", "request_", "part"),
    [
        (draw.begin, {**CHOICE, "number": "1"}, "no good example"),
        (draw.begin, {"model": "own", "category": "blob", "number": 0}, "No field"),
        (draw.begin, {"model": "../x", "category": "blob", "number": 0}, "no model"),
        (draw.score, {"model": "gaussian", "category": ["blob"]}, "must be names"),
        (draw.score, [], "object"),
        (compare.side, {**CHOICE, "example": 99, "aggregator": "own"}, "no example"),
        (compare.side, {**CHOICE, "example": 0, "aggregator": "largest"}, "no such aggregator"),
        (compare.side, {**CHOICE, "example": 0, "aggregator": None}, "no such aggregator"),
        (compare.side, {"example": 0}, "names"),
        (compare.side, "x", "object"),
    ],
)
def test_nonsense_ends_in_one_sentence(ask, request_, part):
    assert_one_sentence(ask(request_)["error"], part)


def test_a_side_is_the_result_of_the_inspect_tab_with_its_regions(gaussian_model):
    head, arrays = messages.unpack(compare.side({**CHOICE, "example": 1, "aggregator": "own"})["message"])
    expected = score_picture(gaussian_model, read_picture(embedded.examples("blob")[1].path))
    assert head["score"] == expected.score and head["anomalous"]
    regions = find_regions(expected.heatmap, expected.threshold)
    assert len(head["regions"]) + head["more"] == len(regions)
    assert head["regions"][0]["area"] == pytest.approx(100 * regions[0].area / expected.heatmap.size)
    assert head["marked_area"] == pytest.approx(100 * expected.mask.mean()) and len(arrays["marked"]) >= 4
    assert scoring.RESULTS.get(("gaussian", "blob", 1, gaussian_model.info.paths)) is not None


def test_a_side_can_be_a_picture_of_ones_own(gaussian_model):
    pixels = draw_blob(7, defect=True)[0]
    request = {**CHOICE, "picture": png(pixels), "aggregator": "own"}
    head, _ = messages.unpack(compare.side(request)["message"])
    assert head["score"] == score_picture(gaussian_model, pixels).score and head["name"] == "My picture"
    assert_one_sentence(compare.side({**request, "picture": "/etc/passwd"})["error"], "sent as PNG")


def test_another_aggregator_uses_the_same_draws_and_has_no_verdict(gaussian_model):
    head, arrays = messages.unpack(compare.side({**CHOICE, "example": 1, "aggregator": "mean"})["message"])
    kept = scoring.RESULTS.get(("gaussian", "blob", 1, gaussian_model.info.paths))
    verdict = kept.judged(HeatSettings(**{**gaussian_model.info.heat.model_dump(), "aggregator": "mean"}))
    assert head["score"] == verdict.score and head["anomalous"] is None
    assert head["regions"] == [] and len(arrays["marked"]) == 0


def test_turns_end_politely(monkeypatch):
    monkeypatch.setattr(answering, "PATIENCE", 0.05)
    monkeypatch.setattr(draw, "TURN", answering.Turn(1))
    with draw.TURN:
        answers = []
        thread = threading.Thread(
            target=lambda: answers.append(draw.score({**CHOICE, "picture": png(draw_blob(1)[0])}))
        )
        thread.start()
        thread.join()
    assert "try again" in answers[0]["error"]


def test_what_the_field_sees_leads_from_noise_to_the_picture(gaussian_model):
    picture, paths = Picture(draw_blob(3, defect=True)[0]), gaussian_model.info.paths
    seen = sight(gaussian_model, "blob", picture, paths)
    y, x0 = gaussian_model.view()(picture), draw_noise(1, gaussian_model.view().shape, paths.noise_seed)[0]
    assert seen["guesses"].shape == (paths.times, 32, 32, 3) and seen["seen"].shape == (32, 32, 3)
    as_picture = seen["seen"].transpose(2, 0, 1) / 127.5 - 1
    for j, t in enumerate(interior_times(paths.times)):
        state = ((1 - t) * x0 + t * y)[None]
        painted = (1 - t) * seen["noise"].astype(np.float32).transpose(2, 0, 1) + t * as_picture
        assert np.abs(painted - state[0].numpy()).max() < 0.01
        guess = state + (1 - t) * gaussian_model.field()(state, t)
        levels = (127.5 * (guess[0] + 1)).clamp(0, 255).permute(1, 2, 0).numpy()
        assert np.abs(seen["guesses"][j] - levels).max() <= 0.51
