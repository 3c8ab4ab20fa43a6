"""Mismatch along paths, its aggregation, heat map and score (Eqs. 2-4)."""

from fmcore.mismatch.heatmap import (
    AGGREGATORS,
    Aggregator,
    HeatSettings,
    Mismatch,
    Parameter,
    RunningHeatmap,
    aggregator,
    image_score,
    smooth,
)
from fmcore.mismatch.steps import MismatchStep, PathSettings, gap, has_exact_mean, mismatch_steps, within

__all__ = ["AGGREGATORS", "Aggregator", "HeatSettings", "Mismatch", "MismatchStep", "Parameter", "PathSettings"]
__all__ += [
    "RunningHeatmap",
    "aggregator",
    "gap",
    "has_exact_mean",
    "image_score",
    "mismatch_steps",
    "smooth",
    "within",
]
