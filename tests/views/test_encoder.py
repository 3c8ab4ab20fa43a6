"""Feature maps as a view: grid, scale, size kept, and encoders that cannot be had."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from conftest import assert_one_sentence, draw_blob

from fmcore.data.picture import Picture
from fmcore.errors import ModelError, SettingsError
from fmcore.registry import options_of
from fmcore.views import EncoderView
from fmcore.views.encoder import SPREAD, load_encoder


def picture(height: int = 64, width: int = 64, seed: int = 0, channels: int | None = 3) -> Picture:
    shape = (height, width) if channels is None else (height, width, channels)
    return Picture(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8))


@pytest.mark.parametrize(("height", "width"), [(64, 64), (384, 512), (160, 393), (6000, 300), (100, 2000), (512, 512)])
def test_grid_and_input_follow_the_aspect_ratio(height, width):
    view = EncoderView.fit([picture()], height, width, gray=False, resolution=128, places=256)
    assert view.pixel_height % 32 == 0 and view.pixel_width % 32 == 0
    assert 0.5 * 128**2 <= view.pixel_height * view.pixel_width <= 2 * 128**2
    assert 0.7 * 256 <= view.height * view.width <= 1.4 * 256
    assert view.height / view.width == pytest.approx(view.pixel_height / view.pixel_width, rel=0.15)
    assert view(picture(max(1, height // 8), max(1, width // 8))).shape == view.shape


def test_pictures_are_not_enlarged_far_beyond_what_they_hold():
    small, large = (EncoderView.fit([picture()], side, side, gray=False) for side in (64, 1000))
    assert (small.pixel_height, small.pixel_width) == (128, 128)
    assert (large.pixel_height, large.pixel_width) == (384, 384)


def test_channels_are_standardised_over_the_set():
    sample = [picture(seed=seed) for seed in range(6)]
    view = EncoderView.fit(sample, 64, 64, gray=False, resolution=64, places=64)
    values = torch.stack([view(p) for p in sample])
    assert values.mean((0, 2, 3)).abs().max() < 1e-3
    assert torch.allclose(values.std((0, 2, 3)), torch.full((view.channels,), SPREAD), rtol=1e-3)


def test_same_picture_same_bits_whatever_was_seen_before():
    view = EncoderView.fit([picture()], 64, 64, gray=False, resolution=64, places=64)
    first = view(picture(seed=1))
    view(picture(seed=2))
    assert torch.equal(view(picture(seed=1)), first)


def test_gray_pictures_are_seen_as_colour():
    gray = picture(channels=None)
    view = EncoderView.fit([gray], 64, 64, gray=True, resolution=64, places=64)
    assert torch.equal(view(gray), view(Picture(np.repeat(gray.pixels[..., None], 3, 2))))


def test_options_are_those_of_the_signature():
    assert set(options_of(EncoderView).model_fields) == {"encoder", "resolution", "places"}
    with pytest.raises(SettingsError):
        options_of(EncoderView).parse(resolution=5)


@pytest.fixture(scope="module")
def backbone_folder(tmp_path_factory):
    """A tiny random ResNet, saved as transformers saves one."""
    transformers = pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("backbone")
    config = transformers.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16, 24, 32], depths=[1, 1, 1, 1])
    torch.manual_seed(0)
    transformers.ResNetModel(config).save_pretrained(folder)
    return folder


def test_a_backbone_of_transformers_is_an_encoder(backbone_folder):
    view = EncoderView.fit([picture()], 64, 64, gray=False, encoder=str(backbone_folder), resolution=64, places=64)
    assert view.channels == 8 + 16 + 24 and view(picture()).shape == view.shape
    again = EncoderView(**view.config)
    again.load_state_dict(view.state_dict())
    assert torch.equal(again(picture()), view(picture()))


def test_a_plain_transformer_is_an_encoder(tmp_path):
    transformers = pytest.importorskip("transformers")
    config = transformers.Dinov2Config(hidden_size=24, num_hidden_layers=2, num_attention_heads=2, image_size=56)
    torch.manual_seed(0)
    transformers.Dinov2Model(config).save_pretrained(tmp_path)
    view = EncoderView.fit([picture()], 56, 112, gray=False, encoder=str(tmp_path), resolution=64, places=64)
    assert view.pixel_height % 14 == 0 and view(picture()).shape == view.shape


def test_an_encoder_with_other_weights_is_one_sentence(backbone_folder):
    view = EncoderView.fit([picture()], 64, 64, gray=False, encoder=str(backbone_folder), resolution=64, places=64)
    with pytest.raises(ModelError) as caught:
        EncoderView(**view.config | {"digest": "1" * 64})
    assert_one_sentence(caught.value, "other weights")


@pytest.mark.parametrize("content", [None, "{", json.dumps({"model_type": "bert"}), json.dumps({"model_type": "none"})])
def test_an_encoder_that_cannot_be_had_is_one_sentence(tmp_path, content):
    folder = tmp_path / "encoder"
    if content is not None:
        folder.mkdir()
        (folder / "config.json").write_text(content)
    with pytest.raises(ModelError) as caught:
        load_encoder(str(folder))
    assert_one_sentence(caught.value, "cannot be used")


def test_a_hub_id_without_network_is_one_sentence(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError) as caught:
        load_encoder("nobody/no-such-encoder")
    assert_one_sentence(caught.value, "cannot be used", "efficientnet-lite0")


def test_a_defect_stands_out_at_its_place():
    good = [Picture(draw_blob(seed, size=64)[0]) for seed in range(12)]
    view = EncoderView.fit(good, 64, 64, gray=False, resolution=128, places=256)
    image, mask = draw_blob(3, size=64, defect=True)
    difference = (view(Picture(image)) - torch.stack([view(p) for p in good]).mean(0)).square().sum(0).numpy()
    large = view.enlarge(difference, 64, 64)
    assert large[mask].mean() > 3 * large[~mask].mean()
