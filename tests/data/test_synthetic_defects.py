"""Synthetic defects: masks that tell the truth, no hidden randomness, and something to see on any image."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import assert_one_sentence, blob_tensors

from fmcore.data.synthetic_defects import KINDS, paste_defect, paste_defects
from fmcore.errors import DataError, SettingsError


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return blob_tensors(range(4), size=64)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(4))
def test_the_mask_holds_what_changed(images, kind, seed):
    copy, mask = paste_defect(images[0], kind, seed=seed, donor=images[1])
    change = (copy - images[0]).abs().amax(0).numpy() / 2
    assert copy.shape == images[0].shape and copy.dtype == torch.float32
    assert -1 <= copy.min() and copy.max() <= 1
    assert mask.shape == (64, 64) and mask.dtype == bool and 4 <= mask.sum() < 0.3 * mask.size
    assert change[mask].mean() > 16 / 255
    assert change[~mask].max() <= 16 / 255 + 1e-6
    far = np.pad(mask, 3)
    near = np.any([far[3 + y : 67 + y, 3 + x : 67 + x] for y in range(-3, 4) for x in range(-3, 4)], axis=0)
    assert change[~near].max() < 1e-6


def test_the_same_seed_gives_the_same_bits_and_leaves_global_generators_alone(images):
    torch.manual_seed(5)
    before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()
    first, second = (paste_defects(images, per_image=5, seed=3) for _ in range(2))
    assert torch.equal(first.images, second.images) and np.array_equal(first.masks, second.masks)
    assert not torch.equal(first.images, paste_defects(images, per_image=5, seed=4).images)
    assert torch.equal(before, torch.get_rng_state()) and np.array_equal(numpy_before, np.random.get_state()[1])


def test_all_kinds_occur_and_sources_are_named(images):
    made = paste_defects(images, per_image=5)
    assert len(made.images) == len(made.masks) == len(made.kinds) == 20
    assert set(made.kinds) == set(KINDS) and made.sources == tuple(np.repeat(range(4), 5))
    for copy, mask, source in zip(made.images, made.masks, made.sources, strict=True):
        assert mask.any() and not torch.equal(copy, images[source])


def test_gray_and_flat_images_get_defects_too():
    flat = torch.full((1, 32, 32), 0.2)
    made = paste_defects(flat[None], per_image=5)
    assert made.masks.any((1, 2)).all() and made.images.shape == (5, 1, 32, 32)


def test_bad_input_is_refused_in_one_sentence(images):
    with pytest.raises(SettingsError) as error:
        paste_defect(images[0], "dent", seed=0)
    assert_one_sentence(error.value, "dent", "scratch")
    with pytest.raises(SettingsError):
        paste_defect(images[0, :, :32], "stain", seed=0)
    with pytest.raises(DataError) as error:
        paste_defects(images[:0])
    assert_one_sentence(error.value)
    with pytest.raises(SettingsError):
        paste_defects(images, per_image=0)
