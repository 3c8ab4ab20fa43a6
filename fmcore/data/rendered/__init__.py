"""Embedded data sets: five categories of images with exact defect masks, rendered by this package alone.

``brick``, ``grass`` and ``gravel`` are textures cut from CC0 photographs that come with scikit-image;
``gear`` and ``chip`` are objects drawn by a procedural renderer.  :func:`render` makes one image,
:func:`write_dataset` a data set in the folder layout of MVTec AD.

>>> sample = render("gear", 7, defect="missing_tooth", split="test")
>>> sample.image.shape, sample.mask.shape, bool(sample.mask.any())
((128, 128, 3), (128, 128), True)
"""

from fmcore.data.rendered.dataset import RenderRecord, RenderSettings, write_dataset
from fmcore.data.rendered.sample import CATEGORIES, Sample, defects_of, render

__all__ = [
    "CATEGORIES",
    "RenderRecord",
    "RenderSettings",
    "Sample",
    "defects_of",
    "render",
    "write_dataset",
]
