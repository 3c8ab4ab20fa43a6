"""Flow Mismatching: unsupervised image anomaly detection with a velocity field of normal images.

In five lines::

    from fmcore import fit, load_model
    model = fit("parts/good")                  # a folder, or a list of paths, PIL images or arrays
    model.save("models/parts")
    result = load_model("models/parts").score("parts/new/017.png")
    print(result.score, result.anomalous, result.heatmap.shape)

Conventions, kept by every module of this package:

- Time runs from noise to data: ``t = 0`` is noise, ``t = 1`` is data, ``t`` in (0, 1).
- ``x0 ~ N(0, I)`` is noise; ``x1`` (called ``y`` for a test image) is data, as a view gives it.
- Tensors are ``(B, C, H, W)``, float32; heat maps are ``(H, W)``.
- The path is affine, ``x_t = (1 - t) x0 + t x1``; its geometric velocity is ``u = x1 - x0``.
- A velocity field is anything callable ``(x, t) -> v`` with ``x`` and ``v`` of one shape and ``t`` a
  float or a tensor ``(B,)``.

Data flows one way: picture -> view -> field -> mismatch -> heat map, score -> verdict, figures. README.md names the
rooms, each importing only from those above it.

Method: Chen, Moradi, Paynabar, Yan, "Flow Mismatching", arXiv 2605.23070.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

# Read when torch is loaded: threads that wait sleep instead of spinning, which costs nothing on a quiet machine and
# several times the time beside another busy process.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

if TYPE_CHECKING:
    from fmcore.detector.model import Model
    from fmcore.detector.score import Verdict

__version__ = "0.2.0"
__all__ = ["fit", "load_model", "score"]


def fit(good: Any, *, device: str = "cpu", **settings: Any) -> Model:
    """A model of good images: a folder (flat, MVTec layout, VisA), a list of paths, PIL images or arrays, or a dict of
    such lists by category. ``settings`` are those of `fmcore.detector.settings.FitSettings`, as ``field="unet"``.

    Raises `fmcore.errors.FlowMismatchingError`: one sentence, for whatever cannot be used.
    """
    from fmcore.data.folders import find_good_images
    from fmcore.detector.fit import fit
    from fmcore.detector.settings import FitSettings
    from fmcore.errors import DataError

    if not isinstance(good, str | Path | Mapping | Sequence):
        raise DataError(f"Good images are a folder, a list of pictures or a dict of lists, not {type(good).__name__}.")
    pictures = find_good_images(good).categories if isinstance(good, str | Path) else good
    pictures = pictures if isinstance(pictures, Mapping) else {"images": pictures}
    *_, record = fit(pictures, FitSettings.parse(**settings), device=device)
    return record.model


def load_model(folder: str | Path, device: str = "cpu") -> Model:
    """A model that was saved. Raises `fmcore.errors.ModelError`."""
    from fmcore.detector.model import load_model

    return load_model(folder, device)


def score(model: Model | str | Path, pictures: Any, category: str | None = None) -> Verdict | list[Verdict]:
    """`Model.score` of a model, or of the folder of one."""
    return (load_model(model) if isinstance(model, str | Path) else model).score(pictures, category)
