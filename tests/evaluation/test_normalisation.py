"""The denoising floor: a mismatch in units of that of normal images."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import assert_one_sentence

from fmcore.errors import DataError, SettingsError
from fmcore.evaluation.normalisation import DenoisingFloor, FloorSettings
from fmcore.mismatch.mismatch import HeatSettings, Mismatch

TIMES = np.array([0.25, 0.5, 0.75])
PLAIN = HeatSettings(aggregator="mean", exponent=0.0, smoothing=0.0)


def records(count: int, level: np.ndarray, seed: int = 0) -> list[Mismatch]:
    """Chi-square mismatch of a given level ``(3, H, W)``."""
    rng = np.random.default_rng(seed)
    return [
        Mismatch(TIMES, (level[:, None] * rng.chisquare(8, (3, 2, *level.shape[1:])) / 8).astype(np.float32))
        for _ in range(count)
    ]


def test_normal_images_come_out_level():
    level = np.ones((3, 16, 16)) * np.array([1.0, 5.0, 20.0])[:, None, None]
    level[:, :8] *= 10
    floor = DenoisingFloor.measure(records(200, level), FloorSettings(blur=0.0, least=0.0))
    np.testing.assert_allclose(floor.level, level, rtol=0.2)
    heat = np.mean([floor.heatmap(m, PLAIN) for m in records(50, level, seed=1)], axis=0)
    np.testing.assert_allclose(heat, 1, atol=0.2)
    weighted = floor.heatmap(records(1, level)[0], PLAIN.replace(exponent=2.0))
    assert weighted.mean() == pytest.approx((TIMES**2).mean(), rel=0.1)


def test_the_level_is_blurred_and_kept_above_its_least_share():
    level = np.full((3, 16, 16), 1e-6)
    level[:, 8, 8] = 1.0
    sharp = DenoisingFloor.measure(records(20, level), FloorSettings(blur=0.0, least=0.5))
    assert sharp.level.min() == pytest.approx(0.5 * 1.0 / 256, rel=0.3)
    soft = DenoisingFloor.measure(records(20, level), FloorSettings(blur=0.1, least=0.0))
    assert soft.level[0, 8, 8] < 0.2 and soft.level[0, 8, 10] > 1e-3


def test_subsets_of_times_use_their_own_levels():
    level = np.ones((3, 8, 8)) * np.array([1.0, 5.0, 20.0])[:, None, None]
    floor = DenoisingFloor.measure(records(100, level))
    record = records(1, level, seed=2)[0]
    assert floor.heatmap(record.subset([2]), PLAIN).mean() == pytest.approx(1, abs=0.2)
    with pytest.raises(SettingsError) as error:
        floor.heatmap(Mismatch(np.array([0.3]), record.maps[:1]), PLAIN)
    assert_one_sentence(error.value, "0.3")


def test_bad_input_is_refused_in_one_sentence():
    for given in ([], [*records(1, np.ones((3, 8, 8))), *records(1, np.ones((3, 4, 4)))]):
        with pytest.raises(DataError) as error:
            DenoisingFloor.measure(given)
        assert_one_sentence(error.value)
