"""Sweep, Fisher maps as detectors, and timing, on labelled images."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import SIZE, assert_one_sentence, blob_tensors, dataset, draw_blob
from sklearn.metrics import roc_auc_score

from fmcore.data.folders import TestItem, find_good_images, find_test_items, read_pictures
from fmcore.data.picture import resize_map
from fmcore.errors import DataError, ImageError, SettingsError
from fmcore.evaluation import studies
from fmcore.evaluation.metrics import auroc
from fmcore.evaluation.studies import (
    STAGES,
    LabelledImages,
    compare_fisher,
    grid,
    measure_scaling,
    measure_speed,
    read_test_set,
    sweep,
)
from fmcore.fields.gaussian import fit_gaussian
from fmcore.mismatch import HeatSettings, Mismatch, PathSettings, image_score, mismatch_steps

PATHS, HEAT = PathSettings(paths=3, times=5, noise_seed=7), HeatSettings(smoothing=1.0)


class Counted:
    """A field that remembers how many states it saw at which times."""

    def __init__(self, field):
        self.field, self.calls = field, []

    def __call__(self, x, t):
        self.calls.append((len(x), t))
        return self.field(x, t)


class Exact(Counted):
    def expected_mismatch(self, y):
        return lambda t: t * y.square().sum(0)


@pytest.fixture(scope="module")
def field():
    return fit_gaussian(blob_tensors(range(12)))


@pytest.fixture(scope="module")
def labelled():
    """Four good and four faintly defective images with masks, not all told apart."""
    good = blob_tensors(range(100, 104))
    drawn = [draw_blob(seed, defect=True) for seed in range(200, 204)]
    marked = torch.from_numpy(np.stack([d[0] for d in drawn])).permute(0, 3, 1, 2).float() / 127.5 - 1
    images = torch.cat([good, 0.93 * blob_tensors(range(200, 204)) + 0.07 * marked])
    return LabelledImages(images, np.arange(8) > 3, (np.zeros((32, 32), bool),) * 4 + tuple(d[1] for d in drawn), ())


def last(records):
    *steps, record = records
    assert [s.done for s in steps] == list(range(1, record.total + 1)) and all(s.result is None for s in steps)
    return record.result


def test_every_case_equals_a_fresh_score(field, labelled):
    images, defective, masks, _ = labelled
    cases = grid(PATHS, HEAT, paths=(1, 3), times=(2, 5, 7), aggregator=("min", "mean"), exponent=(0.0, 4.0))
    assert len(cases) == len(set(cases)) == 24
    results = last(sweep(field, labelled, cases))
    assert [(r.paths, r.heat) for r in results] == cases
    for paths, heat, image_auroc, pixel_auroc, evaluations in results[::3]:
        maps = [Mismatch.collect(mismatch_steps(field, image, paths)).heatmap(heat) for image in images]
        assert image_auroc == pytest.approx(roc_auc_score(defective, [image_score(m) for m in maps]))
        assert pixel_auroc == pytest.approx(roc_auc_score(np.stack(masks).ravel(), np.stack(maps).ravel()), abs=1e-4)
        assert evaluations == paths.paths * paths.times
    assert len({r.image_auroc for r in results}) > 1 and len({r.pixel_auroc for r in results}) > 5


def test_the_field_runs_once_for_all_that_one_record_holds(field, labelled):
    counted, two = Counted(field), LabelledImages(labelled.images[:2], np.array([False, True]), (None, None), ())
    cases = grid(PATHS, HEAT, paths=(1, 4), times=(1, 2, 5)) + grid(PATHS, HEAT, exponent=(0.0, 1.0, 2.0))
    cases += [(PATHS.replace(times=4, paths=2), HEAT)]
    last(sweep(counted, two, cases))
    expected = [(4, pytest.approx(j / 6)) for j in range(1, 6)] + [(2, pytest.approx(j / 5)) for j in range(1, 5)]
    assert counted.calls == 2 * expected


def test_the_exact_mean_is_a_run_of_its_own(field, labelled):
    images, defective, *_ = labelled
    exact = Exact(field)
    cases = [
        (PATHS.replace(paths=0), HEAT.replace(aggregator="mean")),
        (PATHS, HEAT),
        (PATHS.replace(paths=0, times=2), HEAT),
    ]
    first, second, third = last(sweep(exact, labelled, cases))
    assert len(exact.calls) == len(images) * PATHS.times
    scores = [image_score(Mismatch.collect(mismatch_steps(exact, y, cases[0][0])).heatmap(cases[0][1])) for y in images]
    assert first.image_auroc == pytest.approx(roc_auc_score(defective, scores))
    assert (first.evaluations, second.evaluations, third.evaluations) == (0, 15, 0)


def test_maps_are_compared_at_the_size_of_the_masks_and_unknown_truth_counts_for_images_only(field, labelled):
    images, defective, masks, _ = labelled
    large = [np.kron(m, np.ones((3, 2), bool)) for m in masks]
    large[4] = None
    (result,) = last(sweep(field, labelled._replace(masks=tuple(large)), [(PATHS, HEAT)]))
    maps = [Mismatch.collect(mismatch_steps(field, image, PATHS)).heatmap(HEAT) for image in images]
    kept = [i for i in range(8) if i != 4]
    resized = np.stack([resize_map(maps[i], height=96, width=64) for i in kept])
    truth = np.stack([large[i] for i in kept])
    assert result.pixel_auroc == pytest.approx(roc_auc_score(truth.ravel(), resized.ravel()), abs=1e-4)
    assert result.image_auroc == pytest.approx(roc_auc_score(defective, [image_score(m) for m in maps]))
    (result,) = last(sweep(field, labelled._replace(masks=(None,) * 8), [(PATHS, HEAT)]))
    assert result.pixel_auroc is None and result.image_auroc is not None


def test_unknown_choices_and_values_are_one_sentence():
    for choices, part in (({"exponents": (1.0,)}, "exponent"), ({"times": (0,)}, "times")):
        with pytest.raises(SettingsError) as error:
            grid(PATHS, HEAT, **choices)
        assert_one_sentence(error.value, part)


def pixels(picture) -> torch.Tensor:
    return picture.resized(SIZE, SIZE, 3)


@pytest.fixture(scope="module")
def test_set(category_folder):
    return read_test_set(find_test_items(category_folder), pixels, pixel_size=64)


def test_the_result_is_the_aurocs_of_both_maps(field, test_set):
    q = fit_gaussian(test_set.images)
    result, maps = last(compare_fisher(field, q, test_set, PATHS, HEAT))
    scores = [image_score(pair.fisher.heatmap(HEAT)) for pair in maps]
    assert len(maps) == 8 and result["fisher"]["image_auroc"] == auroc(np.array(scores), test_set.defective)
    for kind in ("mismatch", "fisher"):
        assert result[kind]["image_auroc"] == 1 and result[kind]["pixel_auroc"] > 0.9
    # A q that knows nothing of the test images leaves no defect in the Fisher map.
    blind, _ = last(compare_fisher(field, field, test_set, PATHS, HEAT))
    assert blind["fisher"] == {"image_auroc": 0.5, "pixel_auroc": 0.5}
    assert blind["mismatch"] == result["mismatch"]


def test_undefined_aurocs_are_none(field, test_set, category_folder):
    good = [item for item in find_test_items(category_folder) if item.is_good]
    images = read_test_set(good, pixels, pixel_size=64)
    result, _ = last(compare_fisher(field, field, images, PATHS, HEAT))
    assert result["mismatch"] == {"image_auroc": None, "pixel_auroc": None}
    unmarked = images._replace(defective=np.ones(4, bool), masks=(None,) * 4)
    result, _ = last(compare_fisher(field, field, unmarked, PATHS, HEAT))
    assert result["fisher"] == {"image_auroc": None, "pixel_auroc": None}


def test_unreadable_files_are_left_out_and_named(category_folder, tmp_path):
    items = find_test_items(category_folder)
    (tmp_path / "bad.png").write_text("no image")
    broken = type(items[0])(tmp_path / "bad.png", "good", None)
    found = read_test_set([broken, *items], pixels)
    assert len(found.images) == len(found.masks) == len(items) and len(found.unreadable) == 1
    assert_one_sentence(found.unreadable[0], "bad.png")
    with pytest.raises(DataError) as caught:
        read_test_set([broken], pixels)
    assert_one_sentence(caught.value.args[0].split(" The first")[0], "None of the 1")


def test_on_real_bottles_both_maps_find_the_defects():
    root = dataset("mvtec/bottle")
    pictures = read_pictures(find_good_images(root).categories["bottle"][::3])
    images = torch.stack([picture.resized(32, 32, 3) for picture in pictures])
    test = read_test_set(find_test_items(root)[::3], lambda picture: picture.resized(32, 32, 3), pixel_size=64)
    paths = PathSettings(paths=2, times=6)
    result, _ = last(compare_fisher(fit_gaussian(images), fit_gaussian(test.images), test, paths, HEAT))
    for kind in ("mismatch", "fisher"):
        assert result[kind]["image_auroc"] > 0.95 and result[kind]["pixel_auroc"] > 0.93
    assert torch.isfinite(test.images).all()


@pytest.fixture(scope="module")
def speed_items(category_folder):
    good, defective = ([i for i in find_test_items(category_folder) if i.is_good == kind] for kind in (True, False))
    return [*good[:2], *defective[:2]]


class Clock:
    """Time passes only where a test says so."""

    def __init__(self):
        self.wall = self.processor = 0.0

    def perf_counter(self) -> float:
        return self.wall

    def process_time(self) -> float:
        return self.processor

    def spend(self, wall: float, processor: float = 0.0) -> None:
        self.wall, self.processor = self.wall + wall, self.processor + processor


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(studies, "time", clock)
    return clock


def case(clock, *, field=1.0, log=None, sign=1.0):
    """Steps of a detector that knows: its map is bright where the picture is cyan."""

    def view(picture):
        clock.spend(3.0, 5.0)
        return picture.resized(SIZE, SIZE, 3)

    def detect(y):
        if log is not None:
            log.append(field)
        clock.spend(field, 0.5)
        return y

    def heatmap(y):
        clock.spend(0.25)
        return sign * (y[2] - y[0]).numpy() + 3

    return view, detect, heatmap


def test_time_is_booked_on_the_stage_that_took_it_and_each_case_has_its_auroc(clock, speed_items):
    cases = {"few": case(clock), "many": case(clock, field=12.0), "wrong": case(clock, sign=-1.0)}
    *_, record = measure_speed(cases, speed_items, rounds=3)
    assert list(record.result) == list(cases) and STAGES == ("decode", "view", "field", "aggregation")
    for name, field in (("few", 1.0), ("many", 12.0)):
        found = record.result[name]
        np.testing.assert_allclose(found["seconds"], 3 * [[0, 3, field, 0.25]])
        np.testing.assert_allclose(found["processor"], 3 * [[0, 5, 0.5, 0]])
        assert found["image_auroc"] == 1
    assert record.result["wrong"]["image_auroc"] < 0.5
    *_, record = measure_speed({"a": case(clock)}, speed_items[:2], rounds=1)
    assert record.result["a"]["image_auroc"] is None


def test_cases_take_turns_and_the_first_turn_does_not_count(clock, speed_items):
    log = []
    cases = {name: case(clock, field=ord(name), log=log) for name in "ab"}
    records = list(measure_speed(cases, speed_items[:2], rounds=2))
    assert "".join(map(chr, log)) == "ababababab"
    assert [(r.done, r.total) for r in records] == [(i, 10) for i in (*range(1, 11), 10)]
    assert records[-1].result["b"]["seconds"].shape == (2, len(STAGES))


def test_bad_cases_are_one_sentence(clock, speed_items, tmp_path):
    one = {"a": case(clock)}
    for cases, items, rounds in (({}, speed_items, 1), (one, [], 1), (one, speed_items, 0)):
        with pytest.raises(SettingsError) as caught:
            list(measure_speed(cases, items, rounds=rounds))
        assert_one_sentence(caught.value, "at least one")
    with pytest.raises(ImageError):
        list(measure_speed(one, [TestItem(tmp_path / "nothing.png", "good", None)]))


def test_the_exponent_is_that_of_a_growing_job(clock):
    *early, record = measure_scaling(lambda n: clock.spend(n, n**1.5 / 100), (4, 8, 16, 32))
    assert [(r.done, r.total) for r in early] == [(i, 4) for i in range(1, 5)]
    assert record.result["sizes"] == [4, 8, 16, 32] and record.result["exponent"] == pytest.approx(1.5)
    np.testing.assert_allclose(record.result["seconds"], [0.08, 8**1.5 / 100, 0.64, 32**1.5 / 100])


def test_memory_is_that_of_each_size_even_where_a_larger_one_was_before():
    np.ones((128, 2**17)).sum()
    *_, record = measure_scaling(lambda n: np.ones((n, 2**17)).sum(), (64, 128))
    assert record.result["megabytes"] == pytest.approx([64, 128], abs=4)


def test_a_scaling_study_is_bounded(clock):
    *_, record = measure_scaling(lambda n: clock.spend(n, n), (5, 6, 7, 8), most_seconds=10)
    assert record.result["sizes"] == [5, 6] and record.done == record.total == 2
    *_, record = measure_scaling(lambda n: clock.spend(n, n), (5,))
    assert record.result["exponent"] is None
