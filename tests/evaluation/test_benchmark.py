"""The benchmark end to end on tiny categories: selection without test labels, resumption, table, command."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from conftest import assert_one_sentence, blob_tensors, dataset, run_cli, write_category

from fmcore.data.synthetic_defects import paste_defects
from fmcore.errors import DataError, ModelError, SettingsError
from fmcore.evaluation.baselines import Detector, MahalanobisDetector
from fmcore.evaluation.baselines.methods import MethodSettings, Workshop, check_methods, keeps_recommended, method_names
from fmcore.evaluation.baselines.selection import SettingsTable, best, criterion, measure_settings, split_images
from fmcore.evaluation.benchmark import BenchmarkSettings, benchmark, find_categories
from fmcore.evaluation.benchmark_results import read_results, result_path
from fmcore.evaluation.benchmark_table import difference_text, make_table, markdown, reference
from fmcore.evaluation.detection import NAMES

FAST = {"size": 32, "paths": 1, "times": 2, "steps": 2, "pixel_size": 32, "bootstrap": 20, "synthetic": 2}
BLURS = (0.0, 0.05)


def results_of(categories, folder, **settings) -> list[dict]:
    records = list(benchmark(categories, BenchmarkSettings.parse(**{**FAST, "smoothings": BLURS, **settings}), folder))
    return [r.result for r in records if r.result is not None]


@pytest.fixture(scope="module")
def categories(tmp_path_factory):
    root = tmp_path_factory.mktemp("two")
    write_category(root / "blob")
    write_category(root / "spot", first_seed=1000)
    return find_categories([root])


class _Oracle(Detector):
    """Knows the truth in one setting, and nothing in the other two."""

    def __init__(self, normal: torch.Tensor):
        self.normal = normal

    def maps(self, image):
        change = (self.normal - image).abs().amax(1).flatten(1)
        truth = change[change.sum(1).argmin()].view(image.shape[1:]).numpy()
        noise = np.random.default_rng(int(1e4 * float(image.abs().sum()))).random(truth.shape).astype(np.float32)
        return {"noise": noise, "truth": truth, "inverted": 2 - truth}


def test_selection_finds_the_setting_that_sees_the_defects():
    held = blob_tensors(range(6))
    defects = paste_defects(held, per_image=5)
    *counts, table = measure_settings(_Oracle(held), held, defects, (0.0, 0.05))
    assert counts == list(range(1, 37))
    figures = table.figures()
    assert best(figures) == ("truth", 0.0) and len(figures) == 6
    assert figures["truth", 0.0]["image_auroc"] == 1.0 and criterion(figures["truth", 0.0]) > 0.99
    assert figures["inverted", 0.0]["pixel_auroc"] < 0.05
    assert 0.2 < figures["noise", 0.0]["image_auroc"] < 0.8


def test_defective_images_without_a_mask_count_in_image_figures_only():
    table = SettingsTable((0.0,), pixels=16)
    table.add({"a": np.zeros((8, 8), np.float32)}, defective=False, mask=None)
    table.add({"a": np.ones((8, 8), np.float32)}, defective=True, mask=None)
    assert table.figures()["a", 0.0] == {"image_auroc": 1.0, "pixel_auroc": None}


def test_splits_are_disjoint_complete_and_seeded():
    images = torch.arange(20.0)
    train, held = split_images(images, 0.2, 1)
    assert len(held) == 4 and sorted(torch.cat([train, held]).tolist()) == images.tolist()
    assert not torch.equal(held, split_images(images, 0.2, 2)[1])
    assert torch.equal(held, split_images(images, 0.2, 1)[1])
    assert [len(part) for part in split_images(images[:6], 0.01, 0)] == [4, 2]
    assert [len(part) for part in split_images(images[:6], 0.99, 0)] == [2, 4]


def test_every_method_runs_and_leaves_a_result(categories, tmp_path):
    methods = tuple(m for m in method_names() if ":unet" not in m) + ("mismatch:unet-plain",)
    for result in results_of(categories[:1], tmp_path, methods=methods):
        assert result["category"] == "blob" and (result["n_good"], result["n_defective"], result["n_masks"]) == (
            4,
            4,
            4,
        )
        assert all(0 <= result[name] <= 1 for name in NAMES), result["method"]
        assert result["n_train"] + result["n_held_out"] == 12
        assert result["cost_of_choice"] >= 0
        chosen = [s for s in result["every_setting"] if s == result["chosen"]]
        assert len(chosen) == 1
        if keeps_recommended(result["method"]):
            assert {s["synthetic"] for s in result["every_setting"]} == {None}
        else:
            assert max(criterion(s["synthetic"]) for s in result["every_setting"]) == criterion(chosen[0]["synthetic"])
        assert max(criterion(s["test"]) for s in result["every_setting"]) == criterion(result["hindsight"]["test"])
        # The sampled pixels (all, at this size) and the streamed metric agree.
        assert result["pixel_auroc"] == pytest.approx(result["chosen"]["test"]["pixel_auroc"], abs=0.01)
        path = result_path(tmp_path, "blob", result["method"], 0)
        assert json.loads(path.read_text())["image_auroc"] == result["image_auroc"]


def test_networks_that_know_the_synthetic_defects_keep_the_recommended_setting(categories, tmp_path):
    (result,) = results_of(categories[:1], tmp_path, methods=("mismatch:unet",))
    assert (result["chosen"]["setting"], result["chosen"]["smoothing"]) == ("min r=2 t>=0", 0.05)
    assert all(s["synthetic"] is None for s in result["every_setting"])
    assert result["cost_of_choice"] == criterion(result["hindsight"]["test"]) - criterion(result["chosen"]["test"])
    known = {name: keeps_recommended(f"mismatch:{name}") for name in ("unet", "unet-white", "unet-plain", "patch")}
    assert known == {"unet": True, "unet-white": True, "unet-plain": False, "patch": False}
    assert not keeps_recommended("nearest") and keeps_recommended("with-tiles:patch")


def test_a_stopped_run_goes_on_to_the_same_figures(categories, tmp_path):
    options = {"methods": ("mismatch:gaussian", "mahalanobis", "tccm"), "seeds": (0, 1)}
    whole = results_of(categories[:1], tmp_path / "whole", **options)
    run = benchmark(categories[:1], BenchmarkSettings.parse(**FAST, smoothings=BLURS, **options), tmp_path / "parts")
    for record in run:
        if record.seed == 0 and record.method == "tccm":
            run.close()
            break
    assert not list((tmp_path / "parts").rglob("*tccm*"))
    records = list(
        benchmark(categories[:1], BenchmarkSettings.parse(**FAST, smoothings=BLURS, **options), tmp_path / "parts")
    )
    assert [r.method for r in records if r.found] == ["mismatch:gaussian", "mahalanobis"]
    again = [r.result for r in records if r.result is not None]
    for one, other in zip(whole, again, strict=True):
        assert [one[k] for k in ("method", "seed", "chosen", *NAMES)] == [
            other[k] for k in ("method", "seed", "chosen", *NAMES)
        ]
    assert whole[0]["chosen"] != whole[3]["chosen"] or whole[0]["pixel_auroc"] != whole[3]["pixel_auroc"]


def test_results_of_other_settings_are_not_mixed_in(categories, tmp_path):
    results_of(categories[:1], tmp_path, methods=("mahalanobis",))
    with pytest.raises(DataError) as error:
        results_of(categories[:1], tmp_path, methods=("mahalanobis",), synthetic=3)
    assert_one_sentence(error.value, "synthetic", "--out")
    result_path(tmp_path, "blob", "mahalanobis", 0).write_text("{")
    with pytest.raises(DataError) as error:
        results_of(categories[:1], tmp_path, methods=("mahalanobis",))
    assert_one_sentence(error.value, "damaged")


def test_a_trained_network_is_kept_and_shared(categories, tmp_path):
    first = results_of(categories[:1], tmp_path, methods=("mismatch:unet",))
    files = {p: p.stat().st_mtime_ns for p in (tmp_path / "models").rglob("*.safetensors")}
    second = results_of(categories[:1], tmp_path, methods=("mismatch:unet", "one-step:unet"))
    assert files and files == {p: p.stat().st_mtime_ns for p in (tmp_path / "models").rglob("*.safetensors")}
    assert second[0] == json.loads(result_path(tmp_path, "blob", "mismatch:unet", 0).read_text())
    assert (
        second[1]["fit_seconds"]
        >= 0.9 * json.loads(next((tmp_path / "models").rglob("model.json")).read_text())["training"]["seconds"]
    )
    assert first[0]["image_auroc"] == second[0]["image_auroc"]
    kept = next((tmp_path / "models").rglob("model.json"))
    info = json.loads(kept.read_text())
    info["training"]["fit"]["least_gain"] = 0.5  # a recipe that has changed since
    kept.write_text(json.dumps(info))
    with pytest.raises(ModelError) as error:
        results_of(categories[:1], tmp_path, methods=("reconstruction:unet",))
    assert_one_sentence(error.value, "other settings")


def test_fields_are_fitted_once_and_their_time_counts_for_all():
    shop = Workshop("blob", blob_tensors(range(10)), blob_tensors(range(10, 14)), MethodSettings(times=2, paths=1))
    first = [*shop.build("mismatch:patch")][-1]
    seconds = shop.seconds
    second = [*shop.build("one-step:patch")][-1]
    assert first.field is second.field and shop.seconds >= 0.5 * seconds > 0
    assert isinstance([*shop.build("mahalanobis")][-1], MahalanobisDetector)


def test_unknown_methods_and_poor_data_are_refused(categories, tmp_path):
    with pytest.raises(SettingsError) as error:
        check_methods(("mismatch:gausian",))
    assert_one_sentence(error.value, "mismatch:gaussian")
    with pytest.raises(SettingsError):
        results_of(categories, tmp_path, methods=("patchcore",))
    root = categories[0].good[0].parents[2]
    with pytest.raises(DataError) as error:
        find_categories([root, root])
    assert_one_sentence(error.value, "twice")
    few = write_category(tmp_path / "few")
    for path in sorted((few / "train" / "good").iterdir())[5:]:
        path.unlink()
    with pytest.raises(DataError) as error:
        find_categories([few])
    assert_one_sentence(error.value, "needs 6")


def test_unreadable_test_images_are_listed(tmp_path):
    root = write_category(tmp_path / "blob")
    (root / "test" / "good" / "001.png").write_bytes(b"no image")
    (result,) = results_of(find_categories([root]), tmp_path / "out", methods=("mahalanobis",))
    assert result["n_good"] == 3 and len(result["unreadable"]) == 1


def test_the_table_has_means_and_spreads(categories, tmp_path):
    results = results_of(categories, tmp_path, methods=("mahalanobis", "nearest"), seeds=(0, 1))
    rows = make_table(results)
    assert [(r.category, r.method) for r in rows][-2:] == [("mean", "mahalanobis"), ("mean", "nearest")] and len(
        rows
    ) == 6
    own = [r for r in results if r["method"] == "mahalanobis"]
    by_seed = [np.mean([r["pixel_auroc"] for r in own if r["seed"] == seed]) for seed in (0, 1)]
    assert rows[-2].values["pixel_auroc"] == pytest.approx(np.mean(by_seed))
    assert rows[-2].spread["pixel_auroc"] == pytest.approx(np.ptp(by_seed) / 2)
    assert rows[0].seeds == (0, 1) and rows[0].intervals["image_auroc"] == own[0]["intervals"]["image_auroc"]
    text = markdown(rows)
    assert len(text.splitlines()) == 8 and len({line.count("|") for line in text.splitlines()}) == 1
    partial = make_table([r for r in results if r["category"] == "blob" or r["method"] == "nearest"])
    assert [r.method for r in partial if r.category == "mean"] == ["nearest"]
    undefined = make_table([{**results[0], "aupro": None}])
    assert undefined[0].values["aupro"] is None and "n/a" in markdown(undefined)


def test_rows_are_compared_with_the_reference_on_the_same_images(categories, tmp_path):
    results = results_of(categories, tmp_path, methods=("mahalanobis", "nearest"))
    assert reference(results) == "mahalanobis"
    for result in results:
        assert len(result["scored"]) == result["n_good"] + result["n_defective"]
    rows = {(r.category, r.method): r for r in make_table(results)}
    for category in ("blob", "spot", "mean"):
        ours, theirs = (rows[category, method] for method in ("mahalanobis", "nearest"))
        assert ours.difference is None and difference_text(ours.difference) == "-"
        gain = theirs.values["image_auroc"] - ours.values["image_auroc"]
        assert theirs.difference.value == pytest.approx(gain)
        assert difference_text(theirs.difference).startswith(f"{gain:+.3f} [")
    # Images that one of the two could not read count for neither; without scores on record nothing is compared.
    fewer = [{**r, "scored": r["scored"][1:]} if r["method"] == "nearest" else r for r in results]
    assert all(r.difference for r in make_table(fewer) if r.method == "nearest")
    other_seeds = [{**r, "seed": r["seed"] + (r["method"] == "nearest")} for r in results]
    assert all(r.difference is None for r in make_table(other_seeds))
    before = [{k: v for k, v in r.items() if k != "scored"} for r in results]
    assert all(r.difference is None for r in make_table(before))
    assert reference([*results, {**results[0], "method": "with-tiles:unet"}]) == "with-tiles:unet"


def test_the_command_prints_the_table_and_goes_on(category_folder, tmp_path):
    flags = [f"--{k.replace('_', '-')}={v}" for k, v in FAST.items()]
    arguments = ("benchmark", category_folder, "--out", tmp_path / "out", "--methods", "mahalanobis,nearest", *flags)
    first = run_cli(*arguments)
    assert first.returncode == 0, first.stderr
    assert first.stdout.count("| blob |") == 2 and (tmp_path / "out" / "table.md").read_text() == first.stdout
    again = run_cli(*arguments)
    assert again.returncode == 0 and again.stdout == first.stdout
    wrong = run_cli("benchmark", category_folder, "--out", tmp_path / "out", "--methods", "nearst")
    assert wrong.returncode == 2
    assert_one_sentence(wrong.stderr.splitlines()[-1], "nearest")


def test_results_are_read_back_and_damaged_or_missing_ones_refused(categories, tmp_path):
    made = results_of(categories, tmp_path, methods=("nearest", "mahalanobis"), seeds=(0,))
    read = read_results(tmp_path)
    assert [(r["category"], r["method"]) for r in read] == sorted((r["category"], r["method"]) for r in made)
    assert {r["image_auroc"] for r in read} == {r["image_auroc"] for r in made}
    with pytest.raises(DataError) as error:
        read_results(tmp_path / "nothing")
    assert_one_sentence(error.value, "no result")
    result_path(tmp_path, read[0]["category"], read[0]["method"], 0).write_text("{")
    with pytest.raises(DataError) as error:
        read_results(tmp_path)
    assert_one_sentence(error.value, "damaged")


def test_it_runs_on_real_images(tmp_path):
    found = find_categories([dataset("mvtec_smoke/hazelnut_reduced")])
    (result,) = results_of(found, tmp_path, methods=("mismatch:gaussian",), paths=2, times=6, bootstrap=0)
    assert result["n_defective"] == 8 and result["pixel_auroc"] > 0.6
