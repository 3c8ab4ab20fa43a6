"""What the notebooks do with a category's images."""

import notebook_helpers  # noqa: F401  (makes nbtools importable)
from conftest import write_blobs

from fmcore.detector.model import load_model
from fmcore.detector.settings import FitSettings
from nbtools import follow
from nbtools.category import fitted_to_folder


def test_images_that_give_no_threshold_are_told_from_the_start_and_stay_told(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(follow, "clear_output", lambda wait: print("(cleared)"))
    write_blobs(tmp_path / "parts", range(19))
    settings = FitSettings.parse(field="gaussian", size=32, components=4, paths={"paths": 1, "times": 2})
    fitted_to_folder("parts", tmp_path / "parts", settings, tmp_path / "enough")
    assert "no threshold" not in capsys.readouterr().out and load_model(tmp_path / "enough").info.thresholds["parts"]

    (tmp_path / "parts" / "000.png").unlink()
    fitted_to_folder("parts", tmp_path / "parts", settings, tmp_path / "few")
    first, *_, last = capsys.readouterr().out.split("(cleared)\n")  # what a cell showed, one after the other
    for shown in (first, last):
        assert shown.startswith("parts: 18 good images will give no threshold") and "false_alarm_rate 0.06" in shown
    assert "finished" in last and "finished" not in first
    assert load_model(tmp_path / "few").info.thresholds["parts"] is None
