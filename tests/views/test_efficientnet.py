"""The bundled encoder: right names for well-known pictures, hence right weights and input scale."""

from __future__ import annotations

import numpy as np
import pytest
import skimage.data
import torch
import torch.nn.functional as F
from conftest import assert_one_sentence

from fmcore.data.picture import Picture
from fmcore.errors import ModelError
from fmcore.views import efficientnet
from fmcore.views.efficientnet import EfficientNetLite0, load_efficientnet_lite0, weights_file


@pytest.fixture(scope="module")
def network() -> EfficientNetLite0:
    return load_efficientnet_lite0()[0]


def classify(network, x) -> torch.Tensor:
    """ImageNet logits ``(B, 1000)``: the maps of the last stage, and the rest of the network as it was trained."""
    stored = torch.load(weights_file(), map_location="cpu", weights_only=True)
    h = F.conv2d(network(x)[-1], stored["_conv_head.weight"])
    norm = [stored[f"_bn1.{name}"] for name in ("running_mean", "running_var", "weight", "bias")]
    h = F.relu6(F.batch_norm(h, *norm, eps=efficientnet.BATCH_NORM_EPSILON)).mean((2, 3))
    return F.linear(h, stored["_fc.weight"], stored["_fc.bias"])


@pytest.mark.parametrize(
    ("name", "classes"),
    [("cat", {281, 282, 283, 284, 285}), ("coffee", {504, 967, 968}), ("rocket", {657})],
)
def test_it_names_pictures_rightly(network, name, classes):
    """ImageNet classes: cats; coffee mug, espresso, cup; missile. The middle square, as classifiers are used."""
    image = getattr(skimage.data, name)()
    side = min(image.shape[:2])
    top, left = (image.shape[0] - side) // 2, (image.shape[1] - side) // 2
    x = Picture(np.ascontiguousarray(image[top : top + side, left : left + side])).resized(224, 224, 3)
    assert int(classify(network, x[None]).argmax()) in classes


@pytest.mark.parametrize(("height", "width"), [(64, 64), (96, 160)])
def test_maps_have_the_stated_strides_and_widths(network, height, width):
    maps = network(torch.zeros(1, 3, height, width))
    assert len(maps) == 7
    for found, stride, channels in zip(maps, (2, 4, 8, 16, 16, 32, 32), (16, 24, 40, 80, 112, 192, 320), strict=True):
        assert found.shape == (1, channels, height // stride, width // stride)
    assert [m.shape for m in network(torch.zeros(1, 3, height, width), stages=4)] == [m.shape for m in maps[:4]]


def test_padding_puts_the_odd_pixel_at_the_bottom_and_right(network):
    """Shifting the input by the stride shifts the map by one, away from the borders: padding is even and static."""
    x = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    moved = torch.roll(x, (4, 4), (2, 3))
    first, second = (network(each, stages=2)[1] for each in (x, moved))
    assert torch.allclose(first[:, :, 4:10, 4:10], second[:, :, 5:11, 5:11], atol=1e-4)


def test_weights_have_a_digest_and_damage_is_one_sentence(monkeypatch, tmp_path):
    assert len(load_efficientnet_lite0()[1]) == 64
    broken = tmp_path / "weights.pth"
    broken.write_bytes(b"not weights")
    monkeypatch.setattr(efficientnet, "weights_file", lambda: broken)
    with pytest.raises(ModelError) as caught:
        load_efficientnet_lite0()
    assert_one_sentence(caught.value, "damaged")


@pytest.mark.parametrize(("height", "width"), [(32, 64), (160, 96), (384, 384)])
def test_same_bits_on_one_thread_and_on_several(network, height, width):
    x = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(0)) * 2 - 1
    threads, found = torch.get_num_threads(), []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            found.append(network(x))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(a, b) for other in found[1:] for a, b in zip(found[0], other, strict=True))
