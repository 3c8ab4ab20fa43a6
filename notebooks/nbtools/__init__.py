"""What the notebooks and their runner share. Nothing numerical is computed here: that is fmcore's."""

import warnings
from pathlib import Path

from nbtools.output import Output

NOTEBOOKS = Path(__file__).resolve().parents[1]
ROOT = NOTEBOOKS.parent
EMBEDDED = ROOT / "demo" / "embedded"

# Some library imports tqdm, which asks in every notebook for widgets that nothing here uses.
warnings.filterwarnings("ignore", message="IProgress not found")

__all__ = ["EMBEDDED", "NOTEBOOKS", "ROOT", "Output"]
