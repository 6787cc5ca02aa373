"""Convolution, batch norm and activation: the units that the blocks are made of.

ConvBNSiLU, its depthwise form and the CSP layer are those of the YOLOX family (Ge et al. 2021). Their inner names
(conv, bn, conv1, conv2, conv3, m, dconv, pconv) are those of YOLOX and RVT, whose checkpoints then need a map of the
outer names only. What differs: batch norm also trains on a single value per channel.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class BatchNorm2d(nn.BatchNorm2d):
    """nn.BatchNorm2d that also trains on a single value per channel (batch 1 and a map of one pixel).

    torch raises there, for a single value has no variance; this one takes the running estimates, as in eval mode.
    """

    def forward(self, x: Tensor) -> Tensor:
        if self.training and x.numel() == x.shape[1]:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps)
        return super().forward(x)


class ConvNormAct(nn.Sequential):
    """[B, in, H, W] -> [B, out, ceil(H / stride), ceil(W / stride)]: conv without bias, batch norm, ReLU."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int = 3, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(in_channels, out_channels, kernel_size, stride, kernel_size // 2, bias=False),
            BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
        )


class ConvBNSiLU(nn.Module):
    """[B, in, H, W] -> [B, out, ceil(H / stride), ceil(W / stride)]: conv without bias, batch norm, SiLU.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        ksize: side of the kernel, odd.
        stride: of the convolution.
        groups: of the convolution.
    """

    def __init__(self, in_channels: int, out_channels: int, ksize: int = 1, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, ksize, stride, ksize // 2, groups=groups, bias=False)
        self.bn = BatchNorm2d(out_channels)
        self.act = nn.SiLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.bn(self.conv(x)))


class DepthwiseConv(nn.Module):
    """A depthwise and a pointwise ConvBNSiLU in place of one 3x3."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        self.dconv = ConvBNSiLU(in_channels, in_channels, 3, stride, groups=in_channels)
        self.pconv = ConvBNSiLU(in_channels, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.pconv(self.dconv(x))


def conv3x3(in_channels: int, out_channels: int, stride: int = 1, depthwise: bool = False) -> nn.Module:
    """A 3x3 unit, or the pair that replaces it."""
    if depthwise:
        return DepthwiseConv(in_channels, out_channels, stride)
    return ConvBNSiLU(in_channels, out_channels, 3, stride)


class Bottleneck(nn.Module):
    """1x1, then 3x3, without a shortcut as everywhere in a PAFPN."""

    def __init__(self, channels: int, depthwise: bool = False) -> None:
        super().__init__()
        self.conv1 = ConvBNSiLU(channels, channels)
        self.conv2 = conv3x3(channels, channels, depthwise=depthwise)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv2(self.conv1(x))


class CSPLayer(nn.Module):
    """[B, in, H, W] -> [B, out, H, W]: `n` bottlenecks on one half of the channels, the other half passes by."""

    def __init__(self, in_channels: int, out_channels: int, n: int = 1, depthwise: bool = False) -> None:
        super().__init__()
        hidden = max(1, out_channels // 2)
        self.conv1 = ConvBNSiLU(in_channels, hidden)
        self.conv2 = ConvBNSiLU(in_channels, hidden)
        self.conv3 = ConvBNSiLU(2 * hidden, out_channels)
        self.m = nn.Sequential(*(Bottleneck(hidden, depthwise) for _ in range(n)))

    def forward(self, x: Tensor) -> Tensor:
        return self.conv3(torch.cat([self.m(self.conv1(x)), self.conv2(x)], dim=1))
