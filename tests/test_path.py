"""The affine path: interior times, interpolation, nested noise."""

from __future__ import annotations

import pytest
import torch

from fmcore.path import draw_noise, expand_time, interior_times, interpolate


def test_interior_times_are_equally_spaced_and_leave_out_both_ends():
    assert interior_times(1) == [0.5]
    assert interior_times(4) == pytest.approx([0.2, 0.4, 0.6, 0.8])
    assert all(0 < t < 1 for t in interior_times(100)) and len(interior_times(100)) == 100


def test_path_runs_from_noise_to_data_with_constant_velocity():
    x0, x1 = torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4, 4)
    assert torch.equal(interpolate(x0, x1, 0.0), x0) and torch.equal(interpolate(x0, x1, 1.0), x1)
    slope = (interpolate(x0, x1, 0.75) - interpolate(x0, x1, 0.25)) / 0.5
    torch.testing.assert_close(slope, x1 - x0)


def test_a_time_per_image_equals_one_call_each():
    x0, x1, t = torch.randn(3, 1, 2, 2), torch.randn(1, 2, 2), torch.tensor([0.1, 0.5, 0.9])
    together = interpolate(x0, x1, t)
    for i in range(3):
        torch.testing.assert_close(together[i], interpolate(x0[i : i + 1], x1, float(t[i]))[0])
    assert expand_time(t, x0).shape == (3, 1, 1, 1) and expand_time(0.3, x0).ndim == 0


def test_noise_is_nested_seeded_and_standard_normal():
    many = draw_noise(8, (3, 16, 16), seed=5)
    assert torch.equal(draw_noise(3, (3, 16, 16), seed=5), many[:3])
    assert not torch.equal(draw_noise(8, (3, 16, 16), seed=6), many)
    assert not torch.equal(many[0], many[1])
    # 6144 draws: four standard errors of the mean and of the variance.
    assert abs(float(many.mean())) < 4 / 6144**0.5 and abs(float(many.var()) - 1) < 4 * (2 / 6144) ** 0.5


def test_noise_leaves_the_global_generator_alone():
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    draw_noise(2, (4,), seed=1)
    assert torch.equal(torch.rand(1), expected)
