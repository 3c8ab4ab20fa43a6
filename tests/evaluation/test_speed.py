"""Timing with a field that takes a known time."""

from __future__ import annotations

import time

import pytest
import torch
from conftest import assert_one_sentence, write_blobs

from fmcore.errors import DataError, ImageError, SettingsError
from fmcore.evaluation.speed import STAGES, SpeedCase, first_image, machine, measure_speed, stand_in
from fmcore.mismatch.mismatch import PathSettings

IMAGE = torch.zeros(3, 16, 16)


def slow(x, t):
    time.sleep(0.01)
    return torch.zeros_like(x)


def case(label: str, *, paths: int = 1, times: int = 3, chunk: int = 16, **options) -> SpeedCase:
    return SpeedCase(label, slow, IMAGE, PathSettings(paths=paths, times=times), chunk=chunk, **options)


def test_time_of_the_field_is_booked_on_the_field():
    *_, last = measure_speed([case("few"), case("many", times=9)], rounds=2)
    few, many = last.timings
    assert 0.03 <= few.stages["field"] <= few.seconds < 0.09
    assert 0.09 <= many.stages["field"] <= many.seconds
    for timing in last.timings:
        assert set(timing.stages) == set(STAGES) and timing.stages["decode"] == 0
        assert timing.fastest <= timing.seconds <= timing.slowest
        assert timing.stages["field"] > 0.5 * timing.seconds
        assert timing.images_per_second == pytest.approx(1 / timing.seconds)


def test_smaller_chunks_call_the_field_more_often():
    *_, last = measure_speed([case("whole", paths=4), case("split", paths=4, chunk=1)], rounds=1)
    whole, split = last.timings
    assert split.stages["field"] > 3 * whole.stages["field"] > 0


def test_cases_take_turns_and_the_first_turn_does_not_count():
    calls = []

    def watched(name):
        def field(x, t):
            calls.append(name)
            return torch.zeros_like(x)

        return field

    cases = [SpeedCase(name, watched(name), IMAGE, PathSettings(paths=1, times=1)) for name in "ab"]
    records = list(measure_speed(cases, rounds=2))
    assert calls == list("ababab")
    assert [(r.done, r.total) for r in records] == [(i, 6) for i in range(1, 7)]
    assert [bool(r.timings) for r in records] == [False] * 5 + [True]


def test_decoding_is_timed_where_there_is_a_file(tmp_path):
    (file,) = write_blobs(tmp_path, range(1), size=256)
    *_, last = measure_speed([case("file", file=file)], rounds=1)
    assert 0 < last.timings[0].stages["decode"] < last.timings[0].seconds
    file.write_bytes(b"")
    with pytest.raises(ImageError):
        list(measure_speed([case("file", file=file)]))


def test_bad_cases_are_one_sentence_before_anything_runs():
    for cases, rounds in (([], 1), ([case("a"), case("a")], 1), ([case("a")], 0)):
        with pytest.raises(SettingsError) as caught:
            measure_speed(cases, rounds=rounds)
        assert_one_sentence(caught.value, "labels")


def test_machine_says_what_the_seconds_depend_on():
    found = machine()
    assert found["threads"] == torch.get_num_threads() and found["torch"] == torch.__version__
    assert found["device"] == "cpu" and found["cores"] >= 1 and found["processor"]


def test_first_image_of_a_folder_or_one_sentence(tmp_path):
    files = write_blobs(tmp_path / "a", range(2))
    assert first_image(files[1]) == files[1] and first_image(tmp_path / "a") == files[0]
    for missing in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(DataError) as caught:
            first_image(missing)
        assert_one_sentence(caught.value, missing.name)


def test_stand_in_is_a_field_of_the_size_asked_for():
    field = stand_in(16, components=5)
    assert field(torch.zeros(2, 3, 16, 16), 0.5).shape == (2, 3, 16, 16) and len(field.variances) == 5
    gram = field.components @ field.components.T
    torch.testing.assert_close(gram, torch.eye(5), atol=1e-5, rtol=0)
