"""A mixture of the plane by matrix products: the velocities of the mixture itself."""

from __future__ import annotations

import pytest
import torch
from conftest import assert_one_sentence

from fmcore.errors import DataError
from fmcore.fields import MixtureField, semicircle, three_clusters, two_moons
from fmcore.fields.plane import PlaneMixture

FAR = 12 * torch.randn(300, 2, generator=torch.Generator().manual_seed(0))


def correlated() -> MixtureField:
    means, rows = torch.tensor([[9.0, -1.0], [8.0, 6.0]]), torch.tensor([[[0.9, 0.4359]], [[-0.08, 0.9968]]])
    return MixtureField(torch.tensor([1.0, 3.0]), means, rows, torch.tensor([[2.4], [1.5]]), torch.tensor([0.15, 0.3]))


@pytest.mark.parametrize("law", [semicircle(), two_moons(), three_clusters(), correlated()])
@pytest.mark.parametrize("t", [0.0, 0.02, 0.5, 0.92, 0.98])
def test_equals_the_mixture(law, t):
    exact = law.double()(FAR.double(), t)
    found = PlaneMixture(law)(FAR, t)
    gap = (found - exact).norm(dim=1) / (1 + exact.norm(dim=1))
    assert found.dtype == torch.float32 and float(gap.max()) < 5e-4
    law.float()


def test_one_object_can_change_its_time():
    law = correlated()
    fast = PlaneMixture(law)
    first = fast(FAR, 0.3)
    assert not torch.allclose(fast(FAR, 0.6), first)
    torch.testing.assert_close(fast(FAR, 0.3), first, rtol=0, atol=0)


def test_other_dimensions_are_refused():
    with pytest.raises(DataError) as caught:
        PlaneMixture(MixtureField.isotropic(torch.ones(1), torch.zeros(1, 3), torch.ones(1)))
    assert_one_sentence(caught.value, "2 dimensions, not 3")
