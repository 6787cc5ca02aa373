"""Resizing images and maps: MultiScaleTransform, Rescale, PyramidDownsample, match_size.

From Neurenix ("Multi-Scale Transforms"), and from camoXpert MultiScaleInputGenerator, which is MultiScaleTransform with
other scales: its own floor to multiples of 32 gave 160/352/512 for 352, that is 0.45x and 1.45x; here 176/352/528.

What differs from Neurenix and from plain F.interpolate:
- shrinking is antialiased (bilinear, bicubic); stripes of period 3 at scale 1/4 keep a standard deviation of 0.24
  without and 0.018 with it;
- "nearest" takes the pixel whose centre is nearest (torch's "nearest-exact"; torch's "nearest" is shifted by half a
  pixel against bilinear);
- a scaled side is rounded to the nearest pixel, halves up, as a convolution of stride 2 does: 65 -> 33 at 0.5;
- the original size cannot be known from a scaled image (65 and 66 both give 33), so `inverse` takes it.
"""

import math
from collections.abc import Sequence
from typing import overload

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from polyscale.blocks._checks import check_choice, check_count, check_map, check_scale, check_scales
from polyscale.blocks.pyramids._last_features import LastFeatures

MODES = ("nearest", "bilinear", "bicubic")


def resize(x: Tensor, size: Sequence[int], mode: str = "bilinear") -> Tensor:
    """[B, C, H, W] -> [B, C, *size], antialiased where a side shrinks; `x` itself where the size is its own."""
    height, width = size
    if x.shape[-2] == height and x.shape[-1] == width:
        return x
    if mode == "nearest":
        return F.interpolate(x, (height, width), mode="nearest-exact")
    if height >= x.shape[-2] and width >= x.shape[-1]:
        return F.interpolate(x, (height, width), mode=mode, align_corners=False)
    # torch has no antialiased kernel for half precision on CPU
    wide = x.float() if x.device.type == "cpu" and x.dtype in (torch.bfloat16, torch.float16) else x
    return F.interpolate(wide, (height, width), mode=mode, align_corners=False, antialias=True).to(x.dtype)


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


def scaled_size(size: Sequence[int], scale: float) -> tuple[int, int]:
    """Return `size` = (H, W) times `scale`, to the nearest pixel; ValueError where a side would vanish."""
    height, width = (math.floor(side * scale + 0.5) for side in size)
    if height < 1 or width < 1:
        least, got = math.ceil(0.5 / scale), f"{size[0]} x {size[1]}"
        raise ValueError(f"x must be at least {least} x {least} pixels for scale {scale}, got {got}")
    return height, width


def _check_size(original_size: Sequence[int]) -> None:
    if len(original_size) != 2 or any(side < 1 for side in original_size):
        raise ValueError(f"original_size must be (height, width) of at least 1 pixel, got {tuple(original_size)}")


class MultiScaleTransform(nn.Module):
    """[B, C, H, W] -> list of [B, C, round(s * H), round(s * W)], one per scale s, in the order of `scales`.

    Args:
        scales: numbers above 0, all different; above 1 enlarges.
        mode: "nearest", "bilinear" or "bicubic" (which may overshoot the range of values).

    Raises ValueError for an empty or wrong `scales`, an unknown mode, an input smaller than half a pixel at a scale.
    """

    def __init__(self, scales: Sequence[float] = (1.0, 0.5, 0.25), mode: str = "bilinear") -> None:
        super().__init__()
        check_scales(scales)
        check_choice("mode", mode, MODES)
        self.scales = [float(scale) for scale in scales]
        self.mode = mode

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return x at every scale, in the order of `scales`; at scale 1 it is x itself, not a copy."""
        check_map(x)
        return [resize(x, size, self.mode) for size in self.sizes(*x.shape[-2:])]

    def sizes(self, height: int, width: int) -> list[tuple[int, int]]:
        """Return (height, width) of an image of height x width at each scale."""
        return [scaled_size((height, width), scale) for scale in self.scales]

    @overload
    def inverse(self, x: Tensor, original_size: Sequence[int]) -> Tensor: ...
    @overload
    def inverse(self, x: Sequence[Tensor], original_size: Sequence[int]) -> list[Tensor]: ...
    def inverse(self, x: Tensor | Sequence[Tensor], original_size: Sequence[int]) -> Tensor | list[Tensor]:
        """Bring one map, or each of a list, back to `original_size` = (H, W) of the transform's input."""
        _check_size(original_size)
        maps = [x] if isinstance(x, Tensor) else x
        for item in maps:
            check_map(item)
        resized = [resize(item, original_size, self.mode) for item in maps]
        return resized[0] if isinstance(x, Tensor) else resized

    def extra_repr(self) -> str:
        """Return the arguments that printing the module shows."""
        return f"scales={self.scales}, mode={self.mode!r}"


class MultiScaleInputGenerator(MultiScaleTransform):
    """MultiScaleTransform with the scales of camoXpert as its default: 0.5, 1 and 1.5."""

    def __init__(self, scales: Sequence[float] = (0.5, 1.0, 1.5), mode: str = "bilinear") -> None:
        super().__init__(scales, mode)


class Rescale(nn.Module):
    """[B, C, H, W] -> [B, C, round(f * H), round(f * W)] with f = `scale_factor` > 0; arguments as MultiScaleTransform.

    Raises ValueError for a factor that is not above 0, an unknown mode, an input smaller than half a pixel at f.
    """

    def __init__(self, scale_factor: float = 0.5, mode: str = "bilinear") -> None:
        super().__init__()
        check_scale("scale_factor", scale_factor)
        check_choice("mode", mode, MODES)
        self.scale_factor = float(scale_factor)
        self.mode = mode

    def forward(self, x: Tensor) -> Tensor:
        """Return x at `scale_factor` times its size."""
        check_map(x)
        return resize(x, scaled_size(x.shape[-2:], self.scale_factor), self.mode)

    def inverse(self, x: Tensor, original_size: Sequence[int] | None = None) -> Tensor:
        """Bring `x` back to `original_size` = (H, W) of the image that was rescaled.

        Without it (the form of Neurenix) the size is that of `x` divided by `scale_factor`, to the nearest pixel: right
        where the factor went into the sides evenly (64 -> 32 -> 64), one off where not (65 -> 33 -> 66).
        """
        check_map(x)
        if original_size is None:
            original_size = scaled_size(x.shape[-2:], 1 / self.scale_factor)
        _check_size(original_size)
        return resize(x, original_size, self.mode)

    def extra_repr(self) -> str:
        """Return the arguments that printing the module shows."""
        return f"scale_factor={self.scale_factor}, mode={self.mode!r}"


class PyramidDownsample(nn.Module):
    """[B, C, H, W] -> list of `num_levels` maps: level 0 is x itself, each next one half of it, odd sides rounded up.

    Level i is made from level i - 1, so the cost is a third of one pass over x; its sizes are those of a backbone
    of strides 2^i.

    Args:
        num_levels: number of levels, x included; both sides of x need at least 2^(num_levels - 1) pixels.
        mode: "nearest" (not antialiased), "bilinear" or "bicubic".

    Raises ValueError for num_levels < 1, an unknown mode, an image smaller than the pyramid needs.
    """

    def __init__(self, num_levels: int = 3, mode: str = "bilinear") -> None:
        super().__init__()
        check_count("num_levels", num_levels)
        check_choice("mode", mode, MODES)
        self.num_levels = num_levels
        self.mode = mode
        self._last = LastFeatures()

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return the levels of x, finest first."""
        levels = self._build(x, self.num_levels)
        self._last.keep(levels[:-1], levels[-1])
        return levels

    def get_level(self, level: int, x: Tensor | None = None) -> Tensor:
        """Level `level` (0 is the finest) of the pyramid of `x`; without x, of the last forward pass.

        Without x the coarsest level of that pass must still be alive: nothing is kept for its own sake.
        """
        if not isinstance(level, int) or not 0 <= level < self.num_levels:
            raise ValueError(f"level must be an integer from 0 to {self.num_levels - 1}, got {level!r}")
        return (self._last.get("get_level(level, x)") if x is None else self._build(x, level + 1))[level]

    def _build(self, x: Tensor, count: int) -> list[Tensor]:
        check_map(x, smallest=2 ** (self.num_levels - 1))
        levels = [x]
        for _ in range(count - 1):
            height, width = levels[-1].shape[-2:]
            levels.append(resize(levels[-1], ((height + 1) // 2, (width + 1) // 2), self.mode))
        return levels

    def extra_repr(self) -> str:
        """Return the arguments that printing the module shows."""
        return f"num_levels={self.num_levels}, mode={self.mode!r}"
