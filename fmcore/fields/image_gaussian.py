"""One Gaussian for whole images, as a field that is fitted and saved with a model: the closed form in pixels."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import torch
from pydantic import Field as Range
from torch import Tensor

from fmcore.errors import DataError
from fmcore.fields.field import FIELDS, Field
from fmcore.fields.gaussian import GaussianField, fit_gaussian

Components = Annotated[int, Range(ge=0, le=500, description="most principal components of the Gaussian")]


@FIELDS.register
class ImageGaussianField(GaussianField, Field):
    """`GaussianField` of images ``(C, H, W)``: principal components plus isotropic rest."""

    kind = "global-gaussian"

    def __init__(self, channels: int, height: int, width: int, components: int):
        shape = (channels, height, width)
        dimension = channels * height * width
        GaussianField.__init__(
            self, torch.zeros(shape), torch.zeros(components, dimension), torch.ones(components), torch.ones(())
        )
        self.config = {"channels": channels, "height": height, "width": width, "components": components}

    @classmethod
    def fit(cls, tensors: Iterable[Tensor], *, components: Components = 100) -> ImageGaussianField:
        """All images are held in memory at once.

        Raises:
            DataError: for fewer than two images.
        """
        images = list(tensors)
        if not images:
            raise DataError("A Gaussian field needs at least 2 images, but 0 were given: add good images.")
        law = fit_gaussian(torch.stack(images), components=components)
        field = cls(*images[0].shape, len(law.variances))
        field.load_state_dict(law.state_dict())
        return field
