"""Data sets of camo-seg: the embedded synthetic scenes, folder pairs, and the standard benchmarks by their layouts."""

from .augment import CamoAugment
from .dataset import CamoSet, Sample, network_image, network_mask
from .open import describe, open_split
from .synthetic import SyntheticSource, synthetic_sample

__all__ = [
    "CamoAugment",
    "CamoSet",
    "Sample",
    "SyntheticSource",
    "describe",
    "network_image",
    "network_mask",
    "open_split",
    "synthetic_sample",
]
