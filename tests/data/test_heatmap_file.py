"""Heat-map files: one scale, stated in the file."""

from __future__ import annotations

import numpy as np
from matplotlib import colormaps
from PIL import Image

from fmcore.data.heatmap_file import HeatmapWriter
from fmcore.detector.calibration import NormalRange
from fmcore.mismatch.mismatch import HeatSettings


def colour(level: float) -> list[int]:
    return [round(c * 255) for c in colormaps["inferno"](int(level))[:3]]


def test_colours_follow_the_scale_of_the_normal_range(tmp_path):
    upper = np.full((2, 4, 4), 2.0, dtype=np.float32)
    writer = HeatmapWriter(tmp_path, NormalRange(np.array([0.5, 0.5]), 0 * upper, upper), HeatSettings(exponent=1.0))
    assert writer.scale == 3.0 and "from 0 (black) to 3 and above" in writer.legend
    path = writer.write("deep/x", np.array([[0.0, 1.5], [3.0, 99.0]]), height=2, width=2)
    assert path == tmp_path / "deep" / "x_heat.png" and [p.name for p in path.parent.iterdir()] == ["x_heat.png"]
    image = Image.open(path)
    assert np.asarray(image).tolist() == [[colour(0), colour(128)], [colour(255), colour(255)]]
    assert image.text["scale"] == "0 to 3.0"


def test_first_map_sets_the_scale_where_there_is_no_range(tmp_path):
    writer = HeatmapWriter(tmp_path, None, HeatSettings())
    assert writer.legend == ""
    for number, level in enumerate((4.0, 2.0)):
        path = writer.write(str(number), np.full((3, 3), level), height=3, width=5)
        image = Image.open(path)
        assert image.size == (5, 3) and image.getpixel((2, 1)) == tuple(colour(level / 4 * 255 + 0.5))
    assert writer.scale == 4.0
    blank = HeatmapWriter(tmp_path, None, HeatSettings())
    assert Image.open(blank.write("blank", np.zeros((3, 3)), height=3, width=3)).getpixel((1, 1)) == tuple(colour(0))
