"""Gaussian tiles beside a field: the joint mismatch, who has them, and that fit, model and benchmark use them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import SIZE, assert_one_sentence, blob_tensors, random_gaussian, write_blobs

from fmcore.baselines.methods import MethodSettings, Workshop
from fmcore.errors import SettingsError
from fmcore.fields.tiled import TiledField, fit_tiled_gaussian
from fmcore.fisher_map import fisher_steps
from fmcore.fit_settings import FitSettings, recommended_paths
from fmcore.fitting import fit
from fmcore.mismatch import TILES, HeatSettings, Mismatch, PathSettings, image_score, mismatch_steps
from fmcore.source import mapped_back


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("structure", [0.0, 0.5])
def test_beside_a_field_the_mismatch_is_the_geometric_mean_along_paths_of_both_sources(share, structure):
    field, image = mapped_back(random_gaussian((3, 16, 16), 3), "natural"), blob_tensors([1], size=16)[0]
    tiles = TiledField([random_gaussian((3, 8, 8), 2, seed=n) for n in range(9)], 8)
    settings = PathSettings(paths=5, times=3, structure=structure)
    alone = [Mismatch.collect(mismatch_steps(f, image, settings)).maps.astype(np.float64) for f in (field, tiles)]
    steps = mismatch_steps(field, image, settings.replace(tiles=share), tiles=tiles, chunk=2)
    found = Mismatch.collect(steps).maps
    np.testing.assert_allclose(found, alone[0] ** (1 - share) * alone[1] ** share, rtol=2e-3, atol=1e-5)


def test_without_a_share_tiles_are_not_called():
    field = random_gaussian((3, 16, 16), 3)
    step = next(mismatch_steps(field, torch.zeros(3, 16, 16), PathSettings(), tiles=lambda x, t: 1 / 0))
    assert step.paths.min() > 0


def test_a_share_without_tiles_is_refused():
    field, image = random_gaussian((3, 16, 16), 3), torch.zeros(3, 16, 16)
    with pytest.raises(SettingsError) as error:
        next(mismatch_steps(field, image, PathSettings(tiles=0.3)))
    assert_one_sentence(error.value, "no Gaussian tiles", "tiles = 0")
    with pytest.raises(SettingsError) as error:
        next(fisher_steps(field, field, image, PathSettings(tiles=0.3)))
    assert_one_sentence(error.value, "tiles = 0")
    with pytest.raises(SettingsError) as error:
        recommended_paths("gaussian", tiles=0.3)
    assert_one_sentence(error.value, "'tiles' = 0.3", "unet")
    with pytest.raises(SettingsError) as error:
        list(
            fit({"a": blob_tensors(range(3))}, FitSettings(field="gaussian", size=SIZE, paths=PathSettings(tiles=0.3)))
        )
    assert_one_sentence(error.value, "no Gaussian tiles", "tiles = 0")


def test_a_network_has_tiles_fitted_to_what_it_trains_on_and_a_gaussian_has_none():
    images = {"a": blob_tensors(range(12)), "b": blob_tensors(range(12)).flip(3)}
    held = {name: batch[:3] for name, batch in images.items()}
    options = {"size": images["a"].shape[-1], "steps": 1, "batch": 1, "widths": (8,)}
    *_, last = fit(images, FitSettings.parse(**options), held_out=held)
    assert last.model.info.tiled and last.model.info.paths.tiles == TILES
    for name, batch in images.items():
        found = last.model.tiles_of(name)
        expected = fit_tiled_gaussian(batch, tile=batch.shape[-1] // 2)
        for one, other in zip(found.fields, expected.fields, strict=True):
            assert torch.equal(one.mean, other.mean)
    assert not torch.equal(last.model.tiles_of("a").fields[0].mean, last.model.tiles_of("b").fields[0].mean)
    bare = FitSettings.parse(**options, paths=PathSettings.recommended())
    for settings in (bare, FitSettings.parse(field="gaussian", size=options["size"])):
        *_, last = fit(images, settings)
        assert not last.model.info.tiled and last.model.tiles_of("a") is None


@pytest.mark.parametrize("channels", [1, 3])
def test_three_images_and_places_that_never_change_are_enough(channels):
    images = blob_tensors(range(3), channels=channels)
    images[..., :20, :20] = -1  # all of the first tile
    options = {"size": SIZE, "steps": 1, "batch": 1, "widths": (8,)}
    *_, last = fit({"a": images}, FitSettings.parse(**options))
    marked = images[0].clone()
    marked[:, 4:8, 4:8] = 1
    scores = []
    for image in (images[0], marked):
        steps = mismatch_steps(last.model.field(), image, last.model.info.paths, tiles=last.model.tiles_of())
        scores.append(image_score(Mismatch.collect(steps).heatmap(last.model.info.heat)))
    assert np.isfinite(scores).all() and scores[1] > 2 * scores[0] > 0


def test_the_threshold_is_that_of_network_and_tiles_together():
    images, held = {"a": blob_tensors(range(12))}, {"a": blob_tensors(range(20, 32))}
    options = {"size": SIZE, "steps": 1, "batch": 1, "widths": (8,), "false_alarm_rate": 0.5}
    *_, last = fit(images, FitSettings.parse(**options), held_out=held)
    model = last.model
    record = [mismatch_steps(model.field(), y, model.info.paths, tiles=model.tiles_of()) for y in held["a"]]
    scores = sorted(image_score(Mismatch.collect(steps).heatmap(model.info.heat)) for steps in record)
    threshold = model.info.thresholds["a"].value
    assert threshold == pytest.approx(scores[6], rel=1e-5)
    *_, bare = fit(images, FitSettings.parse(**options, paths=PathSettings.recommended()), held_out=held)
    assert bare.model.info.thresholds["a"].value != pytest.approx(threshold, rel=1e-2)


def test_the_benchmark_puts_tiles_beside_any_field():
    good, held = blob_tensors(range(10)), blob_tensors(range(10, 12))
    shop = Workshop("blob", good, held, MethodSettings(paths=2, times=3))
    *_, detector = shop.build("with-tiles:gaussian")
    paths = recommended_paths("unet", paths=2, times=3)
    tiles = fit_tiled_gaussian(good, tile=SIZE // 2)
    record = Mismatch.collect(mismatch_steps(detector.field, held[0], paths, tiles=tiles))
    np.testing.assert_array_equal(detector.maps(held[0])[detector.default], record.heatmap(HeatSettings(smoothing=0.0)))


def test_the_command_line_refuses_tiles_that_are_not_there_and_leaves_what_it_finds(call, tmp_path):
    good = write_blobs(tmp_path / "good", range(6))
    fit_gaussian = ("fit", tmp_path / "good", "--out", tmp_path / "model", "--field", "gaussian", "--size", 32)
    code, _, err = call(*fit_gaussian, "--tiles", 0.3)
    assert code == 2 and not (tmp_path / "model").exists()
    assert_one_sentence(err, "'tiles' = 0.3", "unet")
    assert call(*fit_gaussian)[0] == 0
    score = ("score", tmp_path / "model", good[0], "--out", tmp_path / "maps")
    assert call(*score)[0] == 0
    before = (tmp_path / "maps" / "scores.csv").read_text()
    code, _, err = call(*score, "--tiles", 0.3)
    assert code == 2 and (tmp_path / "maps" / "scores.csv").read_text() == before
    assert_one_sentence(err, "this model has no Gaussian tiles")


def test_a_fitted_network_is_scored_with_its_tiles_and_on_request_without(call, tmp_path):
    good = write_blobs(tmp_path / "good", range(6))
    network = ("--size", 32, "--steps", 2, "--batch", 2, "--widths", "8", "--paths", 2, "--times", 3)
    assert call("fit", tmp_path / "good", "--out", tmp_path / "model", *network)[0] == 0
    found = {}
    for share in (None, TILES, 0.0):
        out = tmp_path / f"maps-{share}"
        options = () if share is None else ("--tiles", share)
        assert call("score", tmp_path / "model", good[0], "--out", out, *options)[0] == 0
        found[share] = (out / "scores.csv").read_text()
    assert found[None] == found[TILES] != found[0.0]
