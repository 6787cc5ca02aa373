"""Feature pyramids for detectors, list in and list out, finest level first: FPN, PAFPN, SimpleFeaturePyramid.

FPN (Lin et al. 2017) is torchvision's in value and parameter names, kept here in 20 lines because importing torchvision
takes longer than importing torch. PAFPN is the path aggregation network of YOLOX (Ge et al. 2021, after Liu et al.
2018) for any number of levels; with three it is that of YOLOX and RVT. SimpleFeaturePyramid is ViTDet's (Li et al.
2022): every level from the last map of a plain ViT, 51.2 COCO AP there against 50.3 for an FPN on four layer taps and
47.8 for no pyramid.

What differs from all of them: sides need not be divisible; a coarser map has its sides rounded up.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from polyscale.blocks._checks import check_count, check_counts, check_features, check_map
from polyscale.blocks._layers import ConvBNSiLU, CSPLayer, conv3x3


def _subsampled(x: Tensor) -> Tensor:
    """Every second row and column: the extra level of FPN and ViTDet (their LastLevelMaxPool)."""
    return x[..., ::2, ::2]


def _nearest(x: Tensor, like: Tensor) -> Tensor:
    size = like.shape[-2:]
    return x if x.shape[-2:] == size else F.interpolate(x, size, mode="nearest")


class FPN(nn.Module):
    """Top-down path with 3x3 convolutions on every sum; values and parameter names of torchvision's.

    list of [B, in_channels[i], H_i, W_i] -> list of [B, out_channels, H_i, W_i].

    Args:
        in_channels: channels of each level, finest first.
        out_channels: channels of every output.
        extra_level: append a level of twice the last stride, ceil(H / 2) x ceil(W / 2).

    Raises ValueError for counts below 1 and features that do not fit.
    """

    def __init__(self, in_channels: Sequence[int], out_channels: int = 256, extra_level: bool = False) -> None:
        super().__init__()
        check_counts("in_channels", in_channels)
        check_count("out_channels", out_channels)
        self.in_channels = list(in_channels)
        self.channels = [out_channels] * (len(in_channels) + extra_level)
        self.extra_level = extra_level
        self.inner_blocks = nn.ModuleList(nn.Sequential(nn.Conv2d(width, out_channels, 1)) for width in in_channels)
        self.layer_blocks = nn.ModuleList(
            nn.Sequential(nn.Conv2d(out_channels, out_channels, 3, padding=1)) for _ in in_channels
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_uniform_(module.weight, a=1)
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Return one map per level, finest first, and the extra level where there is one."""
        check_features(features, self.in_channels)
        sums = [self.inner_blocks[-1](features[-1])]
        for inner, feature in zip(self.inner_blocks[-2::-1], features[-2::-1], strict=True):
            sums.append(inner(feature) + _nearest(sums[-1], feature))
        outs = [layer(x) for layer, x in zip(self.layer_blocks, reversed(sums), strict=True)]
        return [*outs, _subsampled(outs[-1])] if self.extra_level else outs


class PAFPN(nn.Module):
    """YOLOX's pyramid: a top-down path, then a bottom-up path, each step a CSP layer on the concatenation.

    list of [B, in_channels[i], H_i, W_i] -> list of the same shapes.

    Args:
        in_channels: channels of each level, finest first; at least two levels.
        depth: multiplier of the three bottlenecks per CSP layer (YOLOX: nano and tiny 0.33, s 0.33, m 0.67, l 1).
        depthwise: depthwise separable 3x3 convolutions (YOLOX nano).

    Names for checkpoints of YOLOX and RVT: lateral.0, lateral.1 are their lateral_conv0, reduce_conv1; top_down.0, .1
    are C3_p4, C3_p3; down.0, .1 are bu_conv2, bu_conv1; bottom_up.0, .1 are C3_n3, C3_n4. YOLOX sets the batch norms'
    eps to 1e-3 and momentum to 0.03, RVT leaves torch's.

    Raises ValueError for counts below 1, a single level, and features that do not fit.
    """

    def __init__(self, in_channels: Sequence[int], depth: float = 1.0, depthwise: bool = False) -> None:
        super().__init__()
        check_counts("in_channels", in_channels)
        if len(in_channels) < 2:
            raise ValueError(f"in_channels must have at least 2 levels, got {list(in_channels)}")
        if not depth > 0:
            raise ValueError(f"depth must be a number above 0, got {depth!r}")
        n = round(3 * depth)
        self.in_channels = self.channels = list(in_channels)
        pairs = list(pairwise(in_channels))  # (finer, coarser)
        self.lateral = nn.ModuleList(ConvBNSiLU(coarse, fine) for fine, coarse in reversed(pairs))
        self.top_down = nn.ModuleList(CSPLayer(2 * fine, fine, n, depthwise) for fine, _ in reversed(pairs))
        self.down = nn.ModuleList(conv3x3(fine, fine, 2, depthwise) for fine, _ in pairs)
        self.bottom_up = nn.ModuleList(CSPLayer(2 * fine, coarse, n, depthwise) for fine, coarse in pairs)

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Return one map per level, finest first, of the shapes of `features`."""
        check_features(features, self.in_channels)
        x, laterals = features[-1], []
        for lateral, merge, feature in zip(self.lateral, self.top_down, features[-2::-1], strict=True):
            laterals.append(lateral(x))
            x = merge(torch.cat([_nearest(laterals[-1], feature), feature], dim=1))
        outs = [x]
        for down, merge, coarse in zip(self.down, self.bottom_up, reversed(laterals), strict=True):
            # a backbone that rounds its sides down has coarser maps one pixel short of the convolution's
            x = merge(torch.cat([_nearest(down(x), coarse), coarse], dim=1))
            outs.append(x)
        return outs


class LayerNorm2d(nn.LayerNorm):
    """Layer norm over the channels of each pixel of [B, C, H, W]."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise each pixel of [B, C, H, W]."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class SimpleFeaturePyramid(nn.Module):
    """[B, in_channels, H, W] at `in_stride` -> list of [B, out_channels, H_i, W_i] at `strides`.

    Finer levels by transposed convolutions (each doubles the sides and halves the channels), coarser ones by max
    pooling, then 1x1 and 3x3 convolutions with layer norm. The shape of ViTDet's; sides of coarser levels round up.

    Args:
        in_channels: of the ViT's last map.
        out_channels: of every level.
        strides: of the levels, finest first, each in_stride times a power of two; at most 8 times finer.
        in_stride: of the input: the ViT's patch size.
        extra_level: append a level of twice the last stride (64 by default), every second pixel of the last.

    Raises ValueError for strides that are no such multiples or out of order, in_channels too few to be halved, counts
    below 1, and a wrong channel count.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int = 256,
        strides: Sequence[int] = (4, 8, 16, 32),
        in_stride: int = 16,
        extra_level: bool = False,
    ) -> None:
        super().__init__()
        check_count("in_channels", in_channels)
        check_count("out_channels", out_channels)
        check_count("in_stride", in_stride)
        check_counts("strides", strides)
        if list(strides) != sorted(set(strides)):
            raise ValueError(f"strides must grow, got {list(strides)}")
        self.in_channels = in_channels
        self.extra_level = extra_level
        self.strides = [*strides, 2 * strides[-1]] if extra_level else list(strides)
        self.channels = [out_channels] * len(self.strides)
        self.stages = nn.ModuleList(self._stage(in_channels, out_channels, stride, in_stride) for stride in strides)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return one map per stride, finest first."""
        check_map(x, self.in_channels)
        outs = [stage(x) for stage in self.stages]
        return [*outs, _subsampled(outs[-1])] if self.extra_level else outs

    @staticmethod
    def _stage(in_channels: int, out_channels: int, stride: int, in_stride: int) -> nn.Sequential:
        finer, coarser = in_stride // stride, stride // in_stride
        if max(finer, coarser).bit_count() != 1 or in_stride * max(coarser, 1) != stride * max(finer, 1) or finer > 8:
            raise ValueError(
                f"strides must be in_stride = {in_stride} times a power of two and at most 8 times finer, got {stride}"
            )
        if in_channels < finer:
            raise ValueError(f"in_channels must be at least {finer} for stride {stride}, got {in_channels}")
        layers: list[nn.Module] = [nn.MaxPool2d(coarser, ceil_mode=True)] if coarser > 1 else []
        width = in_channels
        while finer > 1:
            if width < in_channels:
                layers += [LayerNorm2d(width), nn.GELU()]  # between two enlargements, not after the last
            layers.append(nn.ConvTranspose2d(width, width // 2, 2, 2))
            width, finer = width // 2, finer // 2
        for kernel in (1, 3):
            layers.append(nn.Conv2d(width, out_channels, kernel, padding=kernel // 2, bias=False))
            layers.append(LayerNorm2d(out_channels, eps=1e-6))
            width = out_channels
        return nn.Sequential(*layers)
