"""What the README shows works as it stands there."""

from __future__ import annotations

import re

from conftest import ROOT, write_blobs

README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_python_lines_run(tmp_path, monkeypatch, capsys):
    write_blobs(tmp_path / "parts" / "good", range(6))
    write_blobs(tmp_path / "parts" / "new", range(90, 91))[0].rename(tmp_path / "parts" / "new" / "017.png")
    monkeypatch.setattr("fmcore.detector.fit.FOLDS", 2)  # as many fits less
    monkeypatch.chdir(tmp_path)
    exec(re.search(r"```python\n(.*?)```", README, re.DOTALL).group(1), {})
    assert "(32, 32)" in capsys.readouterr().out and (tmp_path / "models" / "parts" / "model.json").is_file()


def test_it_is_short_and_its_links_lead_somewhere():
    assert len(README.splitlines()) <= 150
    assert len((ROOT / "notebooks" / "RESULTS.md").read_text(encoding="utf-8").splitlines()) <= 200
    for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", README):
        assert target.startswith("http") or (ROOT / target).exists(), target
