"""Checkpoint files that cannot be read or written: one sentence each, and nothing is lost."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from conftest import assert_one_sentence
from test_loop import new_network, settings_of

from fmcore.errors import ModelError
from fmcore.training import checkpoint
from fmcore.training.checkpoint import start_training

TENSORS = {"x": torch.arange(6.0).reshape(2, 3).T}  # not contiguous


def write(folder, metadata):
    checkpoint.save_atomically(folder / checkpoint.FILE, TENSORS, metadata)


GOOD = {"step": "3", "seconds": "1.5", "settings": "{}", "images": ""}


@pytest.mark.parametrize("metadata", [{}, {"step": "3"}, GOOD | {"step": "three"}, GOOD | {"settings": "{"}])
def test_a_file_of_something_else_is_not_taken_for_a_checkpoint(tmp_path, metadata):
    write(tmp_path, metadata)
    with pytest.raises(ModelError) as caught:
        checkpoint.load_state(tmp_path, start_training(new_network()), settings_of(), "")
    assert_one_sentence(caught.value, "not a checkpoint", checkpoint.FILE)


@pytest.mark.parametrize(("used", "names"), [("{}", "minutes"), ('{"epochs": 3}', "epochs")])
def test_settings_that_only_one_version_knows_are_named(tmp_path, used, names):
    write(tmp_path, GOOD | {"settings": used})
    with pytest.raises(ModelError) as caught:
        checkpoint.load_state(tmp_path, start_training(new_network()), settings_of(), "")
    assert_one_sentence(caught.value, "differs in", names)


def test_a_write_that_fails_keeps_the_old_file_and_leaves_no_other(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_text("old")

    def fail(temporary, content):
        temporary.write_text("half")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(ModelError) as caught:
        patch.setattr(Path, "write_bytes", fail)
        checkpoint.write_atomically(path, b"new")
    assert_one_sentence(caught.value, str(path), "space", "another folder")
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o000])
def test_files_are_as_open_to_others_as_the_umask_says(tmp_path, mask):
    before = os.umask(mask)
    try:
        write(tmp_path, {})
    finally:
        os.umask(before)
    assert (tmp_path / checkpoint.FILE).stat().st_mode & 0o777 == 0o666 & ~mask


def test_what_may_not_be_read_or_written_is_not_called_damaged_or_full(tmp_path, monkeypatch):
    write(tmp_path, {})

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)  # which writing uses, too
    with pytest.raises(ModelError) as caught:
        checkpoint.read_safetensors(tmp_path / checkpoint.FILE)
    assert_one_sentence(caught.value, checkpoint.FILE, "may not be read", "permissions")
    with pytest.raises(ModelError) as caught:
        write(tmp_path, {})
    assert_one_sentence(caught.value, "cannot be written", "permissions")
    assert "space" not in str(caught.value)


def test_a_forgotten_run_leaves_the_model_and_nothing_of_itself(tmp_path):
    for name in (checkpoint.FILE, f".{checkpoint.FILE}.123", "model.json", "notes.txt"):
        (tmp_path / name).write_text("x")
    checkpoint.forget(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model.json", "notes.txt"]


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelError) as caught:
        checkpoint.save_atomically(tmp_path / "file" / "run" / checkpoint.FILE, TENSORS, {})
    assert_one_sentence(caught.value, "cannot be written", "another folder")


def test_what_is_written_is_read_back(tmp_path):
    write(tmp_path, {"step": "3"})
    metadata, tensors = checkpoint.read_safetensors(tmp_path / checkpoint.FILE)
    assert metadata == {"step": "3"} and torch.equal(tensors["x"], TENSORS["x"])
