"""Gaussian tiles beside a field: the joint mismatch, who has them, and that fit, model and benchmark use them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from conftest import (
    SIZE,
    assert_one_sentence,
    blob_tensors,
    draw_blob,
    random_gaussian,
    write_blobs,
    write_category,
)

from fmcore.data.folders import find_test_items
from fmcore.data.picture import Picture, read_picture
from fmcore.decomposition.fisher_map import fisher_steps
from fmcore.detector.fit import fit
from fmcore.detector.model import load_model, read_info, save_model
from fmcore.detector.score import score_picture, score_steps
from fmcore.detector.settings import FitSettings, recommended_paths
from fmcore.detector.tiles import fit_tiles, recommended_sizes, recommended_view, view_sizes
from fmcore.errors import DataError, ModelError, SettingsError
from fmcore.evaluation.baselines.methods import MethodSettings, Workshop
from fmcore.evaluation.baselines.selection import split_images
from fmcore.evaluation.benchmark import BenchmarkSettings, benchmark, find_categories
from fmcore.evaluation.metrics import auroc
from fmcore.fields.gaussian import fit_gaussian
from fmcore.fields.source import mapped_back
from fmcore.fields.tiled import TiledField, fit_tiled_gaussian
from fmcore.mismatch.mismatch import LATE, TILES, HeatSettings, Mismatch, PathSettings, image_score, mismatch_steps


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("structure", [0.0, 0.5])
def test_beside_a_field_its_mismatch_and_the_gap_of_tiles_join_along_paths_of_both_sources(share, structure):
    field, image = mapped_back(random_gaussian((3, 16, 16), 3), "natural"), blob_tensors([1], size=16)[0]
    tiles = TiledField([random_gaussian((3, 8, 8), 2, seed=n) for n in range(9)], 8)
    settings = PathSettings(paths=5, times=3, structure=structure)
    members = ((field, settings), (tiles, settings.replace(structure=0.0)))
    alone = [Mismatch.collect(mismatch_steps(f, image, s)).maps.astype(np.float64) for f, s in members]
    steps = mismatch_steps(field, image, settings.replace(tiles=share), tiles=tiles, chunk=2)
    found = Mismatch.collect(steps).maps
    np.testing.assert_allclose(found, alone[0] ** (1 - share) * alone[1] ** share, rtol=2e-3, atol=1e-5)


@pytest.mark.parametrize("side", [16, 24, 32])
def test_tiles_may_see_more_pixels_and_their_mismatch_is_averaged_over_them(side):
    field, image, fine = random_gaussian((3, 16, 16), 3), *(blob_tensors([1], size=n)[0] for n in (16, side))
    tiles = TiledField([random_gaussian((3, side // 2, side // 2), 2, seed=n) for n in range(9)], side // 2)
    settings = PathSettings(paths=3, times=2, structure=0.5)
    seen = Mismatch.collect(mismatch_steps(tiles, fine, settings.replace(structure=0.0))).maps
    bins = [slice(i * side // 16, math.ceil((i + 1) * side / 16)) for i in range(16)]
    averaged = np.array([[seen[..., rows, columns].mean((-2, -1)) for columns in bins] for rows in bins])
    expected = (
        Mismatch.collect(mismatch_steps(field, image, settings)).maps ** 0.6
        * np.moveaxis(averaged, (0, 1), (-2, -1)) ** 0.4
    )
    found = Mismatch.collect(mismatch_steps(field, image, settings.replace(tiles=0.4), tiles=tiles, fine=fine)).maps
    assert found.shape == (2, 3, 16, 16)
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_tiles_see_twice_as_many_pixels_up_to_256():
    assert [recommended_view(size) for size in (32, 64, 128, 192, 256)] == [64, 128, 256, 256, 256]


def test_images_are_read_at_no_size_twice():
    assert recommended_sizes(128, tiles=True) == view_sizes(128, 256) == (128, 256)
    for sizes in (recommended_sizes(128, tiles=False), view_sizes(128, 0), view_sizes(128, 128)):
        assert sizes == (128,)
    assert recommended_sizes(256, tiles=True) == (256,)


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
    assert last.model.info.tile_view == options["size"] and last.model.info.paths.tiles == TILES
    for name, batch in images.items():
        found = last.model.tiles_of(name)
        expected = fit_tiled_gaussian(batch, tile=batch.shape[-1] // 2)
        for one, other in zip(found.fields, expected.fields, strict=True):
            assert torch.equal(one.mean, other.mean)
    assert not torch.equal(last.model.tiles_of("a").fields[0].mean, last.model.tiles_of("b").fields[0].mean)
    bare = FitSettings.parse(**options, paths=PathSettings.recommended())
    for settings in (bare, FitSettings.parse(field="gaussian", size=options["size"])):
        *_, last = fit(images, settings)
        assert not last.model.info.tile_view and last.model.tiles_of("a") is None


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
    assert (model.info.heat.exponent, bare.model.info.heat.exponent) == (LATE, 2.0)
    assert bare.model.info.thresholds["a"].value != pytest.approx(threshold, rel=1e-2)


def test_fitted_to_finer_images_they_find_what_the_network_cannot_see(tmp_path):
    """Stripes one fine pixel wide, gone at the network's size: only tiles that saw finer images know them."""
    coarse, fine = {"a": blob_tensors(range(12))}, {"a": blob_tensors(range(12), size=2 * SIZE)}
    options = {"size": SIZE, "steps": 1, "batch": 1, "widths": (8,)}
    *_, last = fit(coarse, FitSettings.parse(**options), fine=fine)
    model = last.model
    assert (model.info.size, model.info.tile_view) == (SIZE, 2 * SIZE)
    plain = draw_blob(50, size=2 * SIZE)[0]
    striped = plain.copy()
    striped[20:36, 20:36:2] -= 25
    striped[20:36, 21:36:2] += 25
    pictures = [Picture(pixels) for pixels in (plain, striped)]
    seen = [picture.tensor(SIZE, 3)[:, 11:17, 11:17] for picture in pictures]
    assert (seen[0] - seen[1]).abs().max() < 0.03
    inside = (slice(11, 17), slice(11, 17))
    for share, least, most in ((0.0, 0.9, 1.1), (TILES, 1.2, 100)):
        paths = model.info.paths.replace(tiles=share)
        first, second = (
            Mismatch.collect(score_steps(model, p, paths)).heatmap(HeatSettings(smoothing=0.0))[inside].mean()
            for p in pictures
        )
        assert least < second / first < most, share
    save_model(tmp_path, model)
    kept, found = (score_picture(m, pictures[1]) for m in (model, load_model(tmp_path)))
    assert kept.score == found.score
    np.testing.assert_array_equal(kept.heatmap, found.heatmap)


def test_a_model_whose_tiles_were_compared_otherwise_is_refused(tmp_path):
    """Format 1 compared tiles by structure too, so that its thresholds say nothing about today's scores."""
    options = {"size": SIZE, "steps": 1, "batch": 1, "widths": (8,)}
    for paths, usable in ((recommended_paths("unet"), False), (PathSettings.recommended(), True)):
        *_, last = fit({"a": blob_tensors(range(4))}, FitSettings.parse(**options, paths=paths))
        save_model(tmp_path / str(usable), last.model)
        path = tmp_path / str(usable) / "model.json"
        path.write_text(path.read_text().replace('"format": 2', '"format": 1'))
        if usable:
            assert load_model(path.parent).info.heat.exponent == 2
        else:
            with pytest.raises(ModelError) as error:
                load_model(path.parent)
            assert_one_sentence(error.value, "another format", "fit the model again")


def test_fine_images_must_be_those_that_the_network_sees():
    images = {"a": blob_tensors(range(4))}
    for options in (
        {"fine": {"a": blob_tensors(range(3), size=64)}},
        {"fine": {"b": images["a"]}},
        {"fine": images, "held_out": images},
    ):
        with pytest.raises(DataError) as error:
            next(fit(images, FitSettings.parse(size=SIZE, steps=1, widths=(8,)), **options))
        assert_one_sentence(error.value, "'a'", "4")


def test_the_benchmark_puts_tiles_beside_any_field():
    good, held = blob_tensors(range(10)), blob_tensors(range(10, 12))
    shop = Workshop("blob", good, held, MethodSettings(paths=2, times=3))
    *_, detector = shop.build("with-tiles:gaussian")
    paths = recommended_paths("unet", paths=2, times=3)
    tiles = fit_tiles(good)
    record = Mismatch.collect(mismatch_steps(detector.field, held[0], paths, tiles=tiles))
    heat = HeatSettings(exponent=LATE, smoothing=0.0)
    np.testing.assert_array_equal(detector.maps(held[0])[detector.default], record.heatmap(heat))


def test_the_benchmark_shows_tiles_finer_images(tmp_path):
    """As `fit` does: twice the benchmark's size, and at test time the image at that size too."""
    write_category(tmp_path / "blob")
    settings = BenchmarkSettings(methods=("with-tiles:gaussian",), size=32, paths=1, times=2, bootstrap=0)
    *_, last = benchmark(find_categories([tmp_path / "blob"]), settings, tmp_path / "out")
    good = [draw_blob(seed)[0] for seed in range(12)]
    train, fine = (split_images(torch.stack([Picture(p).tensor(n, 3) for p in good]), 0.2, 0)[0] for n in (32, 64))
    tiles, paths = fit_tiles(fine), recommended_paths("unet", paths=1, times=2)
    scores = []
    for item in find_test_items(tmp_path / "blob"):
        views = [read_picture(item.path).tensor(n, 3) for n in (32, 64)]
        steps = mismatch_steps(fit_gaussian(train), views[0], paths, tiles=tiles, fine=views[1])
        scores.append(image_score(Mismatch.collect(steps).heatmap(HeatSettings(exponent=LATE, smoothing=1.0))))
    chosen = last.result["chosen"]
    assert (chosen["setting"], chosen["smoothing"], chosen["synthetic"]) == ("min r=6 t>=0", 1 / 32, None)
    truth = [not item.is_good for item in find_test_items(tmp_path / "blob")]
    assert last.result["image_auroc"] == pytest.approx(auroc(np.array(scores), np.array(truth)))


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
    assert read_info(tmp_path / "model").tile_view == 64
    found = {}
    for share in (None, TILES, 0.0):
        out = tmp_path / f"maps-{share}"
        options = () if share is None else ("--tiles", share)
        assert call("score", tmp_path / "model", good[0], "--out", out, *options)[0] == 0
        found[share] = (out / "scores.csv").read_text()
    assert found[None] == found[TILES] != found[0.0]
