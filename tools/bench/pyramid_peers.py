"""What a user would take, or write from torch.nn, in place of a detector's feature pyramid."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class TorchvisionFPN(nn.Module):
    """torchvision's FeaturePyramidNetwork on lists."""

    def __init__(self, channels: Sequence[int], out_channels: int) -> None:
        super().__init__()
        from torchvision.ops import FeaturePyramidNetwork

        self.fpn = FeaturePyramidNetwork(list(channels), out_channels)

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        return list(self.fpn({str(level): x for level, x in enumerate(features)}).values())


def unit(before: int, after: int, kernel_size: int = 1, stride: int = 1) -> nn.Sequential:
    """YOLOX's BaseConv."""
    conv = nn.Conv2d(before, after, kernel_size, stride, kernel_size // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(after), nn.SiLU(inplace=True))


class CSP(nn.Module):
    """YOLOX's CSPLayer without shortcuts, one bottleneck."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        half = after // 2
        self.left, self.right, self.join = unit(before, half), unit(before, half), unit(after, after)
        self.deep = nn.Sequential(unit(half, half), unit(half, half, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.join(torch.cat([self.deep(self.left(x)), self.right(x)], dim=1))


class YOLOPAFPN(nn.Module):
    """YOLOX's three-level network, step by step as its authors write it."""

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        fine, middle, coarse = channels
        self.lateral, self.reduce = unit(coarse, middle), unit(middle, fine)
        self.top_middle, self.top_fine = CSP(2 * middle, middle), CSP(2 * fine, fine)
        self.down_fine, self.down_middle = unit(fine, fine, 3, 2), unit(middle, middle, 3, 2)
        self.out_middle, self.out_coarse = CSP(2 * fine, middle), CSP(2 * middle, coarse)

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        fine, middle, coarse = features
        top = self.lateral(coarse)
        x = self.top_middle(torch.cat([F.interpolate(top, scale_factor=2.0), middle], dim=1))
        side = self.reduce(x)
        first = self.top_fine(torch.cat([F.interpolate(side, scale_factor=2.0), fine], dim=1))
        second = self.out_middle(torch.cat([self.down_fine(first), side], dim=1))
        return [first, second, self.out_coarse(torch.cat([self.down_middle(second), top], dim=1))]


class ChannelNorm(nn.Module):
    """Layer norm over channels as detectron2 and ConvNeXt write it for [B, C, H, W]."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean(1, keepdim=True)
        variance = (x - mean).pow(2).mean(1, keepdim=True)
        x = (x - mean) / torch.sqrt(variance + 1e-6)
        return self.weight[:, None, None] * x + self.bias[:, None, None]


class ViTDetPyramid(nn.Module):
    """detectron2's simple feature pyramid at strides 4 to 32 of a stride-16 map."""

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__()
        half, quarter = channels // 2, channels // 4
        double = nn.ConvTranspose2d(channels, half, 2, 2)
        ways: list[tuple[nn.Module, ...]] = [
            (double, ChannelNorm(half), nn.GELU(), nn.ConvTranspose2d(half, quarter, 2, 2)),
            (nn.ConvTranspose2d(channels, half, 2, 2),),
            (),
            (nn.MaxPool2d(2),),
        ]
        self.levels = nn.ModuleList(
            nn.Sequential(
                *way,
                nn.Conv2d(width, out_channels, 1, bias=False),
                ChannelNorm(out_channels),
                nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
                ChannelNorm(out_channels),
            )
            for way, width in zip(ways, (quarter, half, channels, channels), strict=True)
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        return [level(x) for level in self.levels]
