"""Timing with stages that take a known time."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch
from conftest import assert_one_sentence, write_blobs

from fmcore.errors import ImageError, SettingsError
from fmcore.evaluation.studies import STAGES, SpeedCase, machine, measure_speed
from fmcore.mismatch import HeatSettings, PathSettings


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
