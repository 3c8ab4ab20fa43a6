"""`benchmark` on the command line, end to end on two tiny categories."""

from __future__ import annotations

import json

import pytest
from conftest import assert_one_sentence, write_category

METHODS = ("mismatch:pixel-gaussian", "mahalanobis:pixels")
QUICK = ("--methods", ",".join(METHODS), "--encoder", "none", "--size", 32, "--pixel-size", 32, "--bootstrap", 20)


@pytest.fixture
def data(tmp_path):
    for number, name in enumerate(("a", "b")):
        write_category(tmp_path / "data" / name, first_seed=1000 * number)
    return tmp_path / "data"


def test_methods_are_compared_and_a_second_run_goes_on_with_what_is_missing(call, tmp_path, data):
    command = ("benchmark", data, "--out", tmp_path / "out", *QUICK, "--device", "cpu")
    code, out, err = call(*command)
    assert code == 0 and "Found a: 12 good, 8 test images, b: 12 good, 8 test images." in err
    rows = [line.split(" | ")[:3] for line in out.strip().splitlines()[2:]]
    assert rows == [[f"| {c}", m, "1"] for c in ("a", "b", "mean") for m in METHODS]
    assert (tmp_path / "out" / "table.md").read_text() == out
    results = {p: p.read_bytes() for p in (tmp_path / "out").glob("[ab]/*.json")}
    assert sorted(json.loads(r)["method"] for r in results.values()) == sorted(2 * METHODS)
    code, out, _ = call(*command, "--seeds", "0,1")
    rows = [line.split(" | ")[:3] for line in out.strip().splitlines()[2:]]
    assert code == 0 and {row[2] for row in rows} == {"2"}
    assert len(list((tmp_path / "out").glob("[ab]/*.json"))) == 8
    assert results == {p: p.read_bytes() for p in results}


def test_bad_input_is_refused_before_the_work(call, tmp_path, data):
    (data / "b" / "test" / "good" / "000.png").write_bytes(b"x")
    for given, part in (
        (("--methods", "mismatch:pixel-gausian"), "did you mean 'mismatch:pixel-gaussian'"),
        (("--seeds", "0,x"), "'seeds'"),
        (("--device", "tpu"), "no device 'tpu'"),
    ):
        code, _, err = call("benchmark", data, "--out", tmp_path / "out", *QUICK, *given)
        assert code == 2 and not (tmp_path / "out").exists()
        assert_one_sentence(err.strip().splitlines()[-1], part)
    code, _, err = call("benchmark", data, "--out", tmp_path / "out", *QUICK)
    assert code == 1 and "Left out: '000.png'" in err
    help_text = " ".join(call("benchmark", "--help")[1].split())
    assert "other settings are fixed per method" in help_text and "--device" in help_text
