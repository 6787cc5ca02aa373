"""What a user would take, or write from torch.nn, in place of an attention block: the other side of `core.py`."""

from collections.abc import Sequence

import torch
from peers import conv_norm_act, enlarge, resized
from torch import Tensor, nn


class ScaleAttention(nn.Module):
    """Maps of several scales at one size, torch.nn.MultiheadAttention over the scales of each place, their mean."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(channels, heads, batch_first=True)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        base = maps[len(maps) // 2]
        scales = torch.stack([enlarge(x, base) for x in maps], dim=1).permute(0, 3, 4, 1, 2)  # [B, H, W, S, C]
        tokens = scales.flatten(0, 2)
        mixed, _ = self.attention(tokens, tokens, tokens, need_weights=False)
        return base + mixed.mean(dim=1).view(*scales.shape[:3], -1).permute(0, 3, 1, 2)


class CoarseToFine(nn.Module):
    """Concatenate with the next finer map, 3x3 convolution, timm's CBAM; stage by stage."""

    def __init__(self, channels: int, scales: int) -> None:
        super().__init__()
        from timm.layers import create_attn

        self.stages = nn.ModuleList(
            nn.Sequential(conv_norm_act(2 * channels, channels), create_attn("cbam", channels))
            for _ in range(scales - 1)
        )

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        base = maps[len(maps) // 2]
        x = enlarge(maps[0], base)
        for stage, finer in zip(self.stages, maps[1:], strict=True):
            x = stage(torch.cat([x, enlarge(finer, base)], dim=1))
        return x


def selective_kernel(channels: int) -> nn.Module:
    """Timm's SelectiveKernel with dilations 1, 2 and 4."""
    from timm.layers import SelectiveKernel

    return SelectiveKernel(channels, kernel_size=[3, 5, 9])


class Temporal(nn.Module):
    """Temporal attention of the eTram-rvt notes: Conv3d over three frames, a motion gate, squeeze and excitation."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.pattern = nn.Conv3d(channels, channels, (3, 1, 1))
        self.motion = nn.Sequential(nn.Conv2d(2 * channels, 1, 3, padding=1), nn.Sigmoid())
        self.weights = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels, channels // 4, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels // 4, channels, 1),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        frames = torch.cat([past, x[:, :, None]], dim=2)  # [B, C, 3, H, W]
        pattern = self.pattern(frames).squeeze(2)
        out = x + pattern * self.weights(pattern) * self.motion(torch.cat([past[:, :, -1], x], dim=1))
        return out, frames[:, :, 1:]


class SmallObject(nn.Module):
    """Selective kernel, temporal attention, 1x1 convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.spatial = selective_kernel(channels)
        self.temporal = Temporal(channels)
        self.integrate = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        x, past = self.temporal(self.spatial(x), past)
        return self.integrate(x), past


class Backbone(nn.Module):
    """A cheap stand-in for a backbone: maps of the given channels at strides 4, 8, ..."""

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        self.channels = list(channels)
        self.stem = nn.AvgPool2d(2)
        self.stages = nn.ModuleList(
            conv_norm_act(before, width, stride=2) for before, width in zip([3, *channels], channels, strict=False)
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        x, maps = self.stem(x), []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps


class PyramidPasses(nn.Module):
    """A backbone on the image at several scales; per level enlarge, concatenate, 3x3 convolution, timm's CBAM."""

    def __init__(self, backbone: Backbone, scales: Sequence[float]) -> None:
        super().__init__()
        self.backbone = backbone
        self.scales = list(scales)
        self.levels = nn.ModuleList(CoarseToFine(width, len(scales)) for width in backbone.channels)

    def forward(self, x: Tensor) -> list[Tensor]:
        passes = [self.backbone(images) for images in resized(x, self.scales)]
        return [level(maps) for level, maps in zip(self.levels, zip(*passes, strict=True), strict=True)]


class DeformableAttention(nn.Module):
    """transformers' multi-scale deformable attention (pure PyTorch) under our argument list."""

    def __init__(self, channels: int, levels: int) -> None:
        super().__init__()
        from transformers import DeformableDetrConfig
        from transformers.models.deformable_detr import modeling_deformable_detr as modeling

        config = DeformableDetrConfig(d_model=channels, num_feature_levels=levels)
        self.layer = modeling.DeformableDetrMultiscaleDeformableAttention(config, num_heads=8, n_points=4)

    def forward(self, query: Tensor, points: Tensor, value: Tensor, shapes: list[tuple[int, int]]) -> Tensor:
        sizes = torch.tensor(shapes)
        starts = torch.cat([sizes.new_zeros(1), sizes.prod(dim=1).cumsum(0)[:-1]])
        points = points.expand(len(query), -1, len(shapes), -1)
        return self.layer(
            query,
            encoder_hidden_states=value,
            reference_points=points,
            spatial_shapes=sizes,
            spatial_shapes_list=shapes,
            level_start_index=starts,
        )[0]
