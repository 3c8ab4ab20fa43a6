"""What the notebooks do with a category's images."""

import notebook_helpers  # noqa: F401  (makes the notebooks' packages importable)
import pytest
from conftest import assert_one_sentence, write_blobs, write_category

from common import progress
from common.category import fit_settings, fitted, good_files, held_out_files, split_by_kind, tensors
from fmcore.detector.model import load_model
from fmcore.errors import DataError, SettingsError
from fmcore.views import PixelView

PIXELS = {"encoder": "none", "view": {"size": 32}, "options": {"components": 4}, "paths": {"paths": 1, "times": 2}}


def test_images_that_give_no_threshold_are_told_before_the_fit_and_stay_told(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(progress, "clear_output", lambda wait: print("(cleared)"))
    write_blobs(tmp_path / "parts", range(19))
    fitted("parts", good_files(tmp_path / "parts"), fit_settings(PIXELS), tmp_path / "enough")
    assert "no threshold" not in capsys.readouterr().out and load_model(tmp_path / "enough").threshold("parts")

    (tmp_path / "parts" / "000.png").unlink()
    (tmp_path / "parts" / "001.png").write_bytes(b"")
    fitted("parts", good_files(tmp_path / "parts"), fit_settings(PIXELS), tmp_path / "few")
    shown = capsys.readouterr().out.split("(cleared)\n")  # what a cell showed, one after the other
    told = [text for text in shown if "parts: 17 good images will give no threshold" in text]
    assert len(told) >= 2 and "reading" in told[0] and "Skipped: " in told[0] and told[-1] is shown[-1]
    assert "finished" in told[-1] and "finished" not in told[0]
    assert load_model(tmp_path / "few").threshold("parts") is None


def test_settings_come_as_a_dict_or_as_json_and_win_over_the_other_parameters():
    for more in ({"field": "unet", "training": {"steps": 3}}, '{"field": "unet", "training": {"steps": 3}}'):
        found = fit_settings(more, field="gaussian", seed=7)
        assert (found.field, found.seed, found.training.steps) == ("unet", 7, 3)
    assert fit_settings("", seed=7) == fit_settings({}, seed=7)
    for wrong, said in (({"fild": "unet"}, "fild"), ({"view": {"sise": 3}}, "sise"), ("{", "JSON"), ("[1]", "JSON")):
        with pytest.raises(SettingsError) as caught:
            fit_settings(wrong)
        assert_one_sentence(caught.value, said)


def test_images_are_held_out_and_test_images_spread(tmp_path):
    folder = write_category(tmp_path / "part")
    train, held = held_out_files(folder)
    assert len(train) == 12 and len(held) == 4 and {path.parent.name for path in held} == {"good"}
    assert [len(kind) for kind in split_by_kind(folder)] == [4, 4]
    few = split_by_kind(folder, most=2)
    assert [[item.path.stem for item in kind] for kind in few] == [["000", "002"]] * 2
    write_blobs(tmp_path / "flat", range(20))
    train, held = held_out_files(tmp_path / "flat")
    assert [path.stem for path in held] == ["009", "019"] and len({*train, *held}) == 20


def test_unreadable_images_are_told_and_left_out(tmp_path, capsys):
    files, view = write_blobs(tmp_path, range(3)), PixelView(3, 8, 8)
    files[1].write_bytes(b"")
    assert tensors(files, view).shape == (2, 3, 8, 8) and "Left out: " in capsys.readouterr().out
    with pytest.raises(DataError) as caught:
        tensors(files[1:2], view)
    assert_one_sentence(caught.value, "None of the 1 images")
