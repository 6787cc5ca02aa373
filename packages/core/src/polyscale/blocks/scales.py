"""The scales of an image, and bringing feature maps of several scales to one grid.

From camoXpert: MultiScaleInputGenerator. What differs: sizes are exact (352 gives 176/352/528; there a floor to
multiples of 32 gave 160/352/512, that is 0.45x and 1.45x), and shrinking is antialiased.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from polyscale.blocks._checks import check_choice, check_map, check_scales
from polyscale.blocks.transforms import resize


class MultiScaleInputGenerator(nn.Module):
    """One batch of images at several scales.

    Args:
        scales: numbers above 0, all different, in any order.
        mode: "bilinear" or "bicubic" (which may overshoot the range of values).

    Shapes: [B, C, H, W] -> list of [B, C, max(1, round(s H)), max(1, round(s W))], halves rounded up, in the order of
    `scales`; scale 1 is the input itself, not a copy.

    Raises:
        ValueError: empty or wrong `scales`, unknown mode, an input that is not [B, C, H, W].
    """

    def __init__(self, scales: Sequence[float] = (0.5, 1.0, 1.5), mode: str = "bilinear") -> None:
        super().__init__()
        check_scales(scales)
        check_choice("mode", mode, ("bilinear", "bicubic"))
        self.scales = tuple(float(scale) for scale in scales)
        self.mode = mode

    def sizes(self, height: int, width: int) -> list[tuple[int, int]]:
        """(height, width) of the image at each scale."""
        return [(_scaled(height, scale), _scaled(width, scale)) for scale in self.scales]

    def forward(self, image_BCHW: Tensor) -> list[Tensor]:
        """Return the image at every scale."""
        check_map(image_BCHW, name="image")
        height, width = image_BCHW.shape[-2:]
        return [resize(image_BCHW, size, self.mode) for size in self.sizes(height, width)]

    def extra_repr(self) -> str:
        """Return the arguments that printing the module shows."""
        return f"scales={self.scales}, mode={self.mode!r}"


def match_size(feature_BCHW: Tensor, size: tuple[int, int]) -> Tensor:
    """Bring a map to (height, width): the mean of max and average pooling where it shrinks, bilinear where it grows.

    Pooling sees every cell, so nothing aliases, and its maximum keeps a small strong response that averaging drowns
    (ZoomNeXt, arXiv 2310.20208, shrinks its 1.5x features by max + average pooling; their mean keeps the range).
    """
    height, width = feature_BCHW.shape[-2:]
    if (height, width) == tuple(size):
        return feature_BCHW
    smaller = (min(height, size[0]), min(width, size[1]))
    if smaller != (height, width):
        # the CPU kernels of these poolings are about ten times slower on NCHW; the copy costs a tenth of that
        feature_BCHW = feature_BCHW.contiguous(memory_format=torch.channels_last)
        strongest, mean = (pool(feature_BCHW, smaller) for pool in (F.adaptive_max_pool2d, F.adaptive_avg_pool2d))
        feature_BCHW = 0.5 * (strongest + mean)
    if smaller != tuple(size):
        feature_BCHW = F.interpolate(feature_BCHW, size, mode="bilinear", align_corners=False)
    return feature_BCHW


def _scaled(side: int, scale: float) -> int:
    return max(1, math.floor(side * scale + 0.5))
