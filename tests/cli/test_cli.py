"""The command line: exit codes, and one sentence for every mistake."""

from __future__ import annotations

import pytest
from conftest import assert_one_sentence

QUICK = ("--field", "gaussian", "--size", 32, "--paths", 2, "--times", 3)


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (("fit", "{tmp}/nowhere", "--out", "{tmp}/m"), ("There is no folder",)),
        (("fit", "{tmp}", "--out", "{tmp}/m"), ("No image found",)),
        (("fit", "{data}", "--out", "{tmp}/m", "--field", "gan"), ("'field' = 'gan'", "unet")),
        (("fit", "{data}", "--out", "{tmp}/m", "--size", 7), ("'size' = 7",)),
        (("fit", "{data}", "--out", "{tmp}/m", "--size", 33, "--steps", 1), ("'size' = 33",)),
        (("fit", "{data}", "--out", "{tmp}/m", "--learning-rate", "nan"), ("'learning_rate' = nan",)),
        (("fit", "{data}", "--out", "{tmp}/m", "--device", "tpu"), ("no device 'tpu'",)),
        (("fit", "{data}", "--out", "{tmp}/m", "--paths", 0), ("'paths' = 0",)),
        (("score", "{tmp}/nowhere", "{data}", "--out", "{tmp}/o"), ("no model folder",)),
        (("score", "{tmp}", "{data}", "--out", "{tmp}/o"), ("no finished model",)),
        (("score", "{model}", "{tmp}/x.png", "--out", "{tmp}/o"), ("no file or folder",)),
        (("score", "{model}", "{model}", "--out", "{tmp}/o"), ("There is no image",)),
        (("score", "{model}", "{data}", "--out", "{tmp}/o", "--category", "c"), ("no category 'c'", "blob")),
        (("score", "{model}", "{data}", "--out", "{tmp}/o", "--aggregator", "max"), ("'aggregator' = 'max'",)),
        (("evaluate", "{model}", "{tmp}/nowhere"), ("There is no folder",)),
        (("evaluate", "{model}", "{model}"), ("no 'test' folder",)),
        (("render", "{tmp}/r", "--size", 7), ("'size' = 7",)),
        pytest.param(
            ("score", "{model}", "{data}", "--out", "{model}/model.json"),
            ("model.json",),
        ),
        pytest.param(
            ("fit", "{data}", "--out", "{model}/model.json", *QUICK),
            ("model.json",),
        ),
    ],
)
def test_bad_input_is_one_sentence_exit_code_2_and_writes_nothing(
    call, tmp_path_factory, model_folder, category_folder, arguments, parts
):
    empty = tmp_path_factory.mktemp("empty")
    arguments = [str(a).format(tmp=empty, data=category_folder, model=model_folder) for a in arguments]
    code, out, err = call(*arguments)
    assert code == 2 and out == "" and list(empty.iterdir()) == []
    assert_one_sentence(err.strip().splitlines()[-1], *parts)
    assert "Traceback" not in err


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
