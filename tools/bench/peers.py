"""What a user would take, or write from torch.nn, in place of a core block: the other side of `core.py`."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def conv_norm_act(before: int, after: int, kernel_size: int = 3, stride: int = 1) -> nn.Sequential:
    """Convolution, batch norm, ReLU."""
    conv = nn.Conv2d(before, after, kernel_size, stride, kernel_size // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(after), nn.ReLU(inplace=True))


def enlarge(x: Tensor, like: Tensor) -> Tensor:
    """Bilinear resize to the size of another map."""
    return F.interpolate(x, like.shape[-2:], mode="bilinear", align_corners=False)


class Pooling(nn.Module):
    """Adaptive pooling to several grids, each enlarged back, concatenated."""

    def __init__(self, sizes: Sequence[int]) -> None:
        super().__init__()
        self.pools = nn.ModuleList(nn.AdaptiveAvgPool2d(size) for size in sizes)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([enlarge(pool(x), x) for pool in self.pools], dim=1)


class PSP(nn.Module):
    """The pyramid pooling module as PSPNet implementations (and smp) write it."""

    def __init__(self, channels: int, out_channels: int, sizes: Sequence[int]) -> None:
        super().__init__()
        width = channels // len(sizes)
        self.branches = nn.ModuleList(
            nn.Sequential(nn.AdaptiveAvgPool2d(size), nn.Conv2d(channels, width, 1), nn.ReLU(inplace=True))
            if size == 1
            else nn.Sequential(nn.AdaptiveAvgPool2d(size), conv_norm_act(channels, width, 1))
            for size in sizes
        )
        self.merge = conv_norm_act(channels + width * len(sizes), out_channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.merge(torch.cat([x, *(enlarge(branch(x), x) for branch in self.branches)], dim=1))


class SPP(nn.Module):
    """Adaptive pooling to several grids, flattened."""

    def __init__(self, sizes: Sequence[int]) -> None:
        super().__init__()
        self.pools = nn.ModuleList(nn.AdaptiveMaxPool2d(size) for size in sizes)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([pool(x).flatten(1) for pool in self.pools], dim=1)


class Concat(nn.Module):
    """Enlarge all maps to the first one, concatenate, 1x1 convolution."""

    def __init__(self, channels: Sequence[int], out_channels: int) -> None:
        super().__init__()
        self.project = nn.Conv2d(sum(channels), out_channels, 1)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        return self.project(torch.cat([enlarge(feature, features[0]) for feature in features], dim=1))


class Sum(nn.Module):
    """1x1 convolution of each map, enlarged to the first one and added."""

    def __init__(self, channels: Sequence[int], out_channels: int) -> None:
        super().__init__()
        self.project = nn.ModuleList(nn.Conv2d(width, out_channels, 1) for width in channels)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        maps = [conv(feature) for conv, feature in zip(self.project, features, strict=True)]
        return torch.stack([enlarge(x, maps[0]) for x in maps]).sum(dim=0)


class Selective(nn.Module):
    """1x1 convolution of each map, enlarged, weighed by timm's selective-kernel attention."""

    def __init__(self, channels: Sequence[int], out_channels: int) -> None:
        super().__init__()
        from timm.layers.selective_kernel import SelectiveKernelAttn

        self.project = nn.ModuleList(nn.Conv2d(width, out_channels, 1) for width in channels)
        self.attention = SelectiveKernelAttn(out_channels, len(channels))

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        maps = [conv(feature) for conv, feature in zip(self.project, features, strict=True)]
        x = torch.stack([enlarge(x, maps[0]) for x in maps], dim=1)
        return (x * self.attention(x)).sum(dim=1)


class Pyramid(nn.Module):
    """Stages of two convolutions under torchvision's FeaturePyramidNetwork, and a 3x3 head."""

    def __init__(self, in_channels: int, out_channels: int, channels: Sequence[int]) -> None:
        super().__init__()
        from torchvision.ops import FeaturePyramidNetwork

        self.stages = nn.ModuleList(
            nn.Sequential(conv_norm_act(before, width, stride=1 if level == 0 else 2), conv_norm_act(width, width))
            for level, (before, width) in enumerate(zip([in_channels, *channels], channels, strict=False))
        )
        self.fpn = FeaturePyramidNetwork(list(channels), channels[0])
        self.head = nn.Conv2d(channels[0], out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        features = {}
        for level, stage in enumerate(self.stages):
            x = stage(x)
            features[str(level)] = x
        return self.head(self.fpn(features)["0"])


class PlainUNet(nn.Module):
    """The usual padded UNet: double convolutions, max pooling, transposed convolutions, concatenation."""

    def __init__(self, in_channels: int, out_channels: int, features: Sequence[int]) -> None:
        super().__init__()
        self.down = nn.ModuleList(
            nn.Sequential(conv_norm_act(before, width), conv_norm_act(width, width))
            for before, width in zip([in_channels, *features], features, strict=False)
        )
        coarse_to_fine = list(zip(features[:0:-1], features[-2::-1], strict=True))
        self.up = nn.ModuleList(nn.ConvTranspose2d(before, width, 2, 2) for before, width in coarse_to_fine)
        self.merge = nn.ModuleList(
            nn.Sequential(conv_norm_act(2 * width, width), conv_norm_act(width, width)) for _, width in coarse_to_fine
        )
        self.head = nn.Conv2d(features[0], out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        skips: list[Tensor] = []
        for level, block in enumerate(self.down):
            x = block(F.max_pool2d(x, 2) if level else x)
            skips.append(x)
        skips.pop()
        for up, merge in zip(self.up, self.merge, strict=True):
            x = merge(torch.cat([skips.pop(), up(x)], dim=1))
        return self.head(x)


class Passes(nn.Module):
    """One network on the image at several scales, its maps enlarged to the first and concatenated."""

    def __init__(self, net: nn.Module, scales: Sequence[float]) -> None:
        super().__init__()
        self.net = net
        self.scales = list(scales)

    def forward(self, x: Tensor) -> Tensor:
        maps = [self.net(images) for images in resized(x, self.scales)]
        return torch.cat([enlarge(y, maps[0]) for y in maps], dim=1)


def resized(x: Tensor, scales: Sequence[float]) -> list[Tensor]:
    """Torchvision's antialiased resize to several scales."""
    from torchvision.transforms.v2.functional import resize

    height, width = x.shape[-2:]
    return [resize(x, [round(height * scale), round(width * scale)], antialias=True) for scale in scales]
