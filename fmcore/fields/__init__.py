"""Velocity fields: anything callable ``(x, t) -> v``."""

from fmcore.fields.gaussian import GaussianField

__all__ = ["GaussianField"]
