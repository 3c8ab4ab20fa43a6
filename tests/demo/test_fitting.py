"""Fitting to a visitor's own pictures, and models as files that come and go; on pixels, where a fit takes a moment."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest
from conftest import PIXELS, assert_one_sentence, draw_blob, last_model, write_blobs

from demo.common import own
from demo.inspect import fitting, model_file
from fmcore.detector.settings import FitSettings
from fmcore.errors import DataError, FlowMismatchingError, ModelError, SettingsError


@pytest.fixture(autouse=True)
def on_pixels(monkeypatch):
    monkeypatch.setattr(fitting, "SETTINGS", FitSettings.parse(**PIXELS))


def fit_own(paths) -> tuple[str, str]:
    *_, last = fitting.fit_own([{"path": str(path)} for path in paths])
    return last


def zipped(path: Path, entries: dict[str, Path]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, source in entries.items():
            archive.write(source, name)
    return path


def test_the_fewest_images_that_give_a_threshold_are_as_the_page_says(tmp_path):
    paths = write_blobs(tmp_path, range(fitting.FOR_A_THRESHOLD))
    sentence, token = fit_own(paths[1:])
    assert "too few" in sentence and own.MODELS.get(token).threshold() is None
    sentence, token = fit_own(paths)
    assert "at most 5%" in sentence and own.MODELS.get(token).threshold() is not None


def test_good_pictures_unlike_the_others_are_named(tmp_path):
    odd = write_blobs(tmp_path / "odd", range(300, 301), defect=True)[0].rename(tmp_path / "odd one.png")
    sentence, _ = fit_own([*write_blobs(tmp_path, range(20)), odd])
    assert "Unlike the others, so not counted: odd one.png; are they good?" in sentence


def test_bad_own_images_end_in_one_sentence(tmp_path):
    paths = write_blobs(tmp_path, range(5))
    bad, cut = tmp_path / "text.png", tmp_path / "cut.png"
    bad.write_text("no image")
    cut.write_bytes(paths[0].read_bytes()[:900])
    for given, part in (
        (paths[:4], "at least 5"),
        ([*paths[:4], bad], "text.png"),
        ([*paths[:4], cut], "cut.png"),
        ([bad] * 5, "Only 0 of 5"),
        (paths * 101, "at most 500"),
        ([], "no good pictures yet"),
    ):
        with pytest.raises(FlowMismatchingError) as caught:
            fit_own(given)
        assert_one_sentence(caught.value, part)


def test_good_pictures_come_in_a_zip_file_too_and_of_a_data_set_only_those_to_learn_from(tmp_path):
    paths = write_blobs(tmp_path / "good", range(6))
    flat = zipped(tmp_path / "flat.zip", {f"day {n}/{p.name}": p for n, p in enumerate(paths)})
    assert "Fitted to 6 pictures" in fit_own([flat])[0]
    entries = {f"set/train/good/{p.name}": p for p in paths} | {f"set/test/hole/{p.name}": p for p in paths}
    assert "Fitted to 6 pictures" in fit_own([zipped(tmp_path / "set.zip", entries)])[0]
    (tmp_path / "no.zip").write_text("no zip")
    with pytest.raises(DataError, match="not a zip file"):
        fit_own([tmp_path / "no.zip"])


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    model = last_model({"own": [draw_blob(n)[0] for n in range(6)]})
    return model_file.write_model(folder, own.MODELS.put(model, 10_000))


def test_a_model_that_was_saved_scores_alike_when_it_is_opened_again(saved):
    with zipfile.ZipFile(saved) as archive:
        assert {Path(name).suffix for name in archive.namelist()} == {".json", ".safetensors"}
    model, token = model_file.open_model(saved)
    assert own.find_model(own.OWN, None, token) == (model, "own")
    picture = draw_blob(99, defect=True)[0]
    again = last_model({"own": [draw_blob(n)[0] for n in range(6)]})
    assert model.score(picture).score == pytest.approx(again.score(picture).score, rel=1e-3)
    with pytest.raises(SettingsError, match="no fitted model"):
        model_file.write_model(saved.parent, "of nobody")


def changed(saved: Path, target: Path, change) -> Path:
    with zipfile.ZipFile(saved) as archive, zipfile.ZipFile(target, "w") as other:
        for name in archive.namelist():
            data = archive.read(name)
            if name.endswith(".json"):
                about = json.loads(data)
                change(about)
                data = json.dumps(about)
            other.writestr(name, data)
    return target


@pytest.mark.parametrize(
    ("config", "part"),
    [
        ({"encoder": "somebody/else"}, "another encoder"),
        ({"encoder": "/etc"}, "another encoder"),
        ({"height": 10**6}, "'height' must be 1 to 256"),
        ({"width": -1}, "'width'"),
        ({"channels": "3"}, "'channels'"),
    ],
)
def test_a_model_that_asks_for_more_than_the_app_offers_is_refused(saved, tmp_path, config, part):
    def change(about):
        about["categories"]["own"]["view"]["config"] |= config

    with pytest.raises(ModelError) as caught:
        model_file.open_model(changed(saved, tmp_path / "model.zip", change))
    assert_one_sentence(caught.value, part)


def test_what_is_no_model_is_refused_in_one_sentence(saved, tmp_path):
    (tmp_path / "a.png").write_bytes(b"")
    outside = changed(saved, tmp_path / "files.zip", lambda about: about.update(files=["../../secret"]))
    for path, part in (
        (zipped(tmp_path / "pictures.zip", {"a.png": tmp_path / "a.png"}), "holds no model"),
        (changed(saved, tmp_path / "old.zip", lambda about: about.update(format=1)), "older version"),
        (outside, "missing or damaged"),
    ):
        with pytest.raises(ModelError) as caught:
            model_file.open_model(path)
        assert_one_sentence(caught.value, part)
