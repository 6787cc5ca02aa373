"""Data sets of iqa: the embedded synthetic pictures, CSV files of scores, and the benchmarks by their layouts."""

from .dataset import QualitySet, network_image, network_size, read_network_image
from .listing import Entry, Listing
from .open import list_folder, open_split

__all__ = [
    "Entry",
    "Listing",
    "QualitySet",
    "list_folder",
    "network_image",
    "network_size",
    "open_split",
    "read_network_image",
]
