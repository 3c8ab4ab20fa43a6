"""A model as ONNX gives the numbers of `model.score`, run by ONNX Runtime alone."""

from __future__ import annotations

import builtins
import inspect
import re

import numpy as np
import pytest
from conftest import SIZE, assert_one_sentence, blob_pictures, draw_blob, last_model
from PIL import Image

from fmcore.cli import model as commands
from fmcore.data.picture import Picture
from fmcore.detector.export import export
from fmcore.detector.score import score_steps
from fmcore.errors import ModelError, SettingsError
from fmcore.mismatch import Mismatch

SMALL = {"encoder": "efficientnet-lite0", "view": {"resolution": 64, "places": 80}, "paths": {}}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Of pictures that are not square, with a region of interest that leaves out their left quarter."""
    roi = tmp_path_factory.mktemp("roi") / "roi.png"
    mask = np.zeros((24, SIZE), np.uint8)
    mask[:, SIZE // 4 :] = 255
    Image.fromarray(mask).save(roi)
    pictures = [picture[:24] for picture in blob_pictures(range(24))]
    return last_model(
        {"x": pictures}, false_alarm_rate=0.2, heat={"exponent": 1.5, "smoothing": 0.8}, roi=str(roi), **SMALL
    )


def test_the_example_of_the_help_gives_the_scores_of_the_model(model, tmp_path, call, monkeypatch, capsys):
    model.save(tmp_path / "model")
    code, out, _ = call("export", tmp_path / "model", "--out", tmp_path / "parts.onnx")
    view = model.view()
    assert code == 0 and f"({view.pixel_height}, {view.pixel_width}, 3)" in out and "bicubic" in out
    assert [p.name for p in tmp_path.iterdir() if p.is_file()] == ["parts.onnx"]
    monkeypatch.chdir(tmp_path)
    text = inspect.getdoc(commands.export)
    example = re.search(r"\x08\n(.*?)\n\n", text, re.DOTALL).group(1)
    assert len(example.splitlines()) <= 10 and "fmcore" not in example
    for seed, defect in ((70, False), (71, True), (72, True)):
        picture = draw_blob(seed, defect=defect)[0][:24]
        Image.fromarray(picture).save("017.png")
        exec(example, found := {})
        expected = model.score(picture)
        heatmap = Mismatch.collect(score_steps(model, Picture.of("017.png"))).heatmap(model.info.heat)
        assert (heatmap[:, :2] == 0).all() and (found["heatmap"][:, :2] == 0).all()
        np.testing.assert_allclose(found["heatmap"], heatmap, rtol=1e-3, atol=1e-3 * heatmap.max())
        assert float(found["score"]) == pytest.approx(expected.score, rel=1e-3)
        assert bool(found["score"] > found["threshold"]) == expected.anomalous
    assert str(heatmap.shape) in capsys.readouterr().out


def test_what_cannot_be_exported_is_one_sentence(model, gaussian_model, tmp_path, monkeypatch):
    for made, options, parts in (
        (gaussian_model, {}, ("closed form on feature maps",)),
        (model, {"category": "y"}, ("'y'",)),
    ):
        with pytest.raises((ModelError, SettingsError)) as caught:
            export(made, tmp_path / "m.onnx", **options)
        assert_one_sentence(caught.value, *parts)
    imported = builtins.__import__

    def without(name, *arguments):
        if name == "onnxscript":
            raise ImportError(name)
        return imported(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ModelError) as caught:
        export(model, tmp_path / "m.onnx")
    assert_one_sentence(caught.value, "pip install onnx onnxscript")
    assert not (tmp_path / "m.onnx").exists()


def test_another_format_is_refused_before_the_work(tmp_path, call):
    code, _, err = call("export", tmp_path / "model", "--format", "openvino", "--out", tmp_path / "m.xml")
    assert code == 2
    assert_one_sentence(err, "'openvino'", "onnx")
