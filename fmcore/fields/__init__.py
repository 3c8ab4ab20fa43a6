"""Velocity fields: anything callable ``(x, t) -> v``; those that are fitted and saved are registered in `FIELDS`."""

from fmcore.fields.empirical import EmpiricalField
from fmcore.fields.field import FIELDS, ExactField, Field, VelocityField
from fmcore.fields.gaussian import GaussianField, ImageGaussianField
from fmcore.fields.mixture import MixtureField
from fmcore.fields.place_gaussian import PlaceGaussianField
from fmcore.fields.plane import semicircle, three_clusters, two_moons
from fmcore.fields.unet import VelocityUNet

__all__ = ["FIELDS", "Field", "VelocityField"]
__all__ += ["EmpiricalField", "ExactField", "GaussianField", "ImageGaussianField", "MixtureField", "PlaceGaussianField"]
__all__ += ["VelocityUNet", "semicircle", "three_clusters", "two_moons"]
