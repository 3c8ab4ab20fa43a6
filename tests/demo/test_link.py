"""Addresses that restore what somebody else saw: written, read back, and never trusted."""

from __future__ import annotations

import shutil

import pytest

from demo.common import embedded
from demo.inspect.link import read_link, write_link


@pytest.fixture(autouse=True)
def blobs(gaussian_model, category_folder, tmp_path, monkeypatch):
    gaussian_model.save(tmp_path / "gaussian")
    shutil.copytree(category_folder, tmp_path / "examples" / "blob")
    monkeypatch.setenv("FLOW_MISMATCHING_EMBEDDED", str(tmp_path))


def test_an_address_restores_example_and_settings():
    paths, heat = embedded.settings("gaussian")
    paths, heat = paths.replace(paths=3, times=5), heat.replace(aggregator="percentile", alpha=0.5, exponent=1.5)
    link = write_link(("gaussian", "blob", 2, paths), heat)
    assert link["k"] == 3 and link["aggregator"] == "percentile" and "smoothing" not in link
    wish = read_link({name: str(value) for name, value in link.items()})
    assert (wish.model, wish.category, wish.example, wish.paths, wish.heat) == ("gaussian", "blob", 2, paths, heat)


def test_the_models_own_settings_and_own_pictures_stay_out_of_it():
    paths, heat = embedded.settings("gaussian")
    assert write_link(("gaussian", "blob", 0, paths), heat) == {"model": "gaussian", "category": "blob", "example": 0}
    assert write_link("a random token", heat) == {}


@pytest.mark.parametrize(
    "query",
    [
        {"model": "../x", "category": "../y", "example": "-1"},
        {"k": "1000", "t": "5"},
        {"k": "nan", "t": "1e9", "exponent": "nan"},
        {"exponent": "inf"},
        {"aggregator": "<script>"},
        {"alpha": "0.3", "aggregator": "percentile", "smoothing": "99"},
        {"example": "9" * 50},
        {"example": "one"},
    ],
)
def test_what_does_not_fit_opens_the_page_as_it_is(query):
    wish, plain = read_link(query), read_link({})
    assert wish == plain and plain.example == 0 and (plain.paths, plain.heat) == embedded.settings("gaussian")


def test_without_models_there_is_no_wish(monkeypatch, tmp_path):
    monkeypatch.setenv("FLOW_MISMATCHING_EMBEDDED", str(tmp_path / "nothing"))
    assert read_link({"model": "gaussian"}) is None
