"""The benchmark end to end on tiny categories: every method, resumption, table, paired differences."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from conftest import assert_one_sentence, dataset, write_category

from fmcore.data.picture import read_picture
from fmcore.detector.model import load_model
from fmcore.detector.score import judge, score_steps
from fmcore.errors import DataError, ModelError, SettingsError
from fmcore.evaluation.benchmark import (
    METHODS,
    QUICK,
    BenchmarkSettings,
    benchmark,
    find_categories,
    make_table,
    markdown,
    read_results,
    result_path,
)
from fmcore.evaluation.metrics import NAMES
from fmcore.mismatch import Mismatch

FAST = {"size": 32, "places": 16, "steps": 2, "pixel_size": 32, "bootstrap": 20}
PAIR = ("mahalanobis:pixels", "nearest:pixels")


def results_of(categories, folder, **settings) -> list[dict]:
    records = list(benchmark(categories, BenchmarkSettings.parse(**{**FAST, **settings}), folder))
    return [r.result for r in records if r.result is not None]


def one_of(categories: dict) -> dict:
    return {"blob": categories["blob"]}


@pytest.fixture(scope="module")
def categories(tmp_path_factory):
    root = tmp_path_factory.mktemp("two")
    write_category(root / "blob")
    write_category(root / "spot", first_seed=1000)
    return find_categories([root])


@pytest.fixture(scope="module")
def pair(categories, tmp_path_factory) -> list[dict]:
    return results_of(categories, tmp_path_factory.mktemp("pair"), methods=PAIR, seeds=(0, 1))


@pytest.mark.parametrize("basis", ["encoder", "pixels"])
def test_every_method_without_a_trained_field_runs_and_leaves_a_result(categories, tmp_path, basis):
    field = {"encoder": "place-gaussian", "pixels": "pixel-gaussian"}[basis]
    methods = tuple(m for m in METHODS.kinds if m.split(":")[1] in (basis, field))
    assert len(methods) == 10 and set(methods) <= set(QUICK)
    found = results_of(one_of(categories), tmp_path, methods=methods)
    assert [r["method"] for r in found] == list(methods)
    for result in found:
        counts = [result[k] for k in ("category", "n_train", "n_good", "n_defective", "n_masks")]
        assert counts == ["blob", 12, 4, 4, 4] and len(result["images"]) == 8 and not result["unreadable"]
        assert all(0 <= result[name] <= 1 + 1e-12 for name in NAMES), result["method"]
        assert result["fit_seconds"] > 0 and result["seconds_per_image"] > 0
        assert json.loads(result_path(tmp_path, "blob", result["method"], 0).read_text()) == result
    assert len({tuple(i["score"] for i in r["images"]) for r in found}) == len(found)


def test_a_fitted_field_is_kept_and_shared(categories, tmp_path):
    """Two methods on one field; a later run finds it, and refuses one of another recipe."""
    methods = ("mismatch:pixel-gaussian", "one-step:pixel-gaussian")
    first = results_of(one_of(categories), tmp_path, methods=methods[:1])
    kept = {p: p.stat().st_mtime_ns for p in (tmp_path / "models").rglob("*.safetensors")}
    second = results_of(one_of(categories), tmp_path, methods=methods)
    assert kept and kept == {p: p.stat().st_mtime_ns for p in (tmp_path / "models").rglob("*.safetensors")}
    fitted = json.loads(next((tmp_path / "models").rglob("model.json")).read_text())["training"]["seconds"]
    assert second[0] == first[0] and second[1]["fit_seconds"] >= fitted
    path = next((tmp_path / "models").rglob("model.json"))
    info = json.loads(path.read_text())
    info["training"]["fit"]["training"]["learning_rate"] = 0.5
    path.write_text(json.dumps(info))
    with pytest.raises(ModelError) as error:
        results_of(one_of(categories), tmp_path, methods=("time-reversed:pixel-gaussian",))
    assert_one_sentence(error.value, "other settings", "--out")


def test_the_mismatch_is_the_model_itself(categories, tmp_path):
    (result,) = results_of(one_of(categories), tmp_path, methods=("mismatch:pixel-gaussian",))
    model = load_model(tmp_path / "models" / "blob-seed0" / "pixel-gaussian")
    for image in result["images"]:
        verdict = judge(model, Mismatch.collect(score_steps(model, read_picture(image["file"]))))
        assert image["score"] == verdict.score


def test_a_stopped_run_goes_on_to_the_same_figures(categories, tmp_path):
    options = {"methods": ("mismatch:pixel-gaussian", "mahalanobis:pixels", "tccm:pixels"), "seeds": (0, 1)}
    whole = results_of(one_of(categories), tmp_path / "whole", **options)
    run = benchmark(one_of(categories), BenchmarkSettings.parse(**FAST, **options), tmp_path / "parts")
    for record in run:
        if record.seed == 0 and record.method == "tccm:pixels":
            run.close()
            break
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "parts").rglob("*.*") if p.is_file()}
    assert len([p for p in before if p.parent.name == "blob"]) == 2
    again = results_of(one_of(categories), tmp_path / "parts", **options)
    assert before == {p: p.stat().st_mtime_ns for p in before}
    for one, other in zip(whole, again, strict=True):
        assert [one[k] for k in ("method", "seed", *NAMES, "images")] == [
            other[k] for k in ("method", "seed", *NAMES, "images")
        ]
    assert whole[2]["images"] != whole[5]["images"]  # the seed decides how a network is trained
    assert whole[1]["images"] == whole[4]["images"]


def test_results_of_other_settings_are_not_mixed_in(categories, tmp_path):
    results_of(one_of(categories), tmp_path, methods=PAIR[:1])
    for changed, name in (({"bootstrap": 21}, "bootstrap"), ({"size": 64}, "recipes")):
        with pytest.raises(DataError) as error:
            results_of(one_of(categories), tmp_path, methods=PAIR[:1], **changed)
        assert_one_sentence(error.value, name, "--out")
    assert len(read_results(tmp_path)) == 1
    result_path(tmp_path, "blob", PAIR[0], 0).write_text("{")
    for call in (lambda: results_of(one_of(categories), tmp_path, methods=PAIR[:1]), lambda: read_results(tmp_path)):
        with pytest.raises(DataError) as error:
            call()
        assert_one_sentence(error.value, "damaged")
    with pytest.raises(DataError) as error:
        read_results(tmp_path / "nothing")
    assert_one_sentence(error.value, "no result")


def test_unknown_methods_and_double_categories_are_refused(categories, tmp_path):
    with pytest.raises(SettingsError) as error:
        METHODS["mismatch:pixel-gausian"]
    assert_one_sentence(error.value, "did you mean 'mismatch:pixel-gaussian'")
    with pytest.raises(SettingsError):
        results_of(categories, tmp_path, methods=("patchcore",))
    root = categories["blob"][0][0].parents[2]
    with pytest.raises(DataError) as error:
        find_categories([root, root])
    assert_one_sentence(error.value, "twice")


def test_categories_without_test_images_are_left_out(tmp_path):
    write_category(tmp_path / "data" / "blob")
    shutil.rmtree(write_category(tmp_path / "data" / "spot") / "test")
    assert list(find_categories([tmp_path / "data"])) == ["blob"]


def test_unreadable_images_are_left_out(tmp_path):
    root = write_category(tmp_path / "blob")
    (root / "test" / "good" / "001.png").write_bytes(b"no image")
    (root / "train" / "good" / "003.png").write_bytes(b"no image")
    (result,) = results_of(find_categories([root]), tmp_path / "out", methods=PAIR[:1])
    assert (result["n_train"], result["n_good"], len(result["unreadable"])) == (11, 3, 1)


def test_the_table_has_means(pair):
    rows = make_table(pair)
    assert [(r.category, r.method) for r in rows] == [(c, m) for c in ("blob", "spot", "mean") for m in PAIR]
    varied = [r | {"pixel_auroc": 0.1 * i} for i, r in enumerate(pair)]  # closed forms do not vary with the seed
    own = [r for r in varied if r["method"] == PAIR[0]]
    by_seed = [np.mean([r["pixel_auroc"] for r in own if r["seed"] == seed]) for seed in (0, 1)]
    (row,) = [r for r in make_table(varied) if (r.category, r.method) == ("mean", PAIR[0])]
    assert row.values["pixel_auroc"] == pytest.approx(np.mean(by_seed))
    assert rows[0].seeds == (0, 1)
    assert row.values["fit_seconds"] == pytest.approx(np.mean([r["fit_seconds"] for r in own]))
    lines = markdown(rows).splitlines()
    assert len(lines) == 8 and len({line.count("|") for line in lines}) == 1
    partial = make_table([r for r in pair if r["category"] == "blob" or r["method"] == PAIR[1]])
    assert [r.method for r in partial if r.category == "mean"] == [PAIR[1]]
    (undefined,) = make_table([{**pair[0], "aupro": None}])
    assert undefined.values["aupro"] is None and "n/a" in markdown([undefined])


def test_rows_are_compared_with_the_reference_on_the_same_images(pair):
    assert make_table([]) == []
    for method in PAIR:  # the first mismatch is the reference, wherever it stands
        named = [r | {"method": "mismatch:unet"} if r["method"] == method else r for r in pair]
        assert [r.method for r in make_table(named) if r.gain is None] == ["mismatch:unet"] * 3
    hard = [
        r
        | {"images": [i | {"score": -i["score"] if i["file"].endswith("001.png") else i["score"]} for i in r["images"]]}
        if r["method"] == PAIR[1]
        else r
        for r in pair
    ]
    rows = {(r.category, r.method): r for r in make_table(hard)}
    for category in ("blob", "spot", "mean"):
        assert rows[category, PAIR[0]].gain is None
        # One good and one defective image of four are ranked lowest: the defective one loses to three of four.
        gain = rows[category, PAIR[1]].gain
        assert gain[1][0] <= gain[0] <= gain[1][1]
        assert f"| {gain[0]:+.3f} [" in markdown([rows[category, PAIR[1]]])
    assert rows["mean", PAIR[1]].gain[0] == pytest.approx(np.mean([rows[c, PAIR[1]].gain[0] for c in ("blob", "spot")]))
    assert rows["blob", PAIR[1]].gain[0] == pytest.approx(-3 / 16, abs=0.07)
    # Other images, as of test sets that were changed between two runs, and other seeds are not compared.
    fewer = [r | {"images": r["images"][1:]} if r["method"] == PAIR[1] else r for r in pair]
    assert all(r.gain is None for r in make_table(fewer))
    other = [r | {"seed": r["seed"] + 2 * (r["method"] == PAIR[1])} for r in pair]
    assert all(r.gain is None for r in make_table(other))


def test_it_runs_on_real_images(tmp_path):
    found = find_categories([dataset("mvtec_smoke/hazelnut_reduced")])
    (result,) = results_of(found, tmp_path, methods=("mismatch:pixel-gaussian",), size=64, pixel_size=128, bootstrap=0)
    assert result["n_defective"] == 8 and result["pixel_auroc"] > 0.6
