"""What the page asks of the Compare tab: one side, scored, with what is marked at the threshold."""

from __future__ import annotations

from demo.common import embedded
from demo.common.answering import MOST_SIDE, Turn, answering, drawn_picture
from demo.common.messages import pack
from demo.common.own import find_model
from demo.inspect import scoring
from demo.inspect.sight import sight
from demo.inspect.view import Shown
from fmcore.data.picture import Picture
from fmcore.detector.model import Model
from fmcore.detector.score import score_steps
from fmcore.errors import SettingsError
from fmcore.mismatch import AGGREGATORS, HeatSettings, Mismatch

TURN = Turn(2)
OWN = "own"  # the aggregator of the model


def offered() -> dict:
    """Models with their categories, the examples of each category by number, and the aggregators."""
    models = [
        {"name": n, "label": embedded.LABELS[n], "categories": embedded.categories(n), "exact": _is_exact(n)}
        for n in embedded.model_names()
    ]
    names = sorted({category for model in models for category in model["categories"]})
    examples = {name: [embedded.caption(item) for item in embedded.examples(name)] for name in names}
    return {
        "models": [model | {"categories": [c for c in model["categories"] if examples[c]]} for model in models],
        "examples": examples,
        "most": MOST_SIDE,
        "aggregators": [[OWN, "the model's own"], *([one.name, one.name] for one in AGGREGATORS.values())],
    }


@answering
def side(request: dict) -> dict:
    """A scored picture under a ``model``, ``category`` and ``aggregator``: that of an ``example`` (its number), or a
    visitor's own ``picture``.

    Returns:
        ``message``, packed as those of the Inspect tab.
    """
    model, category = find_model(request.get("model"), request.get("category"), None)
    heat = _heat(model, request.get("aggregator"))
    if request.get("picture") is not None:
        picture = drawn_picture(request["picture"])
        scored = _scored(picture, Shown("My picture", picture.rgb()), model, category)
    else:
        item = scoring.example_item(request.get("model"), category, request.get("example"), model.info.paths)
        scored = scoring.RESULTS.get(item.key)
        if scored is None:
            scored = _scored(*item.read(), model, category)
            scoring.RESULTS.put(scored, scored.size, item.key)
    return {"message": pack(*scored.parts(heat))}


def _scored(picture: Picture, shown: Shown, model: Model, category: str) -> scoring.Scored:
    paths = model.info.paths
    with TURN:
        mismatch = Mismatch.collect(score_steps(model, picture, paths, category))
        seen = sight(model, category, picture, paths)
    return scoring.Scored(shown, model, category, paths, mismatch, seen)


def _heat(model: Model, aggregator: object) -> HeatSettings:
    if aggregator == OWN:
        return model.info.heat
    if not isinstance(aggregator, str) or aggregator not in AGGREGATORS:
        raise SettingsError("There is no such aggregator: choose one of the list.")
    return model.info.heat.replace(aggregator=aggregator, alpha=None)


def _is_exact(name: str) -> bool:
    return embedded.settings(name)[0].paths == 0
