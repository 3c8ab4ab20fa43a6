"""Mismatch along paths, its aggregation, heat map and score (Eqs. 2-4)."""

from fmcore.mismatch.aggregators import AGGREGATORS, Aggregator, Parameter, aggregator
from fmcore.mismatch.gap import gap
from fmcore.mismatch.heatmap import HeatSettings, Mismatch, RunningHeatmap, image_score, smooth
from fmcore.mismatch.steps import MismatchStep, PathSettings, has_exact_mean, mismatch_steps

__all__ = [
    "AGGREGATORS",
    "Aggregator",
    "HeatSettings",
    "Mismatch",
    "MismatchStep",
    "Parameter",
    "PathSettings",
    "RunningHeatmap",
    "aggregator",
    "gap",
    "has_exact_mean",
    "image_score",
    "mismatch_steps",
    "smooth",
]
