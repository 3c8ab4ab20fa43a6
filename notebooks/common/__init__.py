"""What every notebook needs besides figures: places, the output folder, progress, a category's images."""

import os
import warnings
from base64 import b64encode
from io import BytesIO
from pathlib import Path

from PIL import Image

import fmcore  # noqa: F401  (before torch, whose threads then sleep while they wait)

NOTEBOOKS = Path(__file__).resolve().parents[1]
ROOT = NOTEBOOKS.parent
EMBEDDED = ROOT / "demo" / "embedded"  # models and example pictures of the app

# Some library imports tqdm, which asks in every notebook for widgets that nothing here uses.
warnings.filterwarnings("ignore", message="IProgress not found")


def write_text(path: Path, text: str) -> None:
    """Atomically: a reader, or a run that was killed, finds the old file or the new one."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_text(text)
    os.replace(partial, path)


def jpeg(picture: Image.Image, quality: int) -> str:
    """As a JPEG in base64."""
    picture.convert("RGB").save(file := BytesIO(), "JPEG", quality=quality)
    return b64encode(file.getvalue()).decode()
