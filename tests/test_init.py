"""The five-line API: the same scores from a model or its folder, one picture or many."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import assert_one_sentence, blob_pictures, write_blobs
from PIL import Image

import fmcore
from fmcore.errors import DataError, ImageError, ModelError


def test_many_pictures_of_any_kind_are_scored_as_one_by_one(model_folder, tmp_path):
    array = blob_pictures(range(60, 61))[0]
    (path,) = write_blobs(tmp_path / "new", range(60, 61))
    model = fmcore.load_model(model_folder)
    every = fmcore.score(model_folder, [path, str(path), Image.open(path), array])
    assert {found.score for found in every} == {model.score(path).score} and len(every) == 4
    assert fmcore.score(model, array, "blob").heatmap.shape == array.shape[:2]
    assert fmcore.score(model, []) == []


def test_a_model_of_a_folder_is_that_of_its_pictures(tmp_path):
    paths = write_blobs(tmp_path / "good", range(8))
    settings = {"encoder": "none", "view": {"size": 32}}
    new = blob_pictures(range(70, 71))[0]
    first, second, third = (
        fmcore.fit(good, **settings).score(new).score for good in (tmp_path / "good", paths, {"parts": paths})
    )
    assert first == second == third


@pytest.mark.parametrize(
    ("error", "said", "call"),
    [
        (DataError, "not int", lambda model: fmcore.fit(5)),
        (ModelError, "no model folder", lambda model: fmcore.score("nowhere", np.zeros((9, 9), np.uint8))),
        (ImageError, "no picture", lambda model: fmcore.score(model, [3.5])),
    ],
)
def test_what_cannot_be_used_is_said_in_a_sentence(model_folder, error, said, call):
    with pytest.raises(error) as caught:
        call(fmcore.load_model(model_folder))
    assert_one_sentence(caught.value, said)
