"""A model as one file that runs without this package: the closed form on feature maps, with its encoder, as ONNX.

The encoder's ``maps``, the standardisation, the mean mismatch over all noise (`fmcore.fields.place_gaussian`), its mean
over times, the blur and the score are the functions that `fmcore.detector.score` calls, in one graph.
"""

from __future__ import annotations

import logging
import warnings
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from fmcore.data.heatmap_file import replace
from fmcore.detector.model import Model
from fmcore.errors import ModelError
from fmcore.mismatch import smooth
from fmcore.path import interior_times
from fmcore.views.encoder import DEFAULT, EncoderView, load_encoder


class Detector(nn.Module):
    """One category. ``image`` ``(height, width, 3)`` float32 RGB in [0, 1], of the view's input size, to the heat map
    ``(h, w)`` on its grid and the score, a number."""

    def __init__(self, model: Model, category: str):
        super().__init__()
        self.view, self.field, info = model.views[category], model.fields[category], model.info
        self.encoder = load_encoder(self.view.encoder).network  # a part, so that its weights are in the file
        self.weights = [(t, t**info.heat.exponent / info.paths.times) for t in interior_times(info.paths.times)]
        for name, side in (("rows", self.view.height), ("columns", self.view.width)):  # a blur is a matrix for each
            blurred = smooth(np.eye(side, dtype=np.float32)[:, :, None], info.heat.smoothing)[:, :, 0]
            self.register_buffer(name, torch.from_numpy(blurred.T.copy()))
        inside = self.view.inside(np.ones(self.view.shape[1:], np.float32))
        self.register_buffer("inside", torch.from_numpy(inside).float())

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        mismatch = self.field.expected_mismatch(self.view.of_pixels(image.permute(2, 0, 1)[None] * 2 - 1))
        heat = sum(weight * mismatch(t) for t, weight in self.weights) * self.inside
        heat = (self.rows @ heat @ self.columns.T) * self.inside
        top = heat.flatten().topk(-(-heat.numel() // 100)).values
        return heat, top[0] + top.mean()


def export(model: Model, path: Path, category: str | None = None) -> str:
    """Write ``path``, and say in a sentence what it takes and gives. Raises
    `SettingsError` for a category that is not clear; `ModelError` for a model that is drawn or trained, or without the
    packages."""
    name = model.category(category)
    view, info = model.view(name), model.info
    if info.shared is not None or info.paths.paths or not isinstance(view, EncoderView):
        raise ModelError("Only the closed form on feature maps can be exported: fit with --field gaussian, an encoder.")
    try:
        import onnxscript  # noqa: F401 - what torch needs
    except ImportError:
        raise ModelError("Export needs the packages onnx and onnxscript: pip install onnx onnxscript.") from None
    image = torch.zeros(view.pixel_height, view.pixel_width, 3, device=model.device)
    detector, threshold = Detector(model, name).to(model.device).eval(), model.threshold(name)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        names = {"input_names": ["image"], "output_names": ["heatmap", "score"]}
        try:
            program = torch.onnx.export(detector, (image,), dynamo=True, verbose=False, **names)
        except torch.onnx.OnnxExporterError:
            raise ModelError(f"The encoder '{view.encoder}' cannot be written as ONNX: fit with {DEFAULT}.") from None
    program.model.metadata_props.update({"threshold": repr(threshold.value)} if threshold else {})
    path.parent.mkdir(parents=True, exist_ok=True)
    replace(path, lambda file: file.write(program.model_proto.SerializeToString()))
    full = f"values of 0 to {2**view.bits - 1} as 0 to 1" if view.bits < 16 else "values from 0 to 1"
    return (
        f"Input 'image': float32 {tuple(image.shape)}, RGB, {full}, the whole picture resized by antialiased bicubic "
        f"interpolation. Outputs 'heatmap' {view.shape[1:]} and 'score'; metadata 'threshold'."
    )
