"""MultiScaleSpatialAttention and ScaleAwareChannelAttention, from the eTram-rvt notes.

What differs from the notes: their gates multiplied every feature by about 1.5 at the start (x * sigmoid(0) + x); here a
gate enters through a residual scale per channel that starts at 0 (ReZero, LayerScale), so a network with attention
equals the one without it at step 0. A scale of 1 is the form of the notes. Norms are per image: the notes ask for batch
norm, but in a recurrent detector the batch changes size from step to step and mixes streams.

    B batch, C channels, n number of dilations
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from polyscale.blocks._checks import check_count, check_counts, check_map


class MultiScaleSpatialAttention(nn.Module):
    """[B, C, H, W] -> [B, C, H, W]: x + scale * x * a, where a in (0, 1) is one map for all channels.

    Dilated 3x3 convolutions, C // n channels each, see the surroundings at several ranges; together they make the map.

    Args:
        channels: C.
        scales: dilations of the convolutions, in pixels of the map.

    Raises ValueError for counts below 1 and a wrong channel count.
    """

    def __init__(self, channels: int, scales: Sequence[int] = (1, 2, 4)) -> None:
        super().__init__()
        check_count("channels", channels)
        check_counts("scales", scales)
        self.channels = channels
        width = max(1, channels // len(scales))
        self.context = nn.ModuleList(nn.Conv2d(channels, width, 3, padding=d, dilation=d, bias=False) for d in scales)
        combined = width * len(scales)
        hidden = max(4, combined // 4)  # a single hidden unit can die behind its ReLU
        self.norm = nn.GroupNorm(1, combined)
        self.gate = nn.Sequential(
            nn.ReLU(inplace=True),
            nn.Conv2d(combined, hidden, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(hidden, 1, 1),
            nn.Sigmoid(),
        )
        self.scale = nn.Parameter(torch.zeros(channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Return x + scale * x * attention(x); shapes as above."""
        check_map(x, self.channels)
        return torch.addcmul(x, x * self.attention(x), self.scale.to(x.dtype))

    def attention(self, x: Tensor) -> Tensor:
        """The map itself: [B, 1, H, W] in (0, 1), to look at."""
        context = torch.cat([convolution(x) for convolution in self.context], dim=1)
        return self.gate(self.norm(context)).to(x.dtype)


class ScaleAwareChannelAttention(nn.Module):
    """[B, C, H, W] -> [B, C, H, W]: x * (1 + scale * w), where w in (0, 1) weighs the channels of each image.

    Squeeze and excitation (Hu et al. 2018) that knows its pyramid level. From the notes: the bottleneck is C // 16 at
    strides up to 8 and C // 8 above. The notes' "higher initial weights at small strides" is a gate bias of
    log2(8 / stride): gates start at 0.73 for stride 4, 0.5 for 8, 0.27 for 16, 0.12 for 32.

    Args:
        channels: C.
        stride: of the level, in input pixels.

    Raises ValueError for counts below 1 and a wrong channel count.
    """

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        check_count("channels", channels)
        check_count("stride", stride)
        self.channels = channels
        self.stride = stride
        hidden = max(4, channels // (16 if stride <= 8 else 8))
        self.squeeze = nn.Linear(channels, hidden)
        self.excite = nn.Linear(hidden, channels)
        nn.init.constant_(self.excite.bias, 3.0 - math.log2(stride))
        self.scale = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Return x * (1 + scale * attention(x)); shapes as above."""
        check_map(x, self.channels)
        factor = 1 + self.scale * self.attention(x)
        return x * factor[..., None, None].to(x.dtype)

    def attention(self, x: Tensor) -> Tensor:
        """The channel weights themselves: [B, C] in (0, 1)."""
        return self.excite(F.relu(self.squeeze(x.mean(dim=(2, 3))))).sigmoid()
