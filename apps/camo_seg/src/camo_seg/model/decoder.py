"""The lean top-down decoder: strides 4/8/16/32 in, logits at stride 4 out."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class TopDown(nn.Module):
    """Brings the features to one width, each level joined to the one below it: the part that every decoder has.

    Joined by addition, then mixed by a depthwise 5x5 block; the deepest level also sees the mean of the whole image.

    Args:
        channels: of the features, finest first.
        width: channels of every level.
        deep_heads: build a head for each coarser level, for deep supervision.
    """

    def __init__(self, channels: Sequence[int], width: int, deep_heads: bool = False) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(c, width, 1) for c in channels)
        self.context = nn.Conv2d(channels[-1], width, 1)
        self.mix = nn.ModuleList(_Mix(width) for _ in channels)
        self.deep = nn.ModuleList(nn.Conv2d(width, 1, 1) for _ in channels[1:] if deep_heads)

    def descend(self, features: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Return all levels at the size of the finest [B, levels x width, H/4, W/4], and the logits of the coarser.

        Those are [B, 1, h, w] each, finest first; none where no heads were built.
        """
        x = self.lateral[-1](features[-1]) + self.context(features[-1].mean((2, 3), keepdim=True))
        levels = [self.mix[-1](x)]
        for i in range(len(features) - 2, -1, -1):
            lateral = self.lateral[i](features[i])
            levels.append(self.mix[i](lateral + resize_like(levels[-1], lateral)))
        deep = [head(level) for head, level in zip(self.deep, levels[-2::-1], strict=False)]
        return torch.cat([resize_like(level, levels[-1]) for level in levels], 1), deep


class Decoder(TopDown):
    """Top-down decoder of one width: strides 4/8/16/32 in, logits [B, 1, H/4, W/4] out.

    Its head reads all levels at stride 4 (as in Semantic FPN, Kirillov et al., 2019). Arguments as TopDown's.
    """

    def __init__(self, channels: Sequence[int], width: int, deep_heads: bool = False) -> None:
        super().__init__(channels, width, deep_heads)
        self.join = nn.Sequential(
            nn.Conv2d(width * len(channels), width, 1, bias=False), nn.BatchNorm2d(width), nn.GELU(), _Mix(width)
        )
        self.head = nn.Conv2d(width, 1, 1)

    def forward(
        self, features: Sequence[Tensor], return_loss_inputs: bool = False
    ) -> Tensor | tuple[list[Tensor], None]:
        """Join the levels to logits [B, 1, H/4, W/4].

        With `return_loss_inputs` the result is (maps, None): the logits, then those of each coarser level where their
        heads were built, finest first. None stands where the mixture has its routing.
        """
        levels, deep = self.descend(features)
        logits: Tensor = self.head(self.join(levels))
        return ([logits, *deep], None) if return_loss_inputs else logits


class _Mix(nn.Module):
    """Residual block: depthwise 5x5 for the surroundings, then a pointwise expansion of two."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(width, width, 5, padding=2, groups=width, bias=False),
            nn.BatchNorm2d(width),
            nn.Conv2d(width, 2 * width, 1),
            nn.GELU(),
            nn.Conv2d(2 * width, width, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.body(x)
        return out


def resize_like(x: Tensor, like: Tensor) -> Tensor:
    """Bring a map to the size of another, bilinear."""
    if x.shape[-2:] == like.shape[-2:]:
        return x
    return F.interpolate(x, like.shape[-2:], mode="bilinear", align_corners=False)
