"""A sweep of settings equals scoring afresh with each of them, and runs the field no more than it must."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import assert_one_sentence, blob_tensors, draw_blob
from sklearn.metrics import roc_auc_score

from fmcore.data.picture import resize_map
from fmcore.errors import SettingsError
from fmcore.evaluation.studies import grid, sweep
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
