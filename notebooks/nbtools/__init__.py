"""What every notebook shares: where its figures and metrics go. Nothing is computed here."""

from nbtools.output import Output

__all__ = ["Output"]
