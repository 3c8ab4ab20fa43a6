"""`evaluate` on the command line: what it prints and writes."""

from __future__ import annotations

import json
import shutil

import pytest
from conftest import write_blobs, write_category

QUICK = ("--encoder", "none", "--size", 32, "--paths", 2, "--times", 3)


def test_evaluate_prints_and_writes_the_figures(call, tmp_path, model_folder, category_folder):
    path = tmp_path / "deep" / "figures.json"
    code, out, _ = call("evaluate", model_folder, category_folder, "--json", path)
    result = json.loads(path.read_text())
    assert code == 0
    low, high = result["intervals"]["aupro"]
    assert f"AUPRO at 0.3  {result['aupro']:.4f}   {low:.4f} to {high:.4f}" in out
    expected = {"image_auroc", "pixel_auroc", "n_good", "n_defective", "seconds_per_image", "settings"}
    assert expected <= set(result) and (result["n_good"], result["n_defective"]) == (4, 4)
    assert f"blob: image AUROC {result['image_auroc']:.4f}, pixel AUROC {result['pixel_auroc']:.4f}" in out


def test_evaluate_of_several_categories_adds_their_mean(call, tmp_path):
    for number, name in enumerate(("a", "b")):
        write_category(tmp_path / "data" / name, first_seed=number)
    assert call("fit", tmp_path / "data", "--out", tmp_path / "model", *QUICK)[0] == 0
    shutil.rmtree(tmp_path / "data" / "b" / "ground_truth")
    (tmp_path / "data" / "a" / "test" / "good" / "000.png").write_bytes(b"x")
    code, out, err = call("evaluate", tmp_path / "model", tmp_path / "data", "--json", tmp_path / "f.json")
    result = json.loads((tmp_path / "f.json").read_text())
    assert code == 1 and "Left out: '000.png'" in err and "pixel AUROC n/a" in out and "mean of 2 categories" in out
    both = [result["categories"][name]["image_auroc"] for name in ("a", "b")]
    assert result["image_auroc"] == pytest.approx(sum(both) / 2) and result["pixel_auroc"] is None
    assert result["n_good"] == 7


def test_evaluate_says_what_it_took_the_folder_for(call, tmp_path, model_folder):
    write_blobs(tmp_path / "x" / "normal", range(3))
    write_blobs(tmp_path / "x" / "test_normal", range(3, 6))
    write_blobs(tmp_path / "x" / "abnormal", range(50, 52), masks=tmp_path / "x" / "mask" / "abnormal", defect=True)
    (tmp_path / "x" / "abnormal" / "new.heic").write_bytes(b"x")
    code, _, err = call("evaluate", model_folder, tmp_path / "x", "--bootstrap", 0)
    said = "Found a named-folders (normal, test_normal, abnormal, mask) category. Not read: 1 .heic files."
    assert code == 0 and said in err
