"""Sources of noise: their spectrum, the fields made for them, and what refuses them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import blob_tensors

from fmcore.decomposition.decomposition import DecompositionSettings, decompose
from fmcore.errors import SettingsError
from fmcore.evaluation.baselines import (
    ReconstructionDetector,
    ReconstructionSettings,
    TimeReversedDetector,
    TimeReversedSettings,
)
from fmcore.fields.gaussian import GaussianField, fit_gaussian
from fmcore.fields.source import KNEE, SourceField, colour, source_noise, source_of, whiten
from fmcore.mismatch.mismatch import Mismatch, PathSettings, mismatch_steps
from fmcore.mismatch.noise import path_noise
from fmcore.path import draw_noise


def point_field(mean: torch.Tensor, source: str):
    """The field of one image: its posterior mean is that image whatever the source."""
    empty = torch.zeros(0, mean.numel())
    return SourceField(GaussianField(whiten(source, mean), empty, torch.zeros(0), 1e-8), source)


def test_white_is_the_identity_and_natural_is_inverted_by_whitening():
    x = draw_noise(2, (3, 16, 24), 0)
    assert colour("white", x) is x and whiten("white", x) is x
    torch.testing.assert_close(whiten("natural", colour("natural", x)), x, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(colour("natural", x), x, atol=0.1)


def test_natural_noise_has_unit_variance_and_the_stated_spectrum():
    noise = colour("natural", draw_noise(400, (1, 32, 32), 0))[:, 0]
    assert float(noise.var()) == pytest.approx(1, rel=0.02)
    power = torch.fft.fft2(noise).abs().square().mean(0)
    frequency = torch.fft.fftfreq(32) * 32
    expected = 1 / (frequency[:, None] ** 2 + frequency**2 + KNEE**2)
    ratio = (power / power.mean()) / (expected / expected.mean())
    # 400 draws: a standard error of 5 % per frequency, 7 % where the value is real.
    assert float(ratio.mean()) == pytest.approx(1, rel=0.02) and 0.7 < float(ratio.min()) < float(ratio.max()) < 1.35


def test_a_field_of_white_noise_draws_the_same_paths_as_ever():
    field = fit_gaussian(blob_tensors(range(6)))
    assert source_of(field) == "white"
    assert torch.equal(source_noise(field, "latin", 3, (3, 8, 8), 5), path_noise("latin", 3, (3, 8, 8), 5))


def test_the_mapped_field_is_the_gaussian_velocity_of_its_source():
    """Against the general formula, with the covariance of the source written out as a matrix."""
    size, t = 6, 0.6
    images = draw_noise(5, (1, size, size), 1).double()
    flat = images.flatten(1)
    identity = torch.eye(size * size, dtype=torch.float64).view(-1, 1, size, size)
    a = colour("natural", identity).flatten(1).T  # columns: images of unit impulses
    field = fit_gaussian(whiten("natural", images.float()), components=3)
    inner = field.components.double()
    white = inner.T @ torch.diag(field.variances.double() - field.rest.double()) @ inner
    white += field.rest.double() * torch.eye(size * size)
    s, mean = a @ white @ a.T, a @ field.mean.double().flatten()
    state = (1 - t) ** 2 * a @ a.T + t**2 * s
    x = flat[:2]
    gain = (t * s - (1 - t) * a @ a.T) @ torch.linalg.inv(state)  # Cov(x1 - x0, x_t) Cov(x_t)^-1
    expected = mean + (x - t * mean) @ gain.T
    given = SourceField(field, "natural")(x.float().view(2, 1, size, size), t).flatten(1)
    torch.testing.assert_close(given.double(), expected, rtol=1e-3, atol=1e-3)


def test_the_mismatch_of_a_point_mass_is_the_gap_over_one_minus_t():
    mean, image = draw_noise(2, (3, 16, 16), 2)
    record = Mismatch.collect(mismatch_steps(point_field(mean, "natural"), image, PathSettings(paths=2, times=3)))
    for t, maps in zip(record.times, record.maps, strict=True):
        expected = ((mean - image) / (1 - t)).square().sum(0).numpy()
        np.testing.assert_allclose(maps, np.stack([expected] * 2), rtol=2e-3, atol=2e-3)


def test_reconstruction_and_time_reversal_follow_the_source():
    mean = draw_noise(1, (3, 16, 16), 3)[0]
    field = point_field(mean, "natural")
    start = ReconstructionSettings(starts=(0.5,), paths=2)
    restored = ReconstructionDetector(field, start).reconstruct(mean, 0.5)
    torch.testing.assert_close(restored, mean.expand_as(restored), atol=5e-3, rtol=1e-2)
    sampled = fit_gaussian(whiten("natural", colour("natural", draw_noise(40, (1, 16, 16), 4))), components=0)
    maps = TimeReversedDetector(SourceField(sampled, "natural"), TimeReversedSettings(steps=(48,))).maps
    image = colour("natural", draw_noise(1, (1, 16, 16), 5))[0]
    # Data with the law of the source itself: the noise it came from is white and of unit variance.
    assert float(maps(image)["steps=48"].mean()) == pytest.approx(1, abs=0.25)


def test_unknown_sources_and_points_are_refused_in_one_sentence():
    with pytest.raises(SettingsError, match=r"Unknown source 'pink': choose one of white, natural\."):
        colour("pink", torch.zeros(1, 4, 4))
    with pytest.raises(SettingsError, match="has no spectrum"):
        colour("natural", torch.zeros(3))
    field = fit_gaussian(blob_tensors(range(6)))
    with pytest.raises(SettingsError, match="source 'white'"):
        decompose(SourceField(field, "natural"), field, DecompositionSettings(samples=4, times=2))
