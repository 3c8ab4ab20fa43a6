"""The checks of the identities: they pass where they should, and a wrong factor or field is found out."""

from __future__ import annotations

import pytest
import torch
from conftest import assert_one_sentence, blob_tensors, random_gaussian

from fmcore.decomposition.laws import check_identities, differentiated_score, score_from_velocity_gap
from fmcore.decomposition.sampled import DecompositionSettings
from fmcore.errors import SettingsError
from fmcore.fields import EmpiricalField, ExactField, GaussianField, semicircle, three_clusters

SETTINGS = DecompositionSettings(samples=1500, times=4)
IMAGE = (3, 16, 16)
CASES = {
    "1-D": (
        lambda: random_gaussian((1,), 0),
        lambda: GaussianField(torch.ones(1), torch.zeros(0, 1), torch.zeros(0), 0.8),
    ),
    "2-D": (semicircle, three_clusters),
    "image": (lambda: random_gaussian(IMAGE, 4), lambda: EmpiricalField(blob_tensors(range(5), size=16))),
}


@pytest.fixture(params=CASES)
def fields(request) -> tuple[ExactField, ExactField]:
    return tuple(make() for make in CASES[request.param])


def test_all_identities_hold_within_three_standard_errors(fields):
    checks = list(
        check_identities(
            *fields, SETTINGS.replace(samples=300 if fields[0].sample(1, torch.Generator()).numel() > 2 else 1500)
        )
    )
    assert [c.name for c in checks[:4]] == ["cross", "denoising", "fisher", "mismatch"] and len(checks) == 16
    assert max(abs(check.deviation) for check in checks) < 3


@pytest.mark.parametrize("power", [0.0, 1.0, -2.0])
def test_a_wrong_factor_is_found_out_in_the_two_identities_that_hold_it(fields, power):
    checks = list(check_identities(*fields, SETTINGS.replace(samples=300), power=power))
    worst = {
        name: max(abs(c.deviation) for c in checks if c.name == name)
        for name in ("cross", "denoising", "fisher", "mismatch")
    }
    assert worst["cross"] < 4 and worst["denoising"] < 4
    assert worst["fisher"] > 6 and worst["mismatch"] > 6


def test_differentiated_score_is_that_of_a_standard_normal():
    field = GaussianField(torch.zeros(3), torch.zeros(0, 3), torch.zeros(0), 1.0)
    x = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():  # as inside a loop that scores
        score = differentiated_score(field, x, 0.5)
    torch.testing.assert_close(score, -x / 0.5)


def test_score_velocity_relation_holds_and_a_wrong_velocity_is_found_out(fields):
    for field in fields:
        x = field.sample(8, torch.Generator().manual_seed(1))
        x = x + 0.3 * torch.randn(x.shape, generator=torch.Generator().manual_seed(2))
        assert score_from_velocity_gap(field, x, 0.6) < 1e-3

    class Wrong(GaussianField):
        def forward(self, x, t):
            return 1.1 * super().forward(x, t)

    wrong = Wrong(torch.ones(2), torch.zeros(0, 2), torch.zeros(0), 0.5)
    assert score_from_velocity_gap(wrong, torch.ones(1, 2), 0.6) > 0.01


def test_learned_fields_are_refused():
    with pytest.raises(SettingsError) as caught:
        next(check_identities(semicircle(), lambda x, t: x, SETTINGS))
    assert_one_sentence(caught.value, "exact")
