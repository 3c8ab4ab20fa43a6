"""The network: it starts as its closed form on any grid, obeys time and category, and is rebuilt from a config."""

from __future__ import annotations

import json

import pytest
import torch
from conftest import assert_one_sentence

from fmcore.errors import ModelError, SettingsError
from fmcore.fields.field import FIELDS
from fmcore.fields.unet import BINS, VelocityUNet
from fmcore.path import clean_guess
from fmcore.registry import options_of

PIXELS = [(3, 32, 32), (1, 40, 40), (3, 30, 50), (1, 128, 96), (2, 7, 9)]
FEATURES = [(176, 8, 8), (176, 5, 50), (12, 10, 100)]
CLOSED_FORMS = [kind for kind, cls in FIELDS.kinds.items() if not cls.trained and hasattr(cls, "residual_variance")]


def images_of(shape: tuple[int, int, int], seed: int = 0, count: int = 6) -> torch.Tensor:
    """Smooth images with a little noise, ``(count, *shape)``."""
    generator = torch.Generator().manual_seed(seed)
    fields = torch.randn(count, shape[0], 2, 2, generator=generator)
    smooth = torch.nn.functional.interpolate(fields, shape[1:], mode="bilinear")
    return smooth + 0.2 * torch.randn(count, *shape, generator=generator)


def build(shape=(3, 32, 32), *, kind="place-gaussian", categories=1, awake=False, widths=(16, 32)) -> VelocityUNet:
    """A small network; ``awake`` gives random values to all weights, so that nothing is zero by construction."""
    starts = None if kind == "none" else [FIELDS[kind].fit(images_of(shape, seed=i)) for i in range(categories)]
    network = VelocityUNet.new(starts, shape, categories, widths=widths, blocks=1, seed=0)
    if awake:
        torch.manual_seed(1)
        for parameter in network.core.parameters():
            torch.nn.init.normal_(parameter, std=0.1)
    return network.eval()


@pytest.mark.parametrize("shape", PIXELS + FEATURES)
@pytest.mark.parametrize("widths", [(16, 32), (8, 8, 16, 16), (6,)])
@torch.no_grad()
def test_untrained_network_is_exactly_its_start_on_any_grid(shape, widths):
    network = build(shape, widths=widths)
    x, t = torch.randn(2, *shape), torch.tensor([0.2, 0.9])
    assert torch.equal(network(x, t), network.starts[0](x, t))
    assert torch.equal(network(x, 0.5), network.starts[0](x, torch.tensor([0.5, 0.5])))


@pytest.mark.parametrize("kind", CLOSED_FORMS)
@torch.no_grad()
def test_any_closed_form_can_be_the_start(kind):
    network = build((3, 12, 20), kind=kind, categories=2)
    x = torch.randn(2, 3, 12, 20)
    assert network.config["start"] == kind
    assert torch.equal(network(x, 0.5, 1), network.starts[1](x, torch.tensor([0.5, 0.5])))


@pytest.mark.parametrize("shape", [*PIXELS, (176, 5, 50)])
@torch.no_grad()
def test_an_awake_network_answers_on_its_grid_and_every_place_of_it_matters(shape):
    network = build(shape, kind="none", awake=True)
    x = torch.randn(1, *shape)
    v = network(x, 0.7)
    assert v.shape == x.shape and v.isfinite().all()
    for place in ((0, 0), (-1, -1)):
        changed = x.clone()
        changed[:, :, *place] += 3
        assert (network(changed, 0.7) - v)[:, :, *place].abs().max() > 1e-3


@torch.no_grad()
def test_velocity_is_the_start_plus_the_gated_residual():
    network = build(awake=True)
    start = network.starts[0]
    x, t, labels = torch.randn(2, 3, 32, 32), torch.tensor([0.3, 0.8]), torch.zeros(2, dtype=torch.long)
    inputs = torch.cat([start.whiten(x, t), clean_guess(x, start(x, t), t)], 1)
    factor = (t**2 * start.residual_variance(t).sqrt()).view(2, 1, 1, 1)
    expected = start(x, t) + factor * network.core(inputs, t, labels)
    torch.testing.assert_close(network(x, t), expected, atol=1e-5, rtol=1e-4)
    assert (network(x, t) - start(x, t)).abs().max() > 0.01


@torch.no_grad()
def test_measured_level_is_the_error_of_the_start_on_other_images_and_interpolated():
    network = build((8, 9, 11), categories=2)
    start, t = network.starts[1], (torch.arange(BINS) + 0.5) / BINS
    torch.testing.assert_close(network.scale(1, t), start.residual_variance(t).sqrt())
    held_out = images_of((8, 9, 11), seed=7, count=30)
    network.measure_level(1, held_out)
    assert torch.equal(network.level[0], torch.ones(BINS))
    x0 = torch.randn(30, 8, 9, 11, generator=torch.Generator().manual_seed(3))
    for i in (0, 5, 9):
        error = (start((1 - t[i]) * x0 + t[i] * held_out, float(t[i])) - (held_out - x0)).square().mean()
        assert float(network.scale(1, t[i : i + 1]) ** 2) == pytest.approx(float(error), rel=0.1)
    assert network.level[1].max() > 1.2  # six images are too few for what the start expects of others
    ratio = network.scale(1, torch.tensor([0.0, 0.3, 1.0])) ** 2 / start.residual_variance(
        torch.tensor([0.0, 0.3, 1.0])
    )
    expected = torch.stack([network.level[1, 0], network.level[1, 2:4].mean(), network.level[1, -1]])
    torch.testing.assert_close(ratio, expected)


@pytest.mark.parametrize("kind", ["place-gaussian", "none"])
@torch.no_grad()
def test_a_batch_of_mixed_categories_equals_singles(kind):
    network = build(categories=2, kind=kind, awake=True)
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
    assert not build(kind="none")(x, 0.5).any()
    network = build(kind="none", awake=True)
    assert (network(x, 0.5) - network(x, 0.6)).abs().max() > 1e-3
    assert (network(x, 0.5) - network(-x, 0.5)).abs().max() > 1e-3


def test_starts_are_frozen_and_the_core_is_not():
    network = build()
    network(torch.randn(1, 3, 32, 32), 0.5).square().mean().backward()
    assert not list(network.starts.parameters())
    assert network.core.head.weight.grad.abs().max() > 0


@pytest.mark.parametrize("kind", ["place-gaussian", "none"])
@torch.no_grad()
def test_config_as_json_and_state_rebuild_the_same_field(kind):
    network = build((5, 6, 7), kind=kind, categories=2, awake=True)
    network.level[1, 3] = 2.0
    empty = FIELDS.build("unet", json.loads(json.dumps(network.config)))
    empty.load_state_dict(network.state_dict())
    x = torch.randn(2, 5, 6, 7)
    assert torch.equal(empty.eval()(x, 0.35, 1), network(x, 0.35, 1))
    assert {key.split(".")[0] for key in network.state_dict()} == {"core", "level"} | (
        {"starts"} if kind != "none" else set()
    )


def test_seed_decides_the_weights_and_leaves_the_global_state_alone():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    networks = [VelocityUNet.new(None, (3, 8, 8), 1, widths=(8,), blocks=1, seed=seed) for seed in (1, 1, 2)]
    assert torch.equal(torch.get_rng_state(), before)
    first, same, other = (network.core.stem.weight for network in networks)
    assert torch.equal(first, same) and not torch.equal(first, other)


@pytest.mark.parametrize(
    ("shape", "patch"), [((3, 128, 128), 4), ((1, 64, 256), 4), ((176, 32, 32), 1), ((9, 10, 100), 1)]
)
def test_stem_brings_any_view_to_about_a_thousand_places(shape, patch):
    network = VelocityUNet.new(None, shape, 1, widths=(8, 8), blocks=1, seed=0)
    assert network.config["patch"] == patch
    assert network.core.position.shape[2] * network.core.position.shape[3] == pytest.approx(1024, rel=0.05)


def test_options_are_those_of_fit_and_fit_makes_a_field_of_one_category():
    options = options_of(VelocityUNet).parse(widths=(8, 8), start="closed-form")
    assert set(options.model_dump()) == {"widths", "blocks", "start"}
    network = VelocityUNet.fit(iter(images_of((4, 6, 6))), **options.model_dump())
    assert network.shape == (4, 6, 6) and network.config["start"] == "place-gaussian"
    assert not VelocityUNet.fit(images_of((4, 6, 6)), widths=(8,), start="none").starts
    for wrong in ({"widths": ()}, {"widths": (0,)}, {"blocks": 0}, {"start": "mixture"}):
        with pytest.raises(SettingsError) as caught:
            options_of(VelocityUNet).parse(**wrong)
        assert_one_sentence(caught.value, f"'{next(iter(wrong))}")


def test_one_start_per_category_is_required():
    starts = [FIELDS["place-gaussian"].fit(images_of((3, 8, 8)))]
    with pytest.raises(SettingsError) as caught:
        VelocityUNet.new(starts, (3, 8, 8), 2, widths=(8,), blocks=1, seed=0)
    assert_one_sentence(caught.value, "2 categories", "2 fields")
    with pytest.raises(ModelError):
        FIELDS.build(
            "unet", {**VelocityUNet.new(starts, (3, 8, 8), 1, widths=(8,), blocks=1, seed=0).config, "starts": []}
        )
