"""Velocity fields: anything callable ``(x, t) -> v``; those that are fitted and saved are registered in `FIELDS`."""

from fmcore.fields.curve import semicircle, three_clusters, two_moons
from fmcore.fields.empirical import EmpiricalField
from fmcore.fields.exact import ExactField
from fmcore.fields.field import FIELDS, Field, VelocityField
from fmcore.fields.gaussian import GaussianField
from fmcore.fields.image_gaussian import ImageGaussianField
from fmcore.fields.mixture import MixtureField
from fmcore.fields.place_gaussian import PlaceGaussianField
from fmcore.fields.unet import VelocityUNet

__all__ = ["FIELDS", "Field", "VelocityField"]
__all__ += ["EmpiricalField", "ExactField", "GaussianField", "ImageGaussianField", "MixtureField", "PlaceGaussianField"]
__all__ += ["VelocityUNet", "semicircle", "three_clusters", "two_moons"]
