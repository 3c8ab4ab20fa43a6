"""Heat-map files: one scale, stated in the file."""

from __future__ import annotations

import numpy as np
from matplotlib import colormaps
from PIL import Image

from fmcore.data.heatmap_file import HeatmapWriter, is_heatmap


def colour(level: float) -> list[int]:
    return [round(c * 255) for c in colormaps["inferno"](int(level))[:3]]


def test_colours_follow_the_scale(tmp_path):
    writer = HeatmapWriter(tmp_path, 3.0)
    assert "from 0 (black) to 3 and above" in writer.legend
    path = writer.write("deep/x", np.array([[0.0, 1.5], [3.0, 99.0]]), height=2, width=2)
    assert path == tmp_path / "deep" / "x_heat.png" and [p.name for p in path.parent.iterdir()] == ["x_heat.png"]
    image = Image.open(path)
    assert np.asarray(image).tolist() == [[colour(0), colour(128)], [colour(255), colour(255)]]
    assert image.text["scale"] == "0 to 3.0"


def test_first_map_sets_the_scale_where_none_is_given(tmp_path):
    writer = HeatmapWriter(tmp_path)
    assert writer.legend == ""
    for number, level in enumerate((4.0, 2.0)):
        path = writer.write(str(number), np.full((3, 3), level), height=3, width=5)
        image = Image.open(path)
        assert image.size == (5, 3) and image.getpixel((2, 1)) == tuple(colour(level / 4 * 255 + 0.5))
    assert writer.scale == 4.0
    blank = HeatmapWriter(tmp_path)
    assert Image.open(blank.write("blank", np.zeros((3, 3)), height=3, width=3)).getpixel((1, 1)) == tuple(colour(0))


def test_only_files_with_the_name_and_the_scale_are_heat_maps(tmp_path):
    assert is_heatmap(HeatmapWriter(tmp_path, 1.0).write("x" * 246, np.ones((2, 2)), height=2, width=2))
    for name, image in (("thermal_heat.png", "PNG"), ("jpeg_heat.png", "JPEG")):
        Image.new("L", (2, 2)).save(tmp_path / name, image)
        assert not is_heatmap(tmp_path / name)
    (tmp_path / "cut_heat.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    assert not is_heatmap(tmp_path / "cut_heat.png") and not is_heatmap(tmp_path / "missing_heat.png")
