"""Data sets of camo-seg: the embedded synthetic scenes, folder pairs, and the standard benchmarks by their layouts.

`data.augment` is not imported here: only training needs it, and torchvision, which it takes, loads slower than torch.
"""

from camo_seg.data.dataset import CamoSet, Sample, network_image, network_mask
from camo_seg.data.open import describe, open_split
from camo_seg.data.synthetic.scenes import SyntheticSource, synthetic_sample

__all__ = [
    "CamoSet",
    "Sample",
    "SyntheticSource",
    "describe",
    "network_image",
    "network_mask",
    "open_split",
    "synthetic_sample",
]
