"""What the page asks of the Compare tab: one side, scored, with what is marked at the threshold."""

from __future__ import annotations

from demo.common import embedded
from demo.common.answering import Turn, answering
from demo.common.messages import pack
from demo.common.own import find_model
from demo.inspect import scoring
from demo.inspect.sight import sight
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
        "aggregators": [[OWN, "the model's own"], *([one.name, one.name] for one in AGGREGATORS.values())],
    }


@answering
def side(request: dict) -> dict:
    """A scored example: ``model``, ``category``, ``example`` (its number) and ``aggregator``.

    Returns:
        ``message``, packed as those of the Inspect tab.
    """
    model, category = find_model(request.get("model"), request.get("category"), None)
    item = scoring.example_item(request.get("model"), category, request.get("example"), model.info.paths)
    scored = scoring.RESULTS.get(item.key) or _score(item, model, category)
    return {"message": pack(*scored.parts(_heat(model, request.get("aggregator"))))}


def _score(item: scoring.Item, model: Model, category: str) -> scoring.Scored:
    picture, shown = item.read()
    paths = model.info.paths
    with TURN:
        mismatch = Mismatch.collect(score_steps(model, picture, paths, category))
        found = scoring.Scored(shown, model, category, paths, mismatch, sight(model, category, picture, paths))
    scoring.RESULTS.put(found, found.size, item.key)
    return found


def _heat(model: Model, aggregator: object) -> HeatSettings:
    if aggregator == OWN:
        return model.info.heat
    if not isinstance(aggregator, str) or aggregator not in AGGREGATORS:
        raise SettingsError("There is no such aggregator: choose one of the list.")
    return model.info.heat.replace(aggregator=aggregator, alpha=None)


def _is_exact(name: str) -> bool:
    return embedded.settings(name)[0].paths == 0
