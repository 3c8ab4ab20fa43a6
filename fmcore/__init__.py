"""Flow Mismatching: unsupervised image anomaly detection with a velocity field of normal images.

Conventions, kept by every module of this package:

- Time runs from noise to data: ``t = 0`` is noise, ``t = 1`` is data, ``t`` in (0, 1).
- ``x0`` is noise, ``N(0, I)`` unless the field says otherwise (`fmcore.fields.source`); ``x1`` (called ``y`` for a
  test image) is data in [-1, 1].
- Image tensors are ``(B, C, H, W)``, float32; heat maps are ``(H, W)``.
- The path is affine, ``x_t = (1 - t) x0 + t x1``; its geometric velocity is ``u = x1 - x0``.
- A velocity field is anything callable ``(x, t) -> v`` with ``x`` and ``v`` of one shape and ``t`` a
  float or a tensor ``(B,)``.

Data flows one way: images -> field -> mismatch -> heat map, score -> figures.
Method: Chen, Moradi, Paynabar, Yan, "Flow Mismatching", arXiv 2605.23070.
"""

__version__ = "0.1.0"
