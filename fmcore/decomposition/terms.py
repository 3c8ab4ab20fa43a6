"""The finished decomposition of a picture or a mix: terms by time, and their t^r-weighted maps.

Weighting and averaging are linear, so the identity of `fmcore.decomposition.decomposition` holds for the averages too:
``mismatch = denoising + fisher + cross``, in every pixel.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from fmcore.decomposition.decomposition import DecompositionStep, Term
from fmcore.errors import DataError

NAMES = ("mismatch", "denoising", "fisher", "cross")


@dataclass(frozen=True)
class Terms:
    """All terms at the times ``(T,)`` recorded so far, by name: values and errors ``(T,)``, maps ``(T, H, W)``.

    ``posterior`` is ``E tr Cov_q(u | X_t)`` ``(T,)``, or None where it does not apply.
    """

    times: np.ndarray
    values: dict[str, np.ndarray]
    errors: dict[str, np.ndarray]
    maps: dict[str, np.ndarray]
    posterior: np.ndarray | None

    @classmethod
    def collect(cls, steps: Iterable[DecompositionStep]) -> Terms:
        """From the steps of one decomposition, in any number.

        Raises:
            DataError: for no step at all.
        """
        steps = list(steps)
        if not steps:
            raise DataError("There is no step to collect: run the decomposition first.")

        def gather(what: str) -> dict[str, np.ndarray]:
            return {name: np.stack([getattr(getattr(step, name), what) for step in steps]) for name in NAMES}

        terms: list[Term | None] = [step.posterior for step in steps]
        posterior = None if None in terms else np.array([term.value for term in terms])
        return cls(np.array([s.t for s in steps]), gather("value"), gather("error"), gather("map"), posterior)

    @property
    def fisher_divergence(self) -> np.ndarray:
        """``(t / (1 - t))^2 fisher`` ``(T,)``: ``E ||grad log p_t - grad log q_t||^2`` where both fields are exact."""
        return (self.times / (1 - self.times)) ** 2 * self.values["fisher"]

    def weighted(self, exponent: float) -> dict[str, np.ndarray]:
        """``t^r`` times each map, ``(T, H, W)``: the contribution of each time."""
        weights = (self.times**exponent)[:, None, None].astype(np.float32)
        return {name: weights * maps for name, maps in self.maps.items()}

    def averaged(self, exponent: float) -> dict[str, np.ndarray]:
        """``(1/T) sum_j t_j^r`` map_j, ``(H, W)`` float32: the term's part of the heat map (mean over paths)."""
        return {
            name: maps.mean(0, dtype=np.float64).astype(np.float32) for name, maps in self.weighted(exponent).items()
        }

    def scale(self, exponent: float, *, least: float = 0.0, quantile: float = 0.99) -> float:
        """Upper end of one colour scale for all terms: the ``quantile`` over the pixels of the averaged
        mismatch and its terms, the cross term by its size; at least ``least``."""
        parts = np.stack([np.abs(values) for values in self.averaged(exponent).values()])
        return max(least, float(np.quantile(parts, quantile))) or 1.0
