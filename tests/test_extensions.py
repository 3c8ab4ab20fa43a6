"""Three change requests, each answered by one file of its own: a field, a view, an aggregator."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated

import numpy as np
import pytest
import torch
from conftest import blob_pictures, last_model
from pydantic import Field as Range
from torch import Tensor

from fmcore.detector.model import load_model
from fmcore.fields import FIELDS, Field
from fmcore.mismatch import AGGREGATORS, HeatSettings, Mismatch, Parameter, aggregator
from fmcore.path import expand_time
from fmcore.views import VIEWS, View


@pytest.fixture
def new_field():
    """The field of data that are always their mean, blurred by a number of its own."""

    @FIELDS.register
    class MeanField(Field):
        kind = "mean"

        def __init__(self, shape: Sequence[int]):
            super().__init__(shape=list(shape))
            self.register_buffer("mean", torch.zeros(*shape))

        @classmethod
        def fit(cls, tensors: Iterable[Tensor], *, share: Annotated[float, Range(ge=0, le=1)] = 1.0):
            stack = torch.stack(list(tensors))
            field = cls(stack.shape[1:])
            field.mean.copy_(share * stack.mean(0))
            return field

        def forward(self, x, t):
            return (self.mean - x) / (1 - expand_time(t, x))

    yield MeanField
    del FIELDS.kinds["mean"]


def test_a_new_field_is_fitted_saved_loaded_and_scored(new_field, tmp_path):
    model = last_model({"blob": blob_pictures(range(24))}, field="mean", options={"share": 0.5})
    model.save(tmp_path / "model")
    loaded = load_model(tmp_path / "model")
    picture = blob_pictures(range(900, 901))[0]
    assert loaded.info.kind == "mean" and loaded.threshold() is not None
    assert loaded.score(picture).score == model.score(picture).score > 0
    assert torch.equal(loaded.fields["blob"].mean, model.fields["blob"].mean)


@pytest.fixture
def new_view():
    """A view of brightness alone, on a grid of its own."""

    @VIEWS.register
    class BrightnessView(View):
        kind, closed_form, paths = "brightness", "place-gaussian", 0
        smoothing, device = 0.0, torch.device("cpu")

        def __init__(self, side: int):
            super().__init__(side=side)
            self.channels, self.height, self.width = 1, side, side

        @classmethod
        def fit(cls, sample, height, width, gray, *, side: Annotated[int, Range(ge=2)] = 8):
            return cls(side)

        def forward(self, picture):
            return picture.resized(self.height, self.width, 1)

        def describe(self):
            return "brightness"

    yield BrightnessView
    del VIEWS.kinds["brightness"]


def test_a_new_view_is_fitted_saved_loaded_and_scored(new_view, tmp_path):
    model = last_model({"blob": blob_pictures(range(24))}, view={"kind": "brightness", "side": 6}, paths={"times": 3})
    model.save(tmp_path / "model")
    loaded = load_model(tmp_path / "model")
    result = loaded.score(blob_pictures(range(900, 901))[0])
    assert loaded.view().shape == (1, 6, 6) and result.heatmap.shape == (32, 32)
    assert result.score == model.score(blob_pictures(range(900, 901))[0]).score


@pytest.fixture
def new_aggregator():
    @aggregator("soft-min", "a soft minimum", Parameter("temperature", default=0.5, low=0.1, high=10.0))
    def soft_minimum(maps: np.ndarray, alpha: float) -> np.ndarray:
        return -alpha * np.log(np.exp(-maps / alpha).mean(axis=-3))

    yield
    del AGGREGATORS["soft-min"]


def test_a_new_aggregator_is_a_setting_with_its_parameter(new_aggregator):
    maps = np.random.default_rng(0).random((2, 4, 3, 3), dtype=np.float32)
    seen = Mismatch(np.array([0.3, 0.6]), maps)
    cold, warm = (seen.per_time(HeatSettings(aggregator="soft-min", alpha=a)) for a in (0.1, 10.0))
    assert (maps.min(1) <= cold).all() and (cold < warm).all()
    with pytest.raises(ValueError, match=r"takes 0.1 to 10"):
        HeatSettings(aggregator="soft-min", alpha=50.0)


def test_a_new_aggregator_is_an_option_of_the_command_line(
    new_aggregator, call, model_folder, category_folder, tmp_path
):
    image = next((category_folder / "test" / "good").iterdir())
    code, _, err = call(
        "score", model_folder, image, "--out", tmp_path / "out", "--aggregator", "soft-min", "--alpha", "0.3"
    )
    assert code == 0 and "1 of 1 images scored" in err
