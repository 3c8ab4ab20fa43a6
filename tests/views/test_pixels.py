"""Pixels as a view: shape, range, and the way back."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import draw_blob

from fmcore.data.picture import Picture
from fmcore.views import PixelView


@pytest.mark.parametrize(("height", "width"), [(100, 100), (50, 200), (400, 100), (20, 400)])
@pytest.mark.parametrize("size", [32, 64, 128])
def test_sides_follow_the_aspect_ratio_at_equal_area(height, width, size):
    picture = Picture(np.zeros((height, width, 3), np.uint8))
    view = PixelView.fit([picture], height, width, gray=False, size=size)
    assert view(picture).shape == view.shape == (3, view.height, view.width)
    assert view.height % (size // 8) == 0 and view.width % (size // 8) == 0
    assert 0.6 * size**2 <= view.height * view.width <= 1.7 * size**2
    if max(height, width) <= 4 * min(height, width):
        assert view.height / view.width == pytest.approx(height / width, rel=0.3)


def test_gray_and_colour():
    image, _ = draw_blob(0)
    colour = PixelView.fit([Picture(image)], 32, 32, gray=False, size=32)(Picture(image))
    gray = PixelView.fit([Picture(image)], 32, 32, gray=True, size=32)(Picture(image))
    np.testing.assert_allclose(colour.permute(1, 2, 0).numpy(), image / 127.5 - 1, atol=1e-6)
    assert gray.shape == (1, 32, 32) and gray.min() >= -1 and gray.max() <= 1


def test_a_map_comes_back_at_the_size_of_the_picture():
    values = np.zeros((4, 8), np.float32)
    values[1, 6] = 1
    large = PixelView.enlarge(values, 40, 160)
    top, left = np.unravel_index(large.argmax(), large.shape)
    assert large.shape == (40, 160) and 10 <= top < 20 and 120 <= left < 140
