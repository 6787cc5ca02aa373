"""Data sets of iqa: the embedded synthetic images, CSV files of scores, and the benchmarks by their layouts."""

from iqa.data.check import check
from iqa.data.dataset import QualitySet, network_image, network_size, read_network_image
from iqa.data.listing import Entry, Finding, ScoredListing
from iqa.data.open import describe, list_folder, open_split
from iqa.data.training import FeatureSet, RankedLevels

__all__ = [
    "Entry",
    "FeatureSet",
    "Finding",
    "QualitySet",
    "RankedLevels",
    "ScoredListing",
    "check",
    "describe",
    "list_folder",
    "network_image",
    "network_size",
    "open_split",
    "read_network_image",
]
