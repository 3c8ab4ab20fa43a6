"""The command line: exit codes, and one sentence for every mistake."""

from __future__ import annotations

import pytest
from conftest import assert_one_sentence, write_blobs

QUICK = ("--encoder", "none", "--size", 32, "--paths", 2, "--times", 3)


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (("fit", "{tmp}/nowhere", "--out", "{tmp}/m"), ("There is no folder",)),
        (("fit", "{tmp}", "--out", "{tmp}/m"), ("No image found",)),
        (("fit", "{data}", "--out", "{tmp}/m", "--field", "gan"), ("Unknown field 'gan'", "unet")),
        (("fit", "{data}", "--out", "{tmp}/m", "--encoder", "none", "--size", 7), ("'size' = 7",)),
        (("fit", "{data}", "--out", "{tmp}/m", "--size", 32), ("'size'", "resolution")),
        (("fit", "{data}", "--out", "{tmp}/m", "--encoder", "{tmp}/encoder"), ("encoder", "cannot be used")),
        (("fit", "{data}", "--out", "{tmp}/m", "--components", 3), ("'components'", "shrinkage")),
        (("fit", "{data}", "--out", "{tmp}/m", "--field", "unet", "--widths", "8,x"), ("'widths'", "64,128,192")),
        (("fit", "{data}", "--out", "{tmp}/m", "--learning-rate", "nan"), ("'learning_rate' = nan",)),
        (("fit", "{data}", "--out", "{tmp}/m", "--device", "tpu"), ("no device 'tpu'",)),
        (("fit", "{data}", "--out", "{tmp}/m", "--device", "meta"), ("no device 'meta'",)),
        (("fit", "{data}", "--out", "{tmp}/m", "--device", "cuda:7"), ("no device 'cuda:7'",)),
        (("fit", "{data}", "--out", "{tmp}/m", "--paths", -1), ("'paths' = -1",)),
        (("fit", "{data}", "--out", "{tmp}/m", "--field", "unet", "--paths", 0), ("'paths' = 0", "unet")),
        (("fit", "{few}", "--out", "{tmp}/m", *QUICK), ("2 readable image(s)",)),
        (("score", "{tmp}/nowhere", "{data}", "--out", "{tmp}/o"), ("no model folder",)),
        (("score", "{tmp}", "{data}", "--out", "{tmp}/o"), ("no finished model",)),
        (("score", "{model}", "{tmp}/x.png", "--out", "{tmp}/o"), ("no file or folder",)),
        (("score", "{model}", "{model}", "--out", "{tmp}/o"), ("There is no image",)),
        (("score", "{model}", "{data}", "--out", "{tmp}/o", "--category", "c"), ("no category 'c'", "blob")),
        (("score", "{model}", "{data}", "--out", "{tmp}/o", "--aggregator", "max"), ("min, mean, median",)),
        (("score", "{model}", "{data}", "--out", "{tmp}/o", "--alpha", 0.5), ("alpha", "0.5", "has no parameter")),
        (("score", "{model}", "{data}", "--out", "{tmp}/o", "--threshold", "nan"), ("threshold of nan",)),
        (("score", "{model}", "{data}", "--out", "{tmp}/o", "--masks", "--times", 2), ("threshold", "--threshold")),
        (("threshold", "{model}", "--value", -1), ("threshold of -1",)),
        (("threshold", "{model}", "--value", 1, "--false-alarm-rate", 0.1), ("--value",)),
        (("threshold", "{model}", "--false-alarm-rate", 1.5), ("rate of 1.5",)),
        (("threshold", "{model}", "--false-alarm-rate", 0.01), ("12 held-out", "99")),
        (("threshold", "{model}", "--from", "{tmp}/nowhere"), ("There is no folder",)),
        (("threshold", "{model}", "--from", "{few}"), ("2 held-out", "4")),
        (("threshold", "{model}", "--value", 1, "--category", "c"), ("no category 'c'",)),
        (("threshold", "{tmp}/nowhere"), ("no model folder",)),
        (("evaluate", "{model}", "{tmp}/nowhere"), ("There is no folder",)),
        (("evaluate", "{model}", "{model}"), ("no 'test' folder",)),
        (("evaluate", "{model}", "{data}", "--json", "{model}"), ("is a folder",)),
        (("check", "{data}", "--json", "{model}"), ("is a folder",)),
        (("render", "{tmp}/r", "--size", 7), ("'size' = 7",)),
        (("render", "{model}/model.json"), ("model.json", "is a file")),
        (("score", "{model}", "{data}", "--out", "{model}/model.json"), ("model.json", "is a file")),
        (("score", "{model}", "{data}", "--out", "{model}/model.json/deep/o"), ("cannot be written",)),
        (("score", "{model}", "{data}", "--out", "{tmp}/" + 300 * "x"), ("cannot be written", "name too long")),
        (("fit", "{data}", "--out", "{model}/model.json", *QUICK), ("model.json", "is a file")),
    ],
)
def test_bad_input_is_one_sentence_exit_code_2_and_writes_nothing(
    call, tmp_path_factory, model_folder, category_folder, arguments, parts
):
    empty, few = tmp_path_factory.mktemp("empty"), tmp_path_factory.mktemp("few")
    write_blobs(few, range(2))
    before = (model_folder / "model.json").read_bytes()
    arguments = [str(a).format(tmp=empty, data=category_folder, model=model_folder, few=few) for a in arguments]
    code, out, err = call(*arguments)
    assert code == 2 and out == "" and list(empty.iterdir()) == []
    assert_one_sentence(err.strip().splitlines()[-1], *parts)
    assert "Traceback" not in err
    assert (model_folder / "model.json").read_bytes() == before and len(list(model_folder.iterdir())) == 2


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (("fit", "x", "--out", "y", "--epochs", "3"), "No such option"),
        (("fit", "x", "--out", "y", "--seed", "one"), "'--seed'"),
        (("fit", "x"), "Missing option"),
        (("train", "x"), "No such command"),
    ],
)
def test_unknown_options_and_values_are_usage_errors(call, arguments, part):
    code, _, err = call(*arguments)
    assert code == 2 and part in err and "Traceback" not in err
