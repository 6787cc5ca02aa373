"""What an expert of the mixture sees of the surroundings of a location: edges, textures, context or detail.

Each is a layer [B, width, h, w] -> the same shape, made of depthwise 3x3 convolutions and what is special to it.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def _depthwise(width: int, dilation: int = 1) -> nn.Conv2d:
    return nn.Conv2d(width, width, 3, padding=dilation, dilation=dilation, groups=width, bias=False)


class EdgeView(nn.Module):
    """Sees where the features change: the strength of their gradient (Sobel) beside a 3x3 of their values."""

    kernels: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.values = _depthwise(width)
        self.gain = nn.Parameter(torch.ones(width, 1, 1))
        sobel = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]]) / 8
        self.register_buffer("kernels", torch.stack([sobel, sobel.T]).repeat(width, 1, 1)[:, None], persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """[B, width, h, w] -> the same shape."""
        around = F.pad(x, (1, 1, 1, 1), mode="replicate")  # zeros would draw an edge around the map
        slopes = F.conv2d(around, self.kernels.to(x.dtype), groups=x.shape[1]).abs()
        strength = slopes[:, ::2] + slopes[:, 1::2]
        out: Tensor = self.values(x) + self.gain * strength
        return out


class TextureView(nn.Module):
    """Sees frequencies apart: the smooth part, the rest, and the energy of the rest around each location."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.low, self.high, self.energy = (_depthwise(width) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        """[B, width, h, w] -> the same shape."""
        low = _box_mean(x)
        high = x - low
        out: Tensor = self.low(low) + self.high(high) + self.energy(_box_mean(high.abs()))
        return out


class ContextView(nn.Module):
    """Sees far: 3x3 windows of dilation 1, 2 and 4, and the mean of the whole map."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.windows = nn.ModuleList(_depthwise(width, dilation) for dilation in (1, 2, 4))
        self.gain = nn.Parameter(torch.ones(width, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """[B, width, h, w] -> the same shape."""
        near, middle, far = (window(x) for window in self.windows)
        out: Tensor = near + middle + far + self.gain * x.mean((2, 3), keepdim=True)
        return out


class DetailView(nn.Module):
    """Sees what is near, finely: two 3x3 in a row with a bend between them, and nothing that smooths."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = _depthwise(width), _depthwise(width)

    def forward(self, x: Tensor) -> Tensor:
        """[B, width, h, w] -> the same shape."""
        out: Tensor = self.second(F.gelu(self.first(x)))
        return out


VIEWS: dict[str, type[nn.Module]] = {
    "edge": EdgeView,
    "texture": TextureView,
    "context": ContextView,
    "detail": DetailView,
}


def _box_mean(x: Tensor) -> Tensor:
    return F.avg_pool2d(x, 5, 1, 2, count_include_pad=False)
