"""Data sets of iqa: the embedded synthetic pictures, CSV files of scores, and the benchmarks by their layouts."""

from .check import check
from .dataset import QualitySet, network_image, network_size, read_network_image
from .listing import Entry, Finding, Listing
from .open import describe, list_folder, open_split
from .views import ChainSet, ViewSet

__all__ = [
    "ChainSet",
    "Entry",
    "Finding",
    "Listing",
    "QualitySet",
    "ViewSet",
    "check",
    "describe",
    "list_folder",
    "network_image",
    "network_size",
    "open_split",
    "read_network_image",
]
