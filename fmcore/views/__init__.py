"""Views: from a picture to the tensor that a field lives on (pixels, feature maps of an encoder)."""

from fmcore.views.encoder import EncoderView
from fmcore.views.pixels import PixelView
from fmcore.views.view import VIEWS, View

__all__ = ["VIEWS", "EncoderView", "PixelView", "View"]
