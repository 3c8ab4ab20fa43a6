"""The network: it starts as the Gaussian field, conditions on time and category, and refuses wrong shapes."""

from __future__ import annotations

import pytest
import torch
from conftest import assert_one_sentence, random_gaussian

from fmcore.errors import SettingsError
from fmcore.fields.unet import UNetSettings, VelocityUNet


def build(*, size=32, channels=3, categories=1, start="gaussian", awake=False, patch=4) -> VelocityUNet:
    """A small network; ``awake`` gives random values to all weights, so that nothing is zero by construction."""
    torch.manual_seed(0)
    settings = UNetSettings.parse(
        size=size, channels=channels, categories=categories, patch=patch, widths=(16, 32), start=start
    )
    fields = [random_gaussian((channels, size, size), 3, seed=i) for i in range(categories)]
    network = VelocityUNet(settings, fields if start == "gaussian" else None)
    if awake:
        for parameter in network.core.parameters():
            torch.nn.init.normal_(parameter, std=0.1)
    return network.eval()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("size", "patch"), [(32, 4), (40, 4), (32, 1), (64, 2)])
@torch.no_grad()
def test_untrained_network_is_exactly_its_gaussian_field(size, patch, channels):
    network = build(size=size, channels=channels, patch=patch)
    x, t = torch.randn(2, channels, size, size), torch.tensor([0.2, 0.9])
    assert torch.equal(network(x, t), network.gaussians[0](x, t))
    assert torch.equal(network(x, 0.5), network.gaussians[0](x, torch.tensor([0.5, 0.5])))


@torch.no_grad()
def test_velocity_is_the_gaussian_plus_the_gated_residual():
    network = build(awake=True)
    gaussian = network.gaussians[0]
    x, t, labels = torch.randn(2, 3, 32, 32), torch.tensor([0.3, 0.8]), torch.zeros(2, dtype=torch.long)
    inputs = torch.cat([gaussian.whiten(x, t), gaussian.denoise(x, t)], 1)
    factor = (t**2 * gaussian.residual_variance(t).sqrt()).view(2, 1, 1, 1)
    expected = gaussian(x, t) + factor * network.core(inputs, t, labels)
    torch.testing.assert_close(network(x, t), expected, atol=1e-5, rtol=1e-4)
    assert (network(x, t) - gaussian(x, t)).abs().max() > 0.01


@pytest.mark.parametrize("start", ["gaussian", "none"])
@torch.no_grad()
def test_a_batch_of_mixed_categories_equals_singles(start):
    network = build(categories=2, start=start, awake=True)
    x, t = torch.randn(3, 3, 32, 32), torch.tensor([0.3, 0.6, 0.9])
    together = network(x, t, torch.tensor([1, 0, 1]))
    for i, category in enumerate((1, 0, 1)):
        alone = network(x[i : i + 1], float(t[i]), category)[0]
        torch.testing.assert_close(together[i], alone, atol=1e-4, rtol=1e-4)
        other = network(x[i : i + 1], float(t[i]), 1 - category)[0]
        assert (together[i] - other).abs().max() > 1e-3


@torch.no_grad()
def test_conditioned_field_is_the_network_with_its_category():
    network = build(categories=2, awake=True)
    x = torch.randn(2, 3, 32, 32)
    for category in (0, 1):
        assert torch.equal(network.conditioned(category)(x, 0.4), network(x, 0.4, category))


@torch.no_grad()
def test_plain_network_starts_at_zero_and_depends_on_time_and_state():
    x = torch.randn(2, 3, 32, 32)
    assert not build(start="none")(x, 0.5).any()
    network = build(start="none", awake=True)
    assert network(x, 0.5).shape == x.shape
    assert (network(x, 0.5) - network(x, 0.6)).abs().max() > 1e-3
    assert (network(x, 0.5) - network(-x, 0.5)).abs().max() > 1e-3


def test_gaussian_fields_are_frozen_and_the_core_is_not():
    network = build()
    network(torch.randn(1, 3, 32, 32), 0.5).square().mean().backward()
    assert not list(network.gaussians.parameters())
    assert network.core.head.weight.grad.abs().max() > 0


@pytest.mark.parametrize(
    ("values", "parts"),
    [
        ({"size": 36}, ("'size' = 36", "multiple of 8")),
        ({"size": 16}, ("'size' = 16",)),
        ({"size": 512}, ("'size' = 512",)),
        ({"channels": 2}, ("'channels' = 2", "3 for RGB")),
    ],
)
def test_wrong_architecture_is_one_sentence(values, parts):
    with pytest.raises(SettingsError) as caught:
        build(**values)
    assert_one_sentence(caught.value, *parts)


def test_one_gaussian_field_per_category_is_required():
    settings = UNetSettings.parse(size=32, widths=(16, 32), categories=2)
    for fields in (None, [random_gaussian((3, 32, 32), 1)]):
        with pytest.raises(SettingsError, match="one per category"):
            VelocityUNet(settings, fields)
