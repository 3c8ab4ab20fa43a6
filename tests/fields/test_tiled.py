"""Tiles: one tile is the field itself, seams don't show, sizes that are no multiple work, and what is refused."""

from __future__ import annotations

import itertools

import pytest
import torch
from conftest import assert_denoises, assert_one_sentence, blob_tensors

from fmcore.errors import SettingsError
from fmcore.fields.gaussian import fit_gaussian
from fmcore.fields.source import SourceField
from fmcore.fields.tiled import TiledField, fit_tiled_gaussian, tile_corners


def smooth_field(x, t):
    """Acts on each pixel alone, so that cutting into tiles must change nothing."""
    return 3 * x.tanh() - torch.as_tensor(t).reshape(-1, 1, 1, 1)


@pytest.mark.parametrize("shape", [(16, 16), (16, 23), (40, 17)])
@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5, 0.9])
def test_a_field_that_acts_on_pixels_is_left_as_it_is(shape, overlap):
    x = torch.randn(3, 2, *shape, generator=torch.Generator().manual_seed(0))
    field = TiledField(smooth_field, 16, overlap=overlap)
    for t in (0.3, torch.tensor([0.1, 0.5, 0.9])):
        torch.testing.assert_close(field(x, t), smooth_field(x, t))


def test_one_tile_is_the_field_itself():
    images = blob_tensors(range(12))
    x = torch.randn(2, *images.shape[1:], generator=torch.Generator().manual_seed(1))
    tiled, plain = fit_tiled_gaussian(images, tile=images.shape[-1]), fit_gaussian(images)
    torch.testing.assert_close(tiled(x, 0.6), plain(x, 0.6))


@pytest.mark.parametrize("overlap", [0.0, 0.3, 0.5, 0.75])
@pytest.mark.parametrize("side", [16, 17, 24, 31, 64, 100])
def test_tiles_cover_the_image_and_overlap_as_asked(side, overlap):
    corners = tile_corners(side, 16, 16, overlap)
    tops = [top for top, _ in corners]
    assert {left for _, left in corners} == {0}
    assert tops[0] == 0 and tops[-1] == side - 16 and tops == sorted(set(tops))
    assert all(low + 16 - high >= overlap * 16 - 1 for low, high in itertools.pairwise(tops))


def test_each_tile_has_its_own_field_in_reading_order():
    fields = [lambda x, t, value=value: torch.full_like(x, value) for value in range(6)]
    velocity = TiledField(fields, 8, overlap=0)(torch.zeros(1, 1, 16, 24), 0.5)
    expected = torch.arange(6.0).view(2, 3).repeat_interleave(8, 0).repeat_interleave(8, 1)
    assert torch.equal(velocity[0, 0], expected)


def test_no_seam_where_neighbours_disagree():
    # Two tiles that predict 0 and 1: blended, the step between neighbouring pixels is that of the ramp at most.
    fields = [lambda x, t: torch.zeros_like(x), lambda x, t: torch.ones_like(x)]
    row = TiledField(fields, 16, overlap=0.5)(torch.zeros(1, 1, 16, 24), 0.5)[0, 0, 8]
    assert row[0] == 0 and row[-1] == 1
    assert float(row.diff().max()) < 0.15 and float(row.diff().min()) >= 0
    hard = TiledField(fields, 12, overlap=0)(torch.zeros(1, 1, 12, 24), 0.5)[0, 0, 6]
    assert float(hard.diff().max()) == 1.0


def test_tiles_of_a_gaussian_denoise():
    images = blob_tensors(range(40))
    assert_denoises(fit_tiled_gaussian(images, tile=images.shape[-1] // 2))


@pytest.mark.parametrize(
    ("act", "word"),
    [
        (lambda: TiledField(smooth_field, 0), "tile"),
        (lambda: TiledField(smooth_field, 8, overlap=1.0), "overlap"),
        (lambda: TiledField(smooth_field, 8, overlap=-0.1), "overlap"),
        (lambda: TiledField(SourceField(smooth_field, "natural"), 8), "white"),
        (lambda: TiledField(smooth_field, 8)(torch.zeros(1, 1, 8, 7), 0.5), "smaller"),
        (lambda: TiledField([smooth_field], 8)(torch.zeros(1, 1, 16, 16), 0.5), "one field per tile"),
    ],
)
def test_what_is_refused(act, word):
    with pytest.raises(SettingsError) as error:
        act()
    assert_one_sentence(error.value, word)
