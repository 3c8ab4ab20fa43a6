"""Velocity fields: anything callable ``(x, t) -> v``."""

from fmcore.fields.curve import semicircle, three_clusters, two_moons
from fmcore.fields.empirical import EmpiricalField
from fmcore.fields.exact import ExactField
from fmcore.fields.gaussian import GaussianField
from fmcore.fields.mixture import MixtureField

__all__ = [
    "EmpiricalField",
    "ExactField",
    "GaussianField",
    "MixtureField",
    "semicircle",
    "three_clusters",
    "two_moons",
]
