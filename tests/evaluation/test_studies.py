"""Sweep, Fisher maps as detectors, and timing, on labelled images."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch
from conftest import SIZE, assert_one_sentence, blob_tensors, dataset, draw_blob, write_blobs
from sklearn.metrics import roc_auc_score

from fmcore.data.folders import find_good_images, find_test_items, read_pictures
from fmcore.data.picture import resize_map
from fmcore.errors import DataError, ImageError, SettingsError
from fmcore.evaluation.metrics import auroc
from fmcore.evaluation.studies import (
    STAGES,
    SpeedCase,
    compare_fisher,
    grid,
    machine,
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
    return images, np.arange(8) > 3, [None] * 4 + [d[1] for d in drawn]


def last(records):
    *steps, record = records
    assert [s.done for s in steps] == list(range(1, record.total + 1)) and all(s.result is None for s in steps)
    return record.result


def test_every_case_equals_a_fresh_score(field, labelled):
    images, defective, masks = labelled
    cases = grid(PATHS, HEAT, paths=(1, 3), times=(2, 5, 7), aggregator=("min", "mean"), exponent=(0.0, 4.0))
    assert len(cases) == len(set(cases)) == 24
    results = last(sweep(field, images, defective, masks, cases))
    assert [(r.paths, r.heat) for r in results] == cases
    for paths, heat, image_auroc, pixel_auroc, evaluations in results[::3]:
        maps = [Mismatch.collect(mismatch_steps(field, image, paths)).heatmap(heat) for image in images]
        assert image_auroc == pytest.approx(roc_auc_score(defective, [image_score(m) for m in maps]))
        truth = np.stack([np.zeros((32, 32), bool) if m is None else m for m in masks])
        assert pixel_auroc == pytest.approx(roc_auc_score(truth.ravel(), np.stack(maps).ravel()), abs=1e-4)
        assert evaluations == paths.paths * paths.times
    assert len({r.image_auroc for r in results}) > 1 and len({r.pixel_auroc for r in results}) > 5


def test_the_field_runs_once_for_all_that_one_record_holds(field, labelled):
    counted, images = Counted(field), labelled[0][:2]
    cases = grid(PATHS, HEAT, paths=(1, 4), times=(1, 2, 5)) + grid(PATHS, HEAT, exponent=(0.0, 1.0, 2.0))
    cases += [(PATHS.replace(times=4, paths=2), HEAT)]
    last(sweep(counted, images, [False, True], [None, None], cases))
    expected = [(4, pytest.approx(j / 6)) for j in range(1, 6)] + [(2, pytest.approx(j / 5)) for j in range(1, 5)]
    assert counted.calls == 2 * expected


def test_the_exact_mean_is_a_run_of_its_own(field, labelled):
    images, defective, masks = labelled
    exact = Exact(field)
    cases = [
        (PATHS.replace(paths=0), HEAT.replace(aggregator="mean")),
        (PATHS, HEAT),
        (PATHS.replace(paths=0, times=2), HEAT),
    ]
    first, second, third = last(sweep(exact, images, defective, masks, cases))
    assert len(exact.calls) == len(images) * PATHS.times
    scores = [image_score(Mismatch.collect(mismatch_steps(exact, y, cases[0][0])).heatmap(cases[0][1])) for y in images]
    assert first.image_auroc == pytest.approx(roc_auc_score(defective, scores))
    assert (first.evaluations, second.evaluations, third.evaluations) == (0, 15, 0)


def test_maps_are_compared_at_the_size_of_the_masks_and_unknown_truth_counts_for_images_only(field, labelled):
    images, defective, masks = labelled
    large = [None if m is None else np.kron(m, np.ones((3, 2), bool)) for m in masks]
    large[4] = None
    (result,) = last(sweep(field, images, defective, large, [(PATHS, HEAT)]))
    maps = [Mismatch.collect(mismatch_steps(field, image, PATHS)).heatmap(HEAT) for image in images]
    kept = [i for i in range(8) if i != 4]
    resized = np.stack([resize_map(maps[i], height=96, width=64) for i in kept])
    truth = np.stack([np.zeros((96, 64), bool) if large[i] is None else large[i] for i in kept])
    assert result.pixel_auroc == pytest.approx(roc_auc_score(truth.ravel(), resized.ravel()), abs=1e-4)
    assert result.image_auroc == pytest.approx(roc_auc_score(defective, [image_score(m) for m in maps]))
    (result,) = last(sweep(field, images, defective, [None] * 8, [(PATHS, HEAT)]))
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


def test_record_carries_the_aurocs_of_both_maps(field, test_set):
    q = fit_gaussian(test_set.images)
    *early, last = compare_fisher(field, q, test_set, PATHS, HEAT)
    assert [r.done for r in (*early, last)] == list(range(1, 9)) and all(r.result is None for r in early)
    scores = [image_score(r.maps.fisher.heatmap(HEAT)) for r in (*early, last)]
    assert last.result["fisher"]["image_auroc"] == auroc(np.array(scores), test_set.defective)
    for kind in ("mismatch", "fisher"):
        assert last.result[kind]["image_auroc"] == 1 and last.result[kind]["pixel_auroc"] > 0.9
    # A q that knows nothing of the test images leaves no defect in the Fisher map.
    *_, blind = compare_fisher(field, field, test_set, PATHS, HEAT)
    assert blind.result["fisher"] == {"image_auroc": 0.5, "pixel_auroc": 0.5}
    assert blind.result["mismatch"] == last.result["mismatch"]


def test_undefined_aurocs_are_none(field, test_set, category_folder):
    good = [item for item in find_test_items(category_folder) if item.is_good]
    images = read_test_set(good, pixels, pixel_size=64)
    *_, last = compare_fisher(field, field, images, PATHS, HEAT)
    assert last.result["mismatch"] == {"image_auroc": None, "pixel_auroc": None}
    unmarked = images._replace(defective=np.ones(4, bool), masks=(None,) * 4)
    *_, last = compare_fisher(field, field, unmarked, PATHS, HEAT)
    assert last.result["fisher"] == {"image_auroc": None, "pixel_auroc": None}


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


def test_the_views_own_way_of_enlarging_is_used(field, test_set):
    sizes = []

    def enlarge(values, *, height, width):
        sizes.append((*values.shape, height, width))
        return np.zeros((height, width))

    *_, last = compare_fisher(field, field, test_set, PATHS, HEAT, enlarge)
    assert set(sizes) == {(SIZE, SIZE, 64, 64)} and len(sizes) == 16
    assert last.result["mismatch"] == {"image_auroc": 1, "pixel_auroc": 0.5}


def test_on_real_bottles_both_maps_find_the_defects():
    root = dataset("mvtec/bottle")
    pictures = read_pictures(find_good_images(root).categories["bottle"][::3])
    images = torch.stack([picture.resized(32, 32, 3) for picture in pictures])
    test = read_test_set(find_test_items(root)[::3], lambda picture: picture.resized(32, 32, 3), pixel_size=64)
    paths = PathSettings(paths=2, times=6)
    *_, last = compare_fisher(fit_gaussian(images), fit_gaussian(test.images), test, paths, HEAT)
    for kind in ("mismatch", "fisher"):
        assert last.result[kind]["image_auroc"] > 0.95 and last.result[kind]["pixel_auroc"] > 0.93
    assert torch.isfinite(test.images).all()


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return write_blobs(tmp_path_factory.mktemp("speed"), range(1))[0]


def case(file, label="case", *, times=3, log=None, pause=0.01) -> SpeedCase:
    def view(picture):
        assert picture.width == 32
        time.sleep(3 * pause)
        return torch.zeros(3, 8, 8)

    def field(x, t):
        if log is not None:
            log.append(label)
        time.sleep(pause)
        return torch.zeros_like(x)

    return SpeedCase(label, file, view, field, PathSettings(paths=1, times=times), HeatSettings())


def test_time_is_booked_on_the_stage_that_took_it(file):
    *_, record = measure_speed([case(file, "few"), case(file, "many", times=12)], rounds=3)
    few, many = record.result
    for timing, times in ((few, 3), (many, 12)):
        assert tuple(timing.stages) == STAGES and all(s.shape == (3,) for s in timing.stages.values())
        assert (timing.stages["view"] >= 0.03).all() and (timing.stages["field"] >= 0.01 * times).all()
        others = np.median(timing.stages["decode"]), np.median(timing.stages["aggregation"])
        assert 0 < min(others) and max(others) < np.median(timing.stages["view"])
        np.testing.assert_allclose(timing.seconds, sum(timing.stages.values()))
    assert 1.3 < np.median(many.relative_to(few)) < 5 and np.median(many.stages["view"]) < 0.1


def test_cases_take_turns_and_the_first_turn_does_not_count(file):
    log = []
    cases = [case(file, name, times=1, log=log, pause=0) for name in "ab"]
    records = list(measure_speed(cases, rounds=2))
    assert log == list("ababab")
    assert [(r.done, r.total) for r in records] == [(i, 6) for i in (1, 2, 3, 4, 5, 6, 6)]
    assert [t.label for t in records[-1].result] == ["a", "b"] and len(records[-1].result[0].seconds) == 2


def test_bad_cases_are_one_sentence(file, tmp_path):
    for cases, rounds in (([], 1), ([case(file)], 0)):
        with pytest.raises(SettingsError) as caught:
            list(measure_speed(cases, rounds=rounds))
        assert_one_sentence(caught.value, "at least one")
    with pytest.raises(ImageError):
        list(measure_speed([case(tmp_path / "nothing.png")]))


def test_machine_says_what_the_seconds_depend_on():
    assert machine()["threads"] == torch.get_num_threads() and machine()["cores"] >= 1 and machine()["device"]
