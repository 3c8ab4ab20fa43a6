"""Checkpoint files that cannot be read or written: one sentence each, and nothing is lost."""

from __future__ import annotations

import pytest
import torch
from conftest import assert_one_sentence
from safetensors import SafetensorError
from test_loop import new_network, settings_of

from fmcore.errors import ModelError
from fmcore.training import checkpoint
from fmcore.training.loop import start_training

TENSORS = {"x": torch.arange(6.0).reshape(2, 3).T}  # not contiguous


def write(folder, metadata):
    checkpoint.save_atomically(folder / checkpoint.FILE, TENSORS, metadata)


@pytest.mark.parametrize(
    "metadata", [{}, {"step": "3"}, {"step": "three", "settings": "{}"}, {"step": "3", "settings": "{"}]
)
def test_a_file_of_something_else_is_not_taken_for_a_checkpoint(tmp_path, metadata):
    write(tmp_path, metadata)
    with pytest.raises(ModelError) as caught:
        checkpoint.load(tmp_path, start_training(new_network(), settings_of()), settings_of())
    assert_one_sentence(caught.value, "not a checkpoint", checkpoint.FILE)


@pytest.mark.parametrize(("used", "names"), [("{}", "steps"), ('{"epochs": 3}', "epochs")])
def test_settings_that_only_one_version_knows_are_named(tmp_path, used, names):
    write(tmp_path, {"step": "3", "settings": used})
    with pytest.raises(ModelError) as caught:
        checkpoint.load(tmp_path, start_training(new_network(), settings_of()), settings_of())
    assert_one_sentence(caught.value, "other settings", names)


@pytest.mark.parametrize("error", [OSError("No space left on device"), SafetensorError("I/O error: no space")])
def test_a_write_that_fails_keeps_the_old_file_and_leaves_no_other(tmp_path, error):
    path = tmp_path / "file"
    path.write_text("old")

    def fail(temporary):
        temporary.write_text("half")
        raise error

    with pytest.raises(ModelError) as caught:
        checkpoint.write_atomically(path, fail)
    assert_one_sentence(caught.value, str(path), "space", "another folder")
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelError) as caught:
        checkpoint.save_atomically(tmp_path / "file" / "run" / checkpoint.FILE, TENSORS, {})
    assert_one_sentence(caught.value, "cannot be written", "another folder")


def test_what_is_written_is_read_back(tmp_path):
    write(tmp_path, {"step": "3"})
    metadata, tensors = checkpoint.read_safetensors(tmp_path / checkpoint.FILE)
    assert metadata == {"step": "3"} and torch.equal(tensors["x"], TENSORS["x"])
