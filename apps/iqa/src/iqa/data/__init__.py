"""Data sets of iqa: the embedded synthetic discs; one more file here for each format."""

from .synthetic import Discs

__all__ = ["Discs"]
