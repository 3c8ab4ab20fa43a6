"""What notebook 06 holds an encoder against: multiplications counted by hand, and a case that `measure_speed` takes."""

from __future__ import annotations

import notebook_helpers  # noqa: F401  (makes the notebooks' packages importable)
import numpy as np
import torch

from fmcore.evaluation.studies import count_products, plain_convolution


def test_multiplications_are_those_of_weights():
    network = torch.nn.Sequential(
        torch.nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2),
        torch.nn.BatchNorm2d(6),
        torch.nn.ReLU(),
        torch.nn.Flatten(),
        torch.nn.Linear(6 * 5 * 5, 7),
    )
    products = count_products(lambda: network.eval()(torch.zeros(2, 4, 10, 10)))
    assert products == 2 * (6 * 25 * (2 * 9) + 7 * 150)
    assert count_products(lambda: torch.nn.ReLU()(torch.zeros(3))) == 0


def test_the_plain_convolution_is_a_case_with_a_known_number_of_them():
    view, field, heatmap = plain_convolution(channels=8, side=5)
    assert count_products(lambda: field(view(None))) == 8 * 8 * 9 * 25
    assert heatmap(field(view(None))).dtype == np.float64
